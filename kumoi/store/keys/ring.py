"""The ring of organizations' keys: what seals and opens, and what forgets when a key is withdrawn."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kumoi.store.database import Store
from kumoi.store.keys import ciphers
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.errors import KeyUnavailable, KeyWithdrawn
from kumoi.store.keys.names import Sealed, SealedName, organization_key_additional
from kumoi.store.keys.rows import OrganizationKeys, organization_keys_read
from kumoi.store.schema import AnyRow

PLATFORM_FRESH_S = 30.0
"""How long a key that the platform wraps is used before its rows are read again."""
TOKEN_FRESH_S = 0.9
"""The same where a tenant's token wraps it: without a fresh word of row and token it is not used."""

LOADS_MAX = 5
"""How often in a row a key may change while it is read."""

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Held:
    """An organization's keys in memory, usable until `until_s` on the monotonic clock."""

    versions: Mapping[int, AESGCM]
    current: int
    until_s: float


class KeyRing:
    """Seals and opens what belongs to organizations. Every method may be called from any thread.

    A key that is not in memory is read from the store and unwrapped, which blocks: on an event loop,
    await `ready` first; inside a transaction of the writer only what `ready` or `load` has loaded is used.
    """

    def __init__(
        self,
        store: Store,
        encryptions: KeyEncryptions,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.encryptions = encryptions
        self._store = store
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._withdrawn: dict[str, str] = {}
        self._forgotten: Counter[str] = Counter()
        self._on_withdraw: list[Notice] = []
        self._on_restore: list[Notice] = []

    def seal(self, name: SealedName, value: bytes) -> Sealed:
        """`value` under a fresh data key. Raises KeyWithdrawn or KeyUnavailable."""
        held = self._usable(name.organization_id)
        return ciphers.seal(held.versions[held.current], held.current, name, value)

    def open(self, name: SealedName, sealed: Sealed) -> bytes:
        """What was sealed under this name. Raises KeyWithdrawn, KeyUnavailable or SealBroken."""
        return ciphers.unseal(self._version(name.organization_id, sealed.key_version), name, sealed)

    def rewrap(self, name: SealedName, sealed: Sealed) -> Sealed:
        """The same content under the organization's current key. Raises as `open` does."""
        held = self._usable(name.organization_id)
        old = self._version(name.organization_id, sealed.key_version)
        return ciphers.rewrap(old, held.versions[held.current], held.current, name, sealed)

    def withdrawn(self, organization_id: str) -> bool:
        """Whether the key is known to be withdrawn. Never blocks."""
        return organization_id in self._withdrawn

    def on_withdraw(self, notice: Notice) -> None:
        """Have `notice` called with the organization as soon as its key is forgotten; it must not block."""
        self._on_withdraw.append(notice)

    def on_restore(self, notice: Notice) -> None:
        """Have `notice` called with the organization when its key may be used again; it must not block."""
        self._on_restore.append(notice)

    async def ready(self, organization_id: str) -> None:
        """Have the key in memory, without blocking the event loop. Raises KeyWithdrawn or KeyUnavailable."""
        held = self._held.get(organization_id)
        if held is None or held.until_s <= self._monotonic_s():
            await asyncio.get_running_loop().run_in_executor(None, self.load, organization_id)

    def load(self, organization_id: str) -> None:
        """Read and unwrap the key anew. Raises KeyWithdrawn or KeyUnavailable."""
        for _ in range(LOADS_MAX):
            forgotten, asked_s = self._forgotten[organization_id], self._monotonic_s()
            rows = self._store.read_wait(organization_keys_read, organization_id)
            if rows.holder is not None and rows.holder.state != "held":
                self.forget(organization_id, rows.holder.cause)
                raise KeyWithdrawn(organization_id, rows.holder.cause)
            try:
                held = self._unwrap(organization_id, rows, asked_s)
            except KeyUnavailable as error:
                if rows.holder is None:
                    raise
                # Whatever the token says instead of giving the key: to its tenant it is withdrawn.
                self.forget(organization_id, str(error))
                raise KeyWithdrawn(organization_id, str(error)) from error
            if self._take(organization_id, held, forgotten):
                return
        raise KeyUnavailable(f"the key of {organization_id} changes again and again; try again")

    def _take(self, organization_id: str, held: _Held, forgotten: int) -> bool:
        """Keep what was unwrapped, unless it was to be forgotten meanwhile."""
        with self._lock:
            if forgotten != self._forgotten[organization_id]:
                return False
            self._held[organization_id] = held
            restored = self._withdrawn.pop(organization_id, None) is not None
        if restored:
            _notify(self._on_restore, organization_id)
        return True

    def confirm(self, organization_id: str, asked_s: float) -> bool:
        """The token gave the key, asked at `asked_s`: it is used that much longer. False where none is."""
        with self._lock:
            held = self._held.get(organization_id)
            if held is None:
                return False
            self._held[organization_id] = replace(held, until_s=max(held.until_s, asked_s + TOKEN_FRESH_S))
            return True

    def forget(self, organization_id: str, cause: str) -> None:
        """Let go of a withdrawn key at once, and tell those who hold what it opens."""
        with self._lock:
            self._forgotten[organization_id] += 1
            self._held.pop(organization_id, None)
            told = organization_id in self._withdrawn
            self._withdrawn[organization_id] = cause
        if not told:
            _notify(self._on_withdraw, organization_id)

    def reread(self, organization_id: str) -> None:
        """Use nothing older than what the store says from now on: a key was rotated or wrapped anew."""
        with self._lock:
            self._forgotten[organization_id] += 1
            self._held.pop(organization_id, None)

    def _usable(self, organization_id: str) -> _Held:
        held = self._held.get(organization_id)
        if held is None or held.until_s <= self._monotonic_s():
            self.load(organization_id)
            held = self._held.get(organization_id)
        if held is None:
            raise KeyUnavailable(f"the key of {organization_id} was let go of meanwhile; try again")
        return held

    def _version(self, organization_id: str, key_version: int) -> AESGCM:
        found = self._usable(organization_id).versions.get(key_version)
        if found is None:
            # Another plane may have rotated the key since the rows were read.
            self.reread(organization_id)
            found = self._usable(organization_id).versions.get(key_version)
        if found is None:
            raise KeyUnavailable(
                f"version {key_version} of the key of {organization_id} does not exist any more"
            )
        return found

    def _unwrap(self, organization_id: str, rows: OrganizationKeys, asked_s: float) -> _Held:
        if not rows.versions:
            raise KeyUnavailable(f"the organization {organization_id} has no key; restore the database")
        versions = {row.number: self._cipher(row) for row in rows.versions}
        current = max(row.number for row in rows.versions if row.state == "current")
        fresh_s = PLATFORM_FRESH_S if rows.holder is None else TOKEN_FRESH_S
        return _Held(versions, current, asked_s + fresh_s)

    def _cipher(self, row: AnyRow) -> AESGCM:
        additional = organization_key_additional(row.organization_id, row.number, row.kek)
        return ciphers.cipher_of(self.encryptions.find(row.kek).unwrap(row.wrapped_key, additional))


def _notify(notices: list[Notice], organization_id: str) -> None:
    for notice in notices:
        notice(organization_id)
