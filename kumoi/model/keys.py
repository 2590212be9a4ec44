"""Organizations' keys: who holds them, and what follows when they are withdrawn."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kumoi.model.ids import END, Id, Name

KeyLabel = Annotated[str, Meta(min_length=1, max_length=100, pattern=rf"^[A-Za-z0-9._-]+{END}")]


class OnWithdraw(StrEnum):
    """What becomes of running work when its organization withdraws its key."""

    CONTINUE = "continue"
    END = "end"


class KeyAttach(Struct, frozen=True, forbid_unknown_fields=True):
    """Let a key in a token wrap the organization's key: the key `object` in the operator's token `token`."""

    token: Name
    object: KeyLabel
    on_withdraw: OnWithdraw = OnWithdraw.CONTINUE


class KeyHolder(Struct, frozen=True):
    """The token that holds the key. `state`: held, withdrawn by the tenant, or lost by the token, and why."""

    token: Name
    object: str
    on_withdraw: OnWithdraw
    state: str
    cause: str
    changed_at: str


class KeyVersion(Struct, frozen=True):
    """A version of the organization's key: what wraps it (`kek`), how many things are sealed with it."""

    number: int
    state: str
    kek: str
    created_at: str
    retired_at: str | None
    sealed: int


class VolumeState(StrEnum):
    """How the encrypted volume of an organization's files and logs stands to the key that it attached."""

    NONE = "none"
    FRESH = "fresh"
    OLDER_THAN_KEY = "older_than_key"


class OrganizationKey(Struct, frozen=True):
    """The key of an organization. Without a holder the platform wraps it. `volume`: there is none; or its
    password is older than the key that was attached, until it is made anew; or not."""

    organization: Id
    holder: KeyHolder | None
    versions: tuple[KeyVersion, ...]
    volume: VolumeState


class PlatformKeyVersion(Struct, frozen=True):
    """A version of the platform's key, and how many organizations' keys it wraps."""

    number: int
    current: bool
    wrapped: int


class PlatformKey(Struct, frozen=True):
    """The platform's key-encryption key."""

    versions: tuple[PlatformKeyVersion, ...]
