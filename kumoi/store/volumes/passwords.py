"""The passwords of volumes: made once for each, sealed with the organization's key, kept in the store."""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from kumoi.store.database import Store
from kumoi.store.keys.errors import KeyUnavailable
from kumoi.store.keys.names import Sealed
from kumoi.store.keys.ring import KeyRing
from kumoi.store.volumes.layout import path_sync
from kumoi.store.volumes.rows import (
    VolumeId,
    attempts_are_live,
    volume_next_is_kept,
    volume_next_put,
    volume_next_take,
    volume_seal_name,
    volume_sealed_add,
    volume_sealed_read,
    volumes_outdated,
)

PASSWORD_BYTES = 32
PLACE, PLACE_BYTES = "place", 8


class VolumePasswords:
    """Passwords by organization, of the volumes below `ciphertexts`: planes that share the database and not
    the directory have their own. Every method blocks; each raises KeyWithdrawn or KeyUnavailable."""

    def __init__(self, store: Store, keys: KeyRing, clock_us: Callable[[], int], ciphertexts: Path) -> None:
        self.keys = keys
        self._ciphertexts = ciphertexts
        self._store = store
        self._clock_us = clock_us
        self._known: dict[str, Sealed] = {}

    def find(self, organization_id: str) -> bytes | None:
        """The password in hexadecimal, None if there is none yet."""
        sealed = self._store.read_wait(volume_sealed_read, self._id(organization_id))
        if sealed is None:
            self.keys.load(organization_id)
            return None
        password = self.keys.open(volume_seal_name(organization_id), sealed)
        self._known[organization_id] = sealed
        return password.hex().encode()

    def make(self, organization_id: str) -> bytes:
        """The password in hexadecimal, made if there is none: durable, and the same for every plane."""
        sealed = self.keys.seal(volume_seal_name(organization_id), os.urandom(PASSWORD_BYTES))
        self._store.transact_wait(
            None, volume_sealed_add, self._id(organization_id), sealed, self._clock_us()
        )
        password = self.find(organization_id)
        assert password is not None
        return password

    def outdated(self) -> Sequence[str]:
        """Organizations that attached a key of their own after their volume's password was made."""
        return self._store.read_wait(volumes_outdated, self._place())

    def next_make(self, organization_id: str) -> bytes:
        """The password, in hexadecimal, of a volume that is to take the volume's place: durable, sealed with
        the key as it is now, and instead of an earlier one."""
        self.keys.reread(organization_id)
        password = os.urandom(PASSWORD_BYTES)
        sealed = self.keys.seal(volume_seal_name(organization_id), password)
        self._store.transact_wait(None, volume_next_put, self._id(organization_id), sealed, self._clock_us())
        return password.hex().encode()

    def next_is_kept(self, organization_id: str) -> bool:
        """Whether a next password was made and not taken."""
        return self._store.read_wait(volume_next_is_kept, self._id(organization_id))

    def next_take(self, organization_id: str) -> None:
        """Let the next password be the volume's from now on, and forget the old one."""
        self._store.transact_wait(None, volume_next_take, self._id(organization_id))
        self._known.pop(organization_id, None)

    def key_check(self, organization_id: str) -> None:
        """Return if the organization's key still opens its volume, as fresh as the key ring knows."""
        known = self._known.get(organization_id)
        if known is None or self.keys.withdrawn(organization_id):
            self.find(organization_id)
            return
        try:
            self.keys.open(volume_seal_name(organization_id), known)
        except KeyUnavailable:  # its version was retired: the row was wrapped anew
            self.find(organization_id)

    def has_work(self, organization_id: str) -> bool:
        """Whether an attempt of the organization is live."""
        return self._store.read_wait(attempts_are_live, organization_id)

    def _id(self, organization_id: str) -> VolumeId:
        return VolumeId(organization_id, self._place())

    def _place(self) -> str:
        """The name of this data directory, made with its first volume's password."""
        path = self._ciphertexts / PLACE
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=self._ciphertexts.parent) as made:
                made.write(os.urandom(PLACE_BYTES).hex().encode())
                made.flush()
                os.fsync(made.fileno())
                with suppress(FileExistsError):
                    os.link(made.name, path)
            path_sync(self._ciphertexts)
        return path.read_text()
