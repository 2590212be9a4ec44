"""Tiles and entry bundles of C2SP tlog-tiles: their paths, their bytes, and how a log grows.

A log keeps one growing byte string for each tile and each entry bundle: the partial tile of width w is the
prefix of the full one. So growing a log needs its right edge only, and serving any width is a slice.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Self

from kumoi.ledger.encoding import MAX_INTEGER, text_shown
from kumoi.ledger.errors import BoundsError, FormatError, MismatchError, PathError
from kumoi.ledger.tree import (
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    HashReader,
    leaf_hash,
    perfect_root,
    size_check,
    tile_width,
    tree_root,
)

ENTRIES: Final = "entries"
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 0xFFFF
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)
MAX_BATCH_ENTRIES: Final = 1 << 16

Level = int | Literal["entries"]
"""A level of hash tiles (0..63), or `ENTRIES` for entry bundles."""

_PATH = re.compile(
    r"tile/(?P<level>0|[1-9][0-9]?|entries)/(?P<n>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TileAddress:
    """Which tile or bundle a path names: its level, its number within the level, its width (1..256)."""

    level: Level
    n: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        level, n, width = self.level, self.n, self.width
        if level != ENTRIES and not (isinstance(level, int) and 0 <= level <= MAX_LEVEL):
            raise PathError(f"a tile's level is from 0 to {MAX_LEVEL} or {ENTRIES!r}, not {level!r}")
        if not 0 <= n <= MAX_INTEGER:
            raise PathError(f"a tile's number is from 0 to {MAX_INTEGER}, not {n}")
        if not 1 <= width <= TILE_WIDTH:
            raise PathError(f"a tile's width is from 1 to {TILE_WIDTH}, not {width}")


def tile_path(level: Level, n: int, width: int = TILE_WIDTH) -> str:
    """The path below the log's prefix: `tile/0/x001/x234/067`, `tile/entries/000.p/5`."""
    address = TileAddress(level, n, width)
    groups = [f"{address.n % 1000:03}"]
    rest = address.n // 1000
    while rest:
        groups.append(f"x{rest % 1000:03}")
        rest //= 1000
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(groups))}{suffix}"


def path_parse(path: str) -> TileAddress:
    """The address in `path`, the inverse of `tile_path`; every other spelling raises PathError."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise PathError(
            f"{text_shown(path)} is not a tile's path; it must look like tile/0/x001/x234/067, with"
            f" 0..{MAX_LEVEL} or {ENTRIES} as level and .p/1 to .p/255 behind a partial tile"
        )
    level: Level = ENTRIES if match["level"] == ENTRIES else int(match["level"])
    n = int(match["n"].replace("/", "").replace("x", ""))
    address = TileAddress(level, n, int(match["width"] or TILE_WIDTH))
    canonical = tile_path(level, n, address.width)
    if canonical != path:
        raise PathError(f"{text_shown(path)} must be written {canonical}")
    return address


def address_check(address: TileAddress, size: int) -> None:
    """Raise BoundsError unless a tree of `size` entries has the tile, or one that grew out of it."""
    level = 0 if isinstance(address.level, str) else address.level
    if tile_width(size, level, address.n) < address.width:
        raise BoundsError(
            f"{tile_path(address.level, address.n, address.width)} does not exist: the log has {size} entries"
        )


def tile_prefix(tile: bytes, width: int) -> bytes:
    """The tile of `width` hashes that a stored tile begins with."""
    if len(tile) % HASH_BYTES or not 1 <= width <= len(tile) // HASH_BYTES <= TILE_WIDTH:
        raise MismatchError(f"a stored tile of {len(tile)} bytes does not begin with {width} hashes")
    return tile[: width * HASH_BYTES]


def bundle_encode(entries: Sequence[bytes]) -> bytes:
    """Entries in bundle form: each behind its length as a big-endian uint16."""
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise BoundsError(f"an entry has at most {MAX_ENTRY_BYTES} bytes, not {len(entry)}")
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def bundle_decode(bundle: bytes, width: int) -> tuple[bytes, ...]:
    """The entries of a bundle that holds exactly `width` (0..256) of them."""
    entries, end = _bundle_scan(bundle, width)
    if end != len(bundle):
        raise FormatError(f"an entry bundle of {width} entries has {len(bundle) - end} bytes too many")
    return entries


def bundle_prefix(bundle: bytes, width: int) -> bytes:
    """The bundle of `width` entries that a stored bundle begins with."""
    return bundle[: _bundle_scan(bundle, width)[1]]


def _bundle_scan(bundle: bytes, width: int) -> tuple[tuple[bytes, ...], int]:
    if not 0 <= width <= TILE_WIDTH:
        raise BoundsError(f"an entry bundle has at most {TILE_WIDTH} entries, not {width}")
    entries = []
    end = 0
    for at in range(width):
        start = end + 2
        end = start + int.from_bytes(bundle[end:start], "big")
        if len(bundle) < end:
            raise FormatError(f"an entry bundle of {width} entries ends inside entry {at}")
        entries.append(bundle[start:end])
    return tuple(entries), end


def level_count(size: int) -> int:
    """How many levels of tiles a tree of `size` entries has."""
    return -(-size.bit_length() // TILE_HEIGHT)


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a log: all that growing it needs.

    `tiles[l]` is the partial tile of level l (empty where the level ends with a full tile), `bundle` the
    partial entry bundle. An Edge is a HashReader for the tree's root.
    """

    size: int
    tiles: tuple[bytes, ...]
    bundle: bytes

    def __post_init__(self) -> None:
        size_check(self.size)
        if len(self.tiles) != level_count(self.size):
            raise MismatchError(
                f"the edge of a log of {self.size} entries has {level_count(self.size)} levels,"
                f" not {len(self.tiles)}"
            )
        for level, tile in enumerate(self.tiles):
            width = tile_width(self.size, level, self.size >> TILE_HEIGHT * (level + 1))
            if len(tile) != width * HASH_BYTES:
                raise MismatchError(
                    f"the edge of a log of {self.size} entries has {width} hashes at level {level}"
                    f" ({width * HASH_BYTES} bytes), not {len(tile)} bytes"
                )
        bundle_decode(self.bundle, self.size % TILE_WIDTH)

    @classmethod
    def empty(cls) -> Self:
        """The edge of a log without entries."""
        return cls(0, (), b"")

    @property
    def root(self) -> bytes:
        """The Merkle tree hash of the whole log."""
        return tree_root(self, self.size)

    def read(self, level: int, n: int, width: int) -> bytes:
        """The first `width` hashes of the edge's tile of `level`, which is tile `n`."""
        if level >= len(self.tiles) or n != self.size >> TILE_HEIGHT * (level + 1):
            raise BoundsError(f"tile {n} of level {level} is not on the edge of a log of {self.size} entries")
        return self.tiles[level][: width * HASH_BYTES]


def edge_addresses(size: int) -> tuple[TileAddress, ...]:
    """The partial tiles, and last the partial bundle, that the edge of a log of `size` entries is made of."""
    size_check(size)
    tiles = [
        TileAddress(level, n, width)
        for level in range(level_count(size))
        if (width := tile_width(size, level, n := size >> TILE_HEIGHT * (level + 1)))
    ]
    if not size % TILE_WIDTH:
        return tuple(tiles)
    return (*tiles, TileAddress(ENTRIES, size // TILE_WIDTH, size % TILE_WIDTH))


def edge_load(size: int, root: bytes, reader: HashReader, bundle: bytes) -> Edge:
    """The edge of a stored log, to grow it from its last checkpoint (`size`, `root`).

    `bundle` is the last entry bundle as stored, or empty; storage that is already ahead is cut back. Raises
    MismatchError if tiles and entries do not hash to what was signed: such a log must never be grown.
    """
    tiles = [b""] * level_count(size)
    for address in edge_addresses(size):
        if isinstance(address.level, int):
            tiles[address.level] = reader.read(address.level, address.n, address.width)
    edge = Edge(size, tuple(tiles), bundle_prefix(bundle, size % TILE_WIDTH))
    leaves = b"".join([leaf_hash(entry) for entry in bundle_decode(edge.bundle, size % TILE_WIDTH)])
    if tiles and leaves != tiles[0]:
        raise MismatchError(
            f"loading the edge of a log of {size} entries: its last entry bundle does not hash to its last"
            " tile; do not sign, restore the log from a copy"
        )
    if edge.root != root:
        raise MismatchError(
            f"loading the edge of a log of {size} entries: its tiles hash to {edge.root.hex()}, its"
            f" checkpoint says {root.hex()}; do not sign, restore the log from a copy"
        )
    return edge


@dataclass(frozen=True, slots=True)
class TileWrites:
    """What appending a batch changes: full new bytes for each touched (level, n) and each touched bundle.

    New bytes begin with the old ones, so writing them twice, or before the checkpoint, harms nothing.
    """

    edge: Edge
    tiles: Mapping[tuple[int, int], bytes]
    bundles: Mapping[int, bytes]

    @property
    def size(self) -> int:
        """The size of the log after the batch."""
        return self.edge.size

    @property
    def root(self) -> bytes:
        """The root of the log after the batch."""
        return self.edge.root


def append(edge: Edge, entries: Sequence[bytes]) -> TileWrites:
    """The writes that add `entries` behind `edge`. Costs the batch, never the log."""
    if len(entries) > MAX_BATCH_ENTRIES:
        raise BoundsError(f"a batch has at most {MAX_BATCH_ENTRIES} entries, not {len(entries)}; split it")
    size = edge.size + len(entries)
    size_check(size)
    bundles, last_bundle = _bundles_grow(edge, entries)
    tiles: dict[tuple[int, int], bytes] = {}
    edge_tiles = [*edge.tiles, *[b""] * (level_count(size) - len(edge.tiles))]
    hashes = b"".join([leaf_hash(entry) for entry in entries])
    for level, kept in enumerate(edge_tiles):
        if not hashes:
            break
        grown = kept + hashes
        first_n = edge.size >> TILE_HEIGHT * (level + 1)
        chunks = [grown[at : at + TILE_BYTES] for at in range(0, len(grown), TILE_BYTES)]
        tiles.update({(level, first_n + i): chunk for i, chunk in enumerate(chunks)})
        full = [chunk for chunk in chunks if len(chunk) == TILE_BYTES]
        edge_tiles[level] = b"" if len(full) == len(chunks) else chunks[-1]
        hashes = b"".join([perfect_root(chunk) for chunk in full])
    return TileWrites(Edge(size, tuple(edge_tiles), last_bundle), tiles, bundles)


def _bundles_grow(edge: Edge, entries: Sequence[bytes]) -> tuple[dict[int, bytes], bytes]:
    """The touched bundles, and the partial one at the end."""
    if not entries:
        return {}, edge.bundle
    first_n, held = divmod(edge.size, TILE_WIDTH)
    starts = range(-held, len(entries), TILE_WIDTH)
    bundles = {
        first_n + i: bundle_encode(entries[max(0, start) : start + TILE_WIDTH])
        for i, start in enumerate(starts)
    }
    bundles[first_n] = edge.bundle + bundles[first_n]
    return bundles, bundles.get((edge.size + len(entries)) // TILE_WIDTH, b"")
