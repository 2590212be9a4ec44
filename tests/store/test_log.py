"""The log at rest: it only grows, together with its head, and nothing contradictory is ever signed."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import pytest
from region_rows import RegionRows
from sqlalchemy import update

from kumoi.ledger.errors import MismatchError
from kumoi.ledger.event import event_commit
from kumoi.ledger.tiles import bundle_decode
from kumoi.ledger.tree import inclusion_prove, inclusion_verify, leaf_hash, tree_root
from kumoi.store import schema
from kumoi.store.database import Connection, Store
from kumoi.store.errors import StaleState
from kumoi.store.events import event_row
from kumoi.store.log import (
    BATCH_SIZES,
    EVENTS_MAX,
    LogBatch,
    StoredTiles,
    bundle_read,
    head_read,
    log_append,
    tile_read,
)
from kumoi.store.writer import Change

ORIGIN = "kumoi.local/test"
T0_US = 1_700_000_000_000_000


class Signing:
    """Signs everything and remembers it."""

    def __init__(self) -> None:
        self.signed: list[tuple[int, bytes]] = []

    def __call__(self, size: int, root: bytes) -> str:
        self.signed.append((size, root))
        return f"{ORIGIN}\n{size}\n{root.hex()}\n"


def padding(count: int) -> Sequence[bytes]:
    return [os.urandom(32) for _ in range(count)]


def grow(store: Store, sign: Signing, **more: Any) -> LogBatch | None:
    return store.transact_wait(None, log_append, ORIGIN, padding=padding, sign=sign, now_us=T0_US, **more)


def events_write(store: Store, region: RegionRows, count: int) -> list[dict[str, Any]]:
    rows = [
        event_row(
            f"act-{number}",
            at_us=T0_US,
            actor="usr",
            resource="thing",
            organization=region.organizations["one"],
        )
        for number in range(count)
    ]
    if rows:
        store.commit_wait(Change([(schema.events, rows)]))
    return rows


def places(store: Store) -> dict[str, int | None]:
    rows = store.read_wait(lambda connection: connection.execute(schema.events.select()).all())
    return {row.id: row.log_index for row in rows}


def everything(store: Store) -> list[Any]:
    tables = (schema.log_heads, schema.log_tiles, schema.log_bundles, schema.events)
    return [
        sorted(store.read_wait(lambda connection, t=table: connection.execute(t.select()).all()), key=repr)
        for table in tables
    ]


@pytest.fixture
def region(store: Store) -> RegionRows:
    made = RegionRows(store)
    store.transact_wait(None, lambda connection: connection.execute(schema.events.delete()))
    return made


@pytest.mark.parametrize(("count", "size"), [(1, 8), (8, 8), (9, 64), (64, 64), (65, 512), (600, 4096)])
def test_a_batch_is_padded_to_the_next_size(store: Store, region: RegionRows, count: int, size: int) -> None:
    rows = events_write(store, region, count)
    sign = Signing()
    assert grow(store, sign) == LogBatch(count, size, size)
    given = places(store)
    assert [place for _, place in sorted(given.items())] == sorted(
        place for place in given.values() if place is not None
    )
    entries = bundle_decode(store.read_wait(bundle_read, 0, min(size, 256)) or b"", min(size, 256))
    for row in rows:
        place = given[row["id"]]
        assert place is not None
        if place < len(entries):
            assert entries[place] == event_commit(row["salt"], row["canonical"].encode())
    head = store.read_wait(head_read, ORIGIN)
    assert head is not None
    assert [(head.size, head.root)] == sign.signed
    assert (head.checkpoint.split("\n")[1], head.at_us) == (str(size), T0_US)


def test_without_events_nothing_is_signed_unless_asked(store: Store, region: RegionRows) -> None:
    sign = Signing()
    assert grow(store, sign) is None
    assert store.read_wait(head_read, ORIGIN) is None
    assert grow(store, sign, always=True) == LogBatch(0, BATCH_SIZES[0], BATCH_SIZES[0])
    assert len(sign.signed) == 1


def test_the_tree_is_what_its_leaves_make_however_it_grew(store: Store, region: RegionRows) -> None:
    sign = Signing()
    for count in (3, 70, 0, 9, 8, 1):
        events_write(store, region, count)
        grow(store, sign, always=True)
    head = store.read_wait(head_read, ORIGIN)
    assert head is not None
    assert head.size == 8 + 512 + 8 + 64 + 8 + 8

    def check(connection: Connection) -> None:
        assert head is not None
        tiles = StoredTiles(connection)
        assert tree_root(tiles, head.size) == head.root
        leaves = []
        for number in range(-(-head.size // 256)):
            width = min(256, head.size - 256 * number)
            entries = bundle_decode(bundle_read(connection, number, width) or b"", width)
            leaves += [leaf_hash(entry) for entry in entries]
        assert leaves[300] == (tile_read(connection, 0, 1, 45) or b"")[-32:]
        for index in (0, 7, 8, 255, 256, 300, head.size - 1):
            proof = inclusion_prove(tiles, index, head.size)
            inclusion_verify(leaves[index], index, head.size, proof, head.root)

    store.read_wait(check)
    assert None not in places(store).values()


def test_older_states_stay_readable(store: Store, region: RegionRows) -> None:
    sign = Signing()
    for _ in range(4):
        events_write(store, region, 9)
        grow(store, sign)
    for size, root in sign.signed:
        assert store.read_wait(lambda connection, s=size: tree_root(StoredTiles(connection), s)) == root


def test_at_most_so_many_events_at_once_oldest_first(store: Store, region: RegionRows) -> None:
    rows = events_write(store, region, 5)
    assert grow(store, Signing(), events_max=3) == LogBatch(3, 8, 8)
    given = places(store)
    assert [given[row["id"]] is None for row in rows] == [False] * 3 + [True] * 2
    for wrong in (0, EVENTS_MAX + 1):
        with pytest.raises(ValueError, match="1 to 4096"):
            grow(store, Signing(), events_max=wrong)


def test_the_padding_cannot_be_told_from_events(store: Store, region: RegionRows) -> None:
    seen = set()
    for _ in range(6):
        (row,) = events_write(store, region, 1)
        batch = grow(store, Signing())
        assert batch is not None
        place = places(store)[row["id"]]
        assert place is not None
        seen.add(place - (batch.size - batch.entries))
    assert len(seen) > 1
    assert seen <= set(range(8))


def _tile_change(connection: Connection) -> None:
    connection.execute(update(schema.log_tiles).values(data=os.urandom(32 * 8)))


def _tile_remove(connection: Connection) -> None:
    connection.execute(schema.log_tiles.delete())


def _bundle_change(connection: Connection) -> None:
    data = b"".join([b"\0\x20" + os.urandom(32) for _ in range(8)])
    connection.execute(update(schema.log_bundles).values(data=data))


def _root_change(connection: Connection) -> None:
    connection.execute(update(schema.log_heads).values(root=hashlib.sha256(b"other").digest()))


def _size_change(connection: Connection) -> None:
    connection.execute(update(schema.log_heads).values(size=7))


@pytest.mark.parametrize("damage", [_tile_change, _tile_remove, _bundle_change, _root_change, _size_change])
def test_a_log_that_contradicts_itself_is_never_signed(store: Store, region: RegionRows, damage: Any) -> None:
    events_write(store, region, 1)
    grow(store, Signing())
    store.transact_wait(None, damage)
    events_write(store, region, 1)
    before = everything(store)
    sign = Signing()
    with pytest.raises(MismatchError):
        grow(store, sign)
    assert sign.signed == []
    assert everything(store) == before


@pytest.mark.parametrize("begun", [False, True])
def test_a_head_that_another_plane_moved_wins(store: Store, region: RegionRows, begun: bool) -> None:
    if begun:
        events_write(store, region, 1)
        grow(store, Signing())
    events_write(store, region, 1)
    before = everything(store)

    def overtaken(connection: Connection) -> LogBatch | None:
        def sign(size: int, root: bytes) -> str:
            table = schema.log_heads
            values = {"size": size, "root": root, "checkpoint": "the other's", "at_us": T0_US}
            if begun:
                connection.execute(update(table).values(**values))
            else:
                connection.execute(table.insert().values(origin=ORIGIN, **values))
            return "ours"

        return log_append(connection, ORIGIN, padding=padding, sign=sign, now_us=T0_US)

    with pytest.raises(StaleState):
        store.transact_wait(None, overtaken)
    assert everything(store) == before


def test_a_crash_before_the_commit_leaves_nothing(store: Store, region: RegionRows) -> None:
    events_write(store, region, 3)
    before = everything(store)

    def crash(_: int, __: bytes) -> str:
        raise RuntimeError("the signer is gone")

    with pytest.raises(RuntimeError):
        store.transact_wait(None, log_append, ORIGIN, padding=padding, sign=crash, now_us=T0_US)
    assert everything(store) == before
    assert grow(store, Signing()) == LogBatch(3, 8, 8)


def test_two_planes_at_once_make_one_history(store: Store, database_url: str, region: RegionRows) -> None:
    if store.is_sqlite:
        pytest.skip("SQLite has one plane")
    other = Store(database_url)
    sign = Signing()
    events_write(store, region, 40)
    for number in range(10):
        grow((store, other)[number % 2], sign, events_max=4)
    other.close()
    assert [size for size, _ in sign.signed] == [8 * (n + 1) for n in range(10)]
    given = [place for place in places(store).values() if place is not None]
    assert (len(given), len(set(given))) == (40, 40)


def test_a_store_holds_one_log(store: Store, region: RegionRows) -> None:
    """A second log would overwrite tiles that were published for ever."""
    events_write(store, region, 3)
    sign = Signing()
    grow(store, sign)
    before = everything(store)
    events_write(store, region, 1)
    with pytest.raises(MismatchError, match="needs a store of its own"):
        store.transact_wait(
            None, log_append, "kumoi.local/other", padding=padding, sign=sign, now_us=T0_US, always=True
        )
    assert everything(store)[:3] == before[:3]
