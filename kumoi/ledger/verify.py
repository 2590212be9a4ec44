"""Verification of a whole log by anyone, from nothing but its public files and its key.

The caller brings `fetch`, which returns the file at a path below the log's prefix (from HTTP, from a
directory, from memory) and raises its own errors, which pass through. The log is grown again from its
entries, one bundle at a time, so memory stays within one bundle and one tile per level.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from kumoi.ledger.checkpoint import (
    CHECKPOINT_PATH,
    Checkpoint,
    Cosignature,
    checkpoint_open,
)
from kumoi.ledger.encoding import text_shown
from kumoi.ledger.errors import BoundsError, FormatError, HistoryError, MismatchError
from kumoi.ledger.note import VerifierKey
from kumoi.ledger.receipt import Receipt, receipt_verify
from kumoi.ledger.tiles import ENTRIES, TILE_BYTES, Edge, append, bundle_decode, tile_path
from kumoi.ledger.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    consistency_prove,
    consistency_verify,
    tile_width,
)

MAX_ANCHORS: Final = 10_000
"""Older checkpoints and receipts that one verification takes."""

Fetch = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class LogReport:
    """What `log_verify` found to be true."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]
    tiles_checked: int
    bundles_checked: int
    older_checked: int
    receipts_checked: int


@dataclass(frozen=True, slots=True)
class TileFetcher:
    """A HashReader over the published tiles, for proofs without the whole log."""

    fetch: Fetch

    def read(self, level: int, n: int, width: int) -> bytes:
        """The tile of `width` hashes at `level`, number `n`."""
        return self.fetch(tile_path(level, n, width))


def log_verify(
    fetch: Fetch,
    key: VerifierKey,
    *,
    witnesses: Sequence[VerifierKey] = (),
    quorum: int = 0,
    older: Sequence[bytes] = (),
    receipts: Iterable[tuple[Receipt, bytes]] = (),
) -> LogReport:
    """Check every file of a log against its signed checkpoint.

    Checks the checkpoint's signature and cosignatures, every entry bundle, every full and partial tile and
    the root; that each signed checkpoint in `older`, and each receipt with its entry, is part of this
    history. Raises HistoryError where the log was shortened or rewritten, MismatchError where its files
    contradict each other, and what opening a checkpoint or a receipt raises.
    """
    opened = checkpoint_open(fetch(CHECKPOINT_PATH), key, witnesses=witnesses, quorum=quorum)
    anchors = _Anchors(opened.checkpoint)
    for number, note in enumerate(older):
        anchors.add(checkpoint_open(note, key).checkpoint, f"older checkpoint {number}")
    receipts_checked = 0
    for receipt, entry in receipts:
        held = receipt_verify(receipt, entry, key)
        anchors.add(held.checkpoint, f"the checkpoint in the receipt of entry {receipt.index}")
        receipts_checked += 1
    tiles_checked = _log_replay(fetch, opened.checkpoint.size, anchors)
    return LogReport(
        opened.checkpoint,
        opened.cosignatures,
        tiles_checked,
        -(-opened.checkpoint.size // TILE_WIDTH),
        len(older),
        receipts_checked,
    )


def history_verify(fetch: Fetch, older: Checkpoint, newer: Checkpoint) -> tuple[bytes, ...]:
    """Check that `newer` grew out of `older`, from a few tiles only; returns the consistency proof.

    Both checkpoints must have been opened with the log's key. Raises HistoryError, or ProofError if the
    tiles do not prove it.
    """
    if older.origin != newer.origin or older.size > newer.size:
        raise HistoryError(
            f"{_shown(newer)} cannot have grown out of {_shown(older)}: it is shorter, or another log"
        )
    proof = consistency_prove(TileFetcher(fetch), older.size, newer.size)
    consistency_verify(older.size, older.root, newer.size, newer.root, proof)
    return proof


class _Anchors:
    """The roots that the log must have had at the sizes of older checkpoints."""

    def __init__(self, newest: Checkpoint) -> None:
        self._newest = newest
        self._roots: dict[int, bytes] = {newest.size: newest.root, 0: EMPTY_ROOT}
        self._sizes: list[int] = []
        self._count = 0

    def add(self, older: Checkpoint, what: str) -> None:
        self._count += 1
        if self._count > MAX_ANCHORS:
            raise BoundsError(f"one verification takes at most {MAX_ANCHORS} older checkpoints and receipts")
        if older.size > self._newest.size:
            raise HistoryError(
                f"{what} is of {_shown(older)}, but the log now shows only {self._newest.size} entries:"
                " it was shortened; keep both checkpoints, together they prove it"
            )
        if older.size not in self._roots:
            insort(self._sizes, older.size)
        if self._roots.setdefault(older.size, older.root) != older.root:
            raise HistoryError(
                f"{what} is of {_shown(older)}, but the log signed another root at that size:"
                " it shows two histories; keep both checkpoints, together they prove it"
            )

    def inside(self, start: int, stop: int) -> list[int]:
        """The sizes strictly between `start` and `stop` at which a root is known."""
        return self._sizes[bisect_right(self._sizes, start) : bisect_left(self._sizes, stop)]

    def check(self, edge: Edge) -> None:
        """Raise MismatchError or HistoryError if the log, regrown to `edge`, has another root than known."""
        expected = self._roots.get(edge.size)
        if expected is None or edge.root == expected:
            return
        if edge.size == self._newest.size:
            raise MismatchError(
                f"the log's entries do not hash to the root of its checkpoint ({_shown(self._newest)}):"
                " entries and tiles were altered after they were signed; compare with a mirror"
            )
        raise HistoryError(
            f"the log was rewritten: at size {edge.size} its entries hash to {edge.root.hex()}, but it once"
            f" signed {expected.hex()}; keep both checkpoints, together they prove it"
        )


def _shown(checkpoint: Checkpoint) -> str:
    return f"{text_shown(checkpoint.origin)} at size {checkpoint.size}"


def _log_replay(fetch: Fetch, size: int, anchors: _Anchors) -> int:
    """Grow the log again from its bundles and compare every tile; returns how many tiles were compared."""
    edge = Edge.empty()
    tiles_checked = 0
    while edge.size < size:
        start, n = edge.size, edge.size // TILE_WIDTH
        width = tile_width(size, 0, n)
        entries = _bundle_fetch(fetch, n, width)
        tiles: dict[tuple[int, int], bytes] = {}
        edges = []
        for stop in [*anchors.inside(start, start + width), start + width]:
            writes = append(edge, entries[edge.size - start : stop - start])
            edge = writes.edge
            tiles.update({at: tile for at, tile in writes.tiles.items() if len(tile) == TILE_BYTES})
            edges.append(edge)
        if edge.size == size:
            edge_tiles = enumerate(edge.tiles)
            tiles.update(
                {(level, size >> TILE_HEIGHT * (level + 1)): tile for level, tile in edge_tiles if tile}
            )
        for (level, tile_n), tile in sorted(tiles.items()):
            _tile_compare(fetch, level, tile_n, tile)
        tiles_checked += len(tiles)
        for known in edges:
            anchors.check(known)
    return tiles_checked


def _bundle_fetch(fetch: Fetch, n: int, width: int) -> tuple[bytes, ...]:
    path = tile_path(ENTRIES, n, width)
    try:
        return bundle_decode(fetch(path), width)
    except FormatError as error:
        raise FormatError(f"reading {path}: {error}") from error


def _tile_compare(fetch: Fetch, level: int, n: int, expected: bytes) -> None:
    path = tile_path(level, n, len(expected) // HASH_BYTES)
    found = fetch(path)
    if found == expected:
        return
    if len(found) != len(expected):
        raise MismatchError(f"{path} has {len(found)} bytes instead of {len(expected)}: the file is damaged")
    differing = next(at for at in range(len(found)) if found[at] != expected[at]) // HASH_BYTES
    below = "entry" if level == 0 else f"the level {level - 1} tile"
    raise MismatchError(
        f"{path}: hash {differing} is not that of {below} {n * TILE_WIDTH + differing}: the tile or what lies"
        " below it was altered; compare with a mirror"
    )
