import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.ledger.encoding import MAX_INTEGER
from kumoi.ledger.errors import BoundsError, FormatError, LedgerError, MismatchError, PathError
from kumoi.ledger.tiles import (
    ENTRIES,
    MAX_BATCH_ENTRIES,
    MAX_BUNDLE_BYTES,
    MAX_ENTRY_BYTES,
    Edge,
    TileAddress,
    address_check,
    append,
    bundle_decode,
    bundle_encode,
    bundle_prefix,
    edge_addresses,
    edge_load,
    level_count,
    path_parse,
    tile_path,
    tile_prefix,
)
from kumoi.ledger.tree import EMPTY_ROOT, leaf_hash, tile_width

EXAMPLES = settings(deadline=None, max_examples=60)
ADDRESSES = st.builds(
    TileAddress,
    st.one_of(st.integers(0, 63), st.just(ENTRIES)),
    st.one_of(st.integers(0, 2000), st.integers(0, MAX_INTEGER)),
    st.integers(1, 256),
)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (TileAddress(0, 0), "tile/0/000"),
        (TileAddress(63, 1234067), "tile/63/x001/x234/067"),
        (TileAddress(ENTRIES, 273, 112), "tile/entries/273.p/112"),
        (TileAddress(1, 1, 17), "tile/1/001.p/17"),
        (TileAddress(2, 0, 1), "tile/2/000.p/1"),
        (TileAddress(0, 1000), "tile/0/x001/000"),
        (TileAddress(0, MAX_INTEGER, 255), "tile/0/x009/x223/x372/x036/x854/x775/807.p/255"),
    ],
)
def test_paths(address, path):
    assert tile_path(address.level, address.n, address.width) == path
    assert path_parse(path) == address


@EXAMPLES
@given(ADDRESSES)
def test_paths_round_trip(address):
    assert path_parse(tile_path(address.level, address.n, address.width)) == address


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/234",
        "tile/0/x001/x234",
        "tile/0/x001x234/067",
        "tile/0/X001/234",
        "tile/0/000.p/0",
        "tile/0/000.p/05",
        "tile/0/000.p/256",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/Entries/000",
        "tile/entries/../000",
        "tile/data/000",
        "tile/0/x009/x223/x372/x036/x854/x775/808",
        "tile/0/" + "x001/" * 7 + "000",
        "tile/0/" + "x001/" * 1000 + "000",
        "checkpoint",
    ],
)
def test_other_paths_are_refused(path):
    with pytest.raises(PathError):
        path_parse(path)


@EXAMPLES
@given(st.one_of(st.text(), st.text("tile/0123entries.px", max_size=40)))
def test_path_parser_raises_only_its_error(path):
    try:
        address = path_parse(path)
    except PathError:
        return
    assert tile_path(address.level, address.n, address.width) == path


@pytest.mark.parametrize(
    ("level", "n", "width"),
    [(64, 0, 1), (-1, 0, 1), ("other", 0, 1), (0, -1, 1), (0, MAX_INTEGER + 1, 1), (0, 0, 0), (0, 0, 257)],
)
def test_impossible_addresses_are_refused(level, n, width):
    with pytest.raises(PathError):
        tile_path(level, n, width)


@EXAMPLES
@given(st.lists(st.binary(max_size=300), max_size=256), st.binary(min_size=1, max_size=3))
def test_bundles_round_trip_and_are_strict(entries, junk):
    bundle = bundle_encode(entries)
    width = len(entries)
    assert bundle_decode(bundle, width) == tuple(entries)
    for half in (0, width // 2, width):
        assert bundle_prefix(bundle, half) == bundle_encode(entries[:half])
    with pytest.raises(FormatError):
        bundle_decode(bundle + junk, width)
    if bundle:
        with pytest.raises(FormatError):
            bundle_decode(bundle[:-1], width)
        with pytest.raises(LedgerError):
            bundle_decode(bundle, width + 1)
        with pytest.raises(FormatError):
            bundle_decode(bundle, width - 1)


@EXAMPLES
@given(st.binary(max_size=600), st.integers(-1, 258))
def test_bundle_parser_raises_only_ledger_errors(bundle, width):
    try:
        entries = bundle_decode(bundle, width)
    except LedgerError:
        return
    assert bundle_encode(entries) == bundle
    assert len(entries) == width


def test_entry_and_bundle_limits():
    largest = bytes(MAX_ENTRY_BYTES)
    assert bundle_decode(bundle_encode([largest, b""]), 2) == (largest, b"")
    assert len(bundle_encode([largest] * 256)) == MAX_BUNDLE_BYTES
    with pytest.raises(BoundsError):
        bundle_encode([largest + b"\x00"])
    with pytest.raises(BoundsError):
        append(Edge.empty(), [b""] * (MAX_BATCH_ENTRIES + 1))
    with pytest.raises(BoundsError):
        append(Edge.empty(), [largest + b"\x00"])


def test_published_tile_layout(memory_log):
    log = memory_log(70_000, batch=7_000)
    widths = {at: len(tile) // 32 for at, tile in log.tiles.items()}
    assert len([at for at, width in widths.items() if at[0] == 0 and width == 256]) == 273
    assert widths[0, 273] == 112
    assert (widths[1, 0], widths[1, 1], widths[2, 0]) == (256, 17, 1)
    assert len(widths) == 274 + 2 + 1
    assert len(log.bundles) == 274


@EXAMPLES
@given(st.lists(st.integers(0, 900), max_size=8))
def test_any_batches_equal_one_batch(memory_log, naive, entries, batches):
    total = sum(batches)
    everything = entries(total)
    split, whole = memory_log(), memory_log(total)
    for stop in itertools.accumulate(batches):
        split.grow(everything[split.edge.size : stop])
        assert split.edge.size == stop
    assert split.edge == whole.edge
    assert split.tiles == whole.tiles
    assert split.bundles == whole.bundles
    assert split.edge.root == naive(everything).root(0, total)


@EXAMPLES
@given(st.integers(1, 1500), st.data())
def test_tiles_are_what_the_specification_says(memory_log, naive, entries, size, data):
    tree, log = naive(entries(1500)), memory_log(size)
    level, n = data.draw(st.sampled_from(sorted(log.tiles)))
    width = tile_width(size, level, n)
    span = 256**level
    expected = [tree.root((n * 256 + i) * span, (n * 256 + i + 1) * span) for i in range(width)]
    assert log.tiles[level, n] == b"".join(expected)
    assert set(log.tiles) == {
        (at, i) for at in range(level_count(size)) for i in range(-(-(size >> 8 * at) // 256))
    }


@EXAMPLES
@given(st.integers(0, 1200), st.integers(0, 1200))
def test_a_partial_tile_is_the_prefix_of_its_successor(memory_log, a, b):
    older, newer = memory_log(min(a, b)), memory_log(max(a, b))
    for at, tile in older.tiles.items():
        assert tile == tile_prefix(newer.tiles[at], len(tile) // 32)
    for n, bundle in older.bundles.items():
        assert bundle == bundle_prefix(newer.bundles[n], tile_width(older.edge.size, 0, n))


@EXAMPLES
@given(st.integers(0, 1200), st.integers(0, 300))
def test_the_edge_is_loaded_from_storage_that_may_be_ahead(memory_log, size, ahead):
    log, stored = memory_log(size), memory_log(size + ahead)
    edge = edge_load(size, log.edge.root, stored, stored.bundles.get(size // 256, b""))
    assert edge == log.edge
    named = {(address.level, address.n): address.width for address in edge_addresses(size)}
    partial = {(at, len(tile) // 32) for at, tile in log.tiles.items() if len(tile) < 8192}
    assert {(at, width) for at, width in named.items() if at[0] != ENTRIES} == partial
    assert ((ENTRIES, size // 256) in named) == bool(size % 256)


def test_writes_touch_only_the_edge(memory_log, entries):
    log = memory_log(65_536 + 300, batch=60_000)
    writes = append(log.edge, entries(10))
    assert set(writes.tiles) == {(0, 257)}
    assert set(writes.bundles) == {257}
    writes = append(log.edge, entries(220))
    assert set(writes.tiles) == {(0, 257), (0, 258), (1, 1)}
    assert append(log.edge, []).edge == log.edge
    assert append(log.edge, []).tiles == append(log.edge, []).bundles == {}


def test_an_impossible_edge_is_refused(memory_log):
    edge = memory_log(300).edge
    for size, tiles, bundle in [
        (301, edge.tiles, edge.bundle),
        (300, edge.tiles[:1], edge.bundle),
        (300, (edge.tiles[0][:-1], edge.tiles[1]), edge.bundle),
        (300, edge.tiles, edge.bundle[:-1]),
        (300, edge.tiles, edge.bundle + b"\x00"),
        (-1, (), b""),
    ]:
        with pytest.raises(LedgerError):
            Edge(size, tiles, bundle)
    with pytest.raises(BoundsError, match="not on the edge"):
        edge.read(0, 0, 1)
    with pytest.raises(BoundsError, match="not on the edge"):
        edge.read(5, 0, 1)


def test_a_damaged_edge_is_never_loaded(memory_log, bits):
    log = memory_log(300)
    root, bundle = log.edge.root, log.bundles[1]
    for n, altered in enumerate(bits(bundle)):
        if n % 37 == 0:
            with pytest.raises(LedgerError):
                edge_load(300, root, log, altered)
    assert edge_load(300, root, log, bundle) == log.edge
    with pytest.raises(MismatchError, match="its checkpoint says"):
        edge_load(300, EMPTY_ROOT, log, bundle)
    for at, what in [((0, 1), "last entry bundle"), ((1, 0), "its checkpoint says")]:
        good = log.tiles[at]
        log.tiles[at] = leaf_hash(b"other") + good[32:]
        with pytest.raises(MismatchError, match=what):
            edge_load(300, root, log, bundle)
        log.tiles[at] = good


def test_only_tiles_of_the_published_size_exist(memory_log):
    for path, size, exists in [
        ("tile/0/000", 256, True),
        ("tile/0/000", 255, False),
        ("tile/0/000.p/255", 255, True),
        ("tile/0/000.p/255", 300, True),
        ("tile/0/001.p/45", 300, False),
        ("tile/1/000.p/1", 300, True),
        ("tile/1/000.p/2", 300, False),
        ("tile/entries/001.p/44", 300, True),
        ("tile/entries/002.p/1", 300, False),
        ("tile/63/000.p/1", MAX_INTEGER, False),
        ("tile/0/000.p/1", 0, False),
    ]:
        if exists:
            address_check(path_parse(path), size)
        else:
            with pytest.raises(BoundsError, match="does not exist"):
                address_check(path_parse(path), size)


def test_prefixes_that_storage_does_not_hold_are_refused(memory_log):
    tile = memory_log(10).tiles[0, 0]
    assert tile_prefix(tile, 10) == tile
    for stored, width in [(tile, 11), (tile, 0), (tile[:-1], 1), (b"", 1), (bytes(32 * 257), 1)]:
        with pytest.raises(MismatchError):
            tile_prefix(stored, width)
