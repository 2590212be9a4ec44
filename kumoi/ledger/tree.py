"""The Merkle tree of RFC 6962 with SHA-256, read through tiles.

`D[start:stop]` below is the run of entries from `start` to `stop`, `MTH` its Merkle tree hash. A tile of
level l holds up to 256 hashes, each over 256**l entries (C2SP tlog-tiles), so every proof needs only a
few tiles, whatever the size of the tree.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Protocol

from kumoi.ledger.encoding import MAX_INTEGER
from kumoi.ledger.errors import BoundsError, MismatchError, ProofError

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
EMPTY_ROOT: Final = sha256(b"").digest()
MAX_PROOF_HASHES: Final = 63
"""No tree of at most `MAX_INTEGER` entries needs a longer inclusion or consistency proof."""


class HashReader(Protocol):
    """What a proof is made from: the stored tiles of a tree."""

    def read(self, level: int, n: int, width: int) -> bytes:
        """The first `width` hashes (1..256) of tile `n` at `level`, concatenated."""


def leaf_hash(entry: bytes) -> bytes:
    """H(00 || entry), RFC 6962 section 2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """H(01 || left || right), RFC 6962 section 2.1."""
    return sha256(b"\x01" + left + right).digest()


def size_check(size: int, what: str = "the tree size") -> None:
    """Raise BoundsError unless `size` is one that a tree may have."""
    if not 0 <= size <= MAX_INTEGER:
        raise BoundsError(f"{what} must be from 0 to {MAX_INTEGER}, not {size}")


def tile_width(size: int, level: int, n: int) -> int:
    """How many hashes tile `n` of `level` has in a tree of `size`: 0 (no such tile) to 256."""
    return min(TILE_WIDTH, max(0, (size >> TILE_HEIGHT * level) - n * TILE_WIDTH))


def perfect_root(hashes: bytes) -> bytes:
    """The root over 2**k concatenated hashes."""
    while len(hashes) > HASH_BYTES:
        pairs = range(0, len(hashes), 2 * HASH_BYTES)
        hashes = b"".join([sha256(b"\x01" + hashes[i : i + 2 * HASH_BYTES]).digest() for i in pairs])
    return hashes


class _Subtrees:
    """Hashes of subtrees of a tree of `size`; reads each tile at most once."""

    def __init__(self, reader: HashReader, size: int) -> None:
        self._reader = reader
        self._size = size
        self._tiles: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, stop: int) -> bytes:
        """MTH(D[start:stop]), where `start` is a multiple of the largest power of two up to the length."""
        peaks = []
        while start < stop:
            height = (stop - start).bit_length() - 1
            peaks.append(self._perfect(start >> height, height))
            start += 1 << height
        root = peaks.pop()
        while peaks:
            root = node_hash(peaks.pop(), root)
        return root

    def _perfect(self, index: int, height: int) -> bytes:
        level, rest = divmod(height, TILE_HEIGHT)
        n, first = divmod(index << rest, TILE_WIDTH)
        return perfect_root(self._tile(level, n)[first * HASH_BYTES : (first + (1 << rest)) * HASH_BYTES])

    def _tile(self, level: int, n: int) -> bytes:
        if (level, n) not in self._tiles:
            width = tile_width(self._size, level, n)
            tile = self._reader.read(level, n, width)
            if len(tile) != width * HASH_BYTES:
                raise MismatchError(
                    f"reading tile {n} of level {level}: a tree of {self._size} entries has {width} hashes"
                    f" there ({width * HASH_BYTES} bytes), the storage returned {len(tile)} bytes;"
                    " restore the tiles from a copy or rebuild them from the entries"
                )
            self._tiles[level, n] = tile
        return self._tiles[level, n]


def _split(length: int) -> int:
    """The largest power of two smaller than `length` (at least 2): where RFC 6962 divides a tree."""
    return 1 << ((length - 1).bit_length() - 1)


def tree_root(reader: HashReader, size: int) -> bytes:
    """MTH(D[0:size])."""
    size_check(size)
    return _Subtrees(reader, size).root(0, size) if size else EMPTY_ROOT


def inclusion_prove(reader: HashReader, index: int, size: int) -> tuple[bytes, ...]:
    """PATH(index, D[0:size]) of RFC 6962 section 2.1.1: from the leaf's sibling to the root's child."""
    _index_check(index, size)
    siblings = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            siblings.append((middle, stop))
            stop = middle
        else:
            siblings.append((start, middle))
            start = middle
    subtrees = _Subtrees(reader, size)
    return tuple(subtrees.root(*sibling) for sibling in reversed(siblings))


def consistency_prove(reader: HashReader, old_size: int, size: int) -> tuple[bytes, ...]:
    """PROOF(old_size, D[0:size]) of RFC 6962 section 2.1.2; empty for equal sizes and from size 0."""
    size_check(size)
    if not 0 <= old_size <= size:
        raise BoundsError(f"proving consistency: the older size must be from 0 to {size}, not {old_size}")
    if old_size == 0:
        return ()
    parts = []
    start, stop = 0, size
    while old_size < stop:
        middle = start + _split(stop - start)
        if old_size <= middle:
            parts.append((middle, stop))
            stop = middle
        else:
            parts.append((start, middle))
            start = middle
    if start:
        parts.append((start, stop))
    subtrees = _Subtrees(reader, size)
    return tuple(subtrees.root(*part) for part in reversed(parts))


def inclusion_verify(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash `leaf` is at `index` of the tree (RFC 9162 section 2.1.3.2).

    Raises BoundsError if `index` is outside the tree, ProofError if the proof does not lead to `root`.
    """
    _index_check(index, size)
    _hashes_check(proof, leaf, root)
    fn, sn, r = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            raise ProofError(
                f"the inclusion proof of entry {index} in {size} is too long ({len(proof)} hashes)"
            )
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn or r != root:
        raise ProofError(
            f"the inclusion proof of entry {index} in a tree of {size} does not lead to its root:"
            " entry, position, proof and checkpoint do not belong together"
        )


def consistency_verify(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of `old_size` is the beginning of the tree of `size` (RFC 9162 section 2.1.4.2).

    The empty tree begins every tree and equal trees need no proof: both take the empty proof.
    Raises BoundsError if the sizes are out of order, ProofError if the proof does not lead to both roots.
    """
    size_check(size)
    if not 0 <= old_size <= size:
        raise BoundsError(f"checking consistency: the older size must be from 0 to {size}, not {old_size}")
    _hashes_check(proof, old_root, root)
    if old_size in (0, size):
        expected = EMPTY_ROOT if old_size == 0 else root
        if proof or old_root != expected or (size == 0 and root != EMPTY_ROOT):
            raise ProofError(_inconsistent(old_size, size))
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise ProofError(_inconsistent(old_size, size))
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise ProofError(_inconsistent(old_size, size))
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if sn or fr != old_root or sr != root:
        raise ProofError(_inconsistent(old_size, size))


def _inconsistent(old_size: int, size: int) -> str:
    return (
        f"the consistency proof from size {old_size} to {size} does not lead to both roots:"
        " the proof is wrong, or the log was rewritten between the two"
    )


def _index_check(index: int, size: int) -> None:
    size_check(size)
    if not 0 <= index < size:
        raise BoundsError(f"entry {index} is not in a tree of {size} entries")


def _hashes_check(proof: Sequence[bytes], *others: bytes) -> None:
    if len(proof) > MAX_PROOF_HASHES:
        raise ProofError(f"a proof has at most {MAX_PROOF_HASHES} hashes, not {len(proof)}")
    for value in (*proof, *others):
        if len(value) != HASH_BYTES:
            raise ProofError(f"a hash of a proof, a leaf or a root has {HASH_BYTES} bytes, not {len(value)}")
