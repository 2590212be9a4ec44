"""The passwords of volumes: made once, sealed with the organization's key, kept in the store."""

import os
from collections.abc import Callable

from kumoi.store.database import Store
from kumoi.store.keys.errors import KeyUnavailable
from kumoi.store.keys.names import Sealed
from kumoi.store.keys.ring import KeyRing
from kumoi.store.volumes.rows import (
    attempts_are_live,
    volume_seal_name,
    volume_sealed_add,
    volume_sealed_read,
)

PASSWORD_BYTES = 32


class VolumePasswords:
    """Passwords by organization. Every method blocks; each raises KeyWithdrawn or KeyUnavailable."""

    def __init__(self, store: Store, keys: KeyRing, clock_us: Callable[[], int]) -> None:
        self.keys = keys
        self._store = store
        self._clock_us = clock_us
        self._known: dict[str, Sealed] = {}

    def find(self, organization_id: str) -> bytes | None:
        """The password in hexadecimal, None if there is none yet."""
        sealed = self._store.read_wait(volume_sealed_read, organization_id)
        if sealed is None:
            self.keys.load(organization_id)
            return None
        password = self.keys.open(volume_seal_name(organization_id), sealed)
        self._known[organization_id] = sealed
        return password.hex().encode()

    def make(self, organization_id: str) -> bytes:
        """The password in hexadecimal, made if there is none: durable, and the same for every plane."""
        sealed = self.keys.seal(volume_seal_name(organization_id), os.urandom(PASSWORD_BYTES))
        self._store.transact_wait(None, volume_sealed_add, organization_id, sealed, self._clock_us())
        password = self.find(organization_id)
        assert password is not None
        return password

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
