"""Who cosigns the operations log, and what they saw of it (C2SP tlog-witness)."""

from typing import Annotated

from msgspec import Meta, Struct

WITNESSES_MAX = 16


class WitnessAddress(Struct, frozen=True, forbid_unknown_fields=True):
    """A witness: where it is asked (`add-checkpoint` is below `url`), and its verifier key (C2SP vkey)."""

    url: Annotated[str, Meta(min_length=1, max_length=400, pattern=r"^https?://[^\s?#@]+$(?!\n)")]
    vkey: Annotated[str, Meta(min_length=1, max_length=400)]


class WitnessRules(Struct, frozen=True, forbid_unknown_fields=True):
    """A checkpoint is published once `quorum` of the witnesses cosigned it; without witnesses, at once."""

    quorum: Annotated[int, Meta(ge=0, le=WITNESSES_MAX)] = 0
    witnesses: Annotated[tuple[WitnessAddress, ...], Meta(max_length=WITNESSES_MAX)] = ()


class WitnessSeen(Struct, frozen=True):
    """How a witness fares: the `size` it cosigned last, and why it did not cosign when it was asked last."""

    name: str
    vkey: str
    size: int
    cosigned_at: str | None
    failure: str
    failed_at: str | None


class WitnessedLog(Struct, frozen=True):
    """The log and its witnesses: `size` entries are signed, `published_size` of them may be read."""

    origin: str
    quorum: int
    size: int
    published_size: int
    witnesses: tuple[WitnessSeen, ...]
