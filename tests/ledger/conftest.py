"""A log kept in memory, and RFC 6962 written down naively to compare with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256

import pytest

from kumoi.ledger.checkpoint import Checkpoint, checkpoint_sign
from kumoi.ledger.note import Signer
from kumoi.ledger.tiles import (
    Edge,
    TileWrites,
    address_check,
    append,
    bundle_prefix,
    path_parse,
    tile_prefix,
)

ORIGIN = "kumoi.local/test"


@dataclass
class MemoryLog:
    """What a store keeps of a log: one growing byte string for each tile and each bundle."""

    signer: Signer = field(default_factory=lambda: Signer(ORIGIN, b"\x07" * 32))
    edge: Edge = field(default_factory=Edge.empty)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    bundles: dict[int, bytes] = field(default_factory=dict)
    checkpoint: bytes = b""
    reads: int = 0

    def grow(self, entries: Sequence[bytes]) -> TileWrites:
        writes = append(self.edge, entries)
        for at, tile in writes.tiles.items():
            assert tile.startswith(self.tiles.get(at, b""))
        for n, bundle in writes.bundles.items():
            assert bundle.startswith(self.bundles.get(n, b""))
        self.tiles.update(writes.tiles)
        self.bundles.update(writes.bundles)
        self.edge = writes.edge
        self.checkpoint = checkpoint_sign(Checkpoint(self.signer.name, writes.size, writes.root), self.signer)
        return writes

    def read(self, level: int, n: int, width: int) -> bytes:
        self.reads += 1
        return self.tiles[level, n][: 32 * width]

    def fetch(self, path: str) -> bytes:
        if path == "checkpoint":
            return self.checkpoint
        address = path_parse(path)
        address_check(address, self.edge.size)
        if isinstance(address.level, str):
            return bundle_prefix(self.bundles[address.n], address.width)
        return tile_prefix(self.tiles[address.level, address.n], address.width)


@dataclass(frozen=True)
class NaiveTree:
    """MTH, PATH and SUBPROOF word for word from RFC 6962 section 2.1."""

    entries: tuple[bytes, ...]

    def root(self, start: int, stop: int) -> bytes:
        return _mth(self.entries[start:stop])

    def path(self, m: int, start: int, stop: int) -> list[bytes]:
        n = stop - start
        if n == 1:
            return []
        k = _k(n)
        if m < k:
            return [*self.path(m, start, start + k), self.root(start + k, stop)]
        return [*self.path(m - k, start + k, stop), self.root(start, start + k)]

    def subproof(self, m: int, start: int, stop: int, known: bool = True) -> list[bytes]:
        n = stop - start
        if m == n:
            return [] if known else [self.root(start, stop)]
        k = _k(n)
        if m <= k:
            return [*self.subproof(m, start, start + k, known), self.root(start + k, stop)]
        return [*self.subproof(m - k, start + k, stop, False), self.root(start, start + k)]


def _k(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


@lru_cache(maxsize=1 << 16)
def _mth(entries: tuple[bytes, ...]) -> bytes:
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = _k(len(entries))
    return sha256(b"\x01" + _mth(entries[:k]) + _mth(entries[k:])).digest()


def entries_make(count: int) -> tuple[bytes, ...]:
    """`count` entries that look like commitments."""
    return tuple(sha256(b"%d" % i).digest() for i in range(count))


@pytest.fixture(scope="session")
def entries() -> Callable[[int], tuple[bytes, ...]]:
    return entries_make


@pytest.fixture(scope="session")
def naive() -> type[NaiveTree]:
    return NaiveTree


@pytest.fixture(scope="session")
def memory_log() -> Callable[..., MemoryLog]:
    def make(count: int = 0, batch: int | None = None, signer: Signer | None = None) -> MemoryLog:
        log = MemoryLog() if signer is None else MemoryLog(signer)
        everything = entries_make(count)
        step = batch or max(1, count)
        for start in range(0, max(1, count), step):
            log.grow(everything[start : start + step])
        return log

    return make


@pytest.fixture(scope="session")
def bits() -> Callable[[bytes], list[bytes]]:
    """Every copy of some bytes with one bit flipped."""

    def flip(data: bytes) -> list[bytes]:
        number = int.from_bytes(data, "big")
        return [(number ^ (1 << bit)).to_bytes(len(data), "big") for bit in range(8 * len(data))]

    return flip
