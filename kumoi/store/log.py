"""The operations log at rest: tiles, entry bundles and the signed head, each grown in place.

A row holds the widest form of its tile or bundle; narrower ones are its prefixes. Rows may be ahead of the
head only inside the transaction that moves both, so whatever is read below the head's size is signed.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from kumoi.ledger.errors import MismatchError
from kumoi.ledger.event import event_commit
from kumoi.ledger.tiles import (
    Edge,
    TileWrites,
    append,
    bundle_prefix,
    edge_load,
    tile_prefix,
)
from kumoi.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from kumoi.store import schema
from kumoi.store.errors import StaleState
from kumoi.store.writer import Row

# Batches have one of these sizes, so the growth of the log tells little about how much happened.
BATCH_SIZES = (8, 64, 512, 4_096)
EVENTS_MAX = BATCH_SIZES[-1]

_random = secrets.SystemRandom()


@dataclass(frozen=True, slots=True)
class LogHead:
    """The newest signed state of the log."""

    origin: str
    size: int
    root: bytes
    checkpoint: str
    at_us: int


@dataclass(frozen=True, slots=True)
class LogBatch:
    """What one append added: `events` of tenants and operators among `entries` entries, up to `size`."""

    events: int
    entries: int
    size: int


class StoredTiles:
    """The stored tiles, as proofs are made from them (`kumoi.ledger.tree.HashReader`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def read(self, level: int, n: int, width: int) -> bytes:
        """The first `width` hashes of a tile. Raises MismatchError if the store lacks them."""
        found = tile_read(self._connection, level, n, width)
        if found is None:
            raise MismatchError(
                f"the store has no tile {n} of level {level}; restore it from a copy of the log"
            )
        return found


def head_read(connection: Connection, origin: str) -> LogHead | None:
    """The head of the log `origin`; None before its first batch."""
    return _head(connection, origin, lock=False)


def tile_read(connection: Connection, level: int, number: int, width: int) -> bytes | None:
    """The tile of `width` hashes (1..256), or None. Check `width` against the head's size first."""
    table = schema.log_tiles
    data = connection.execute(
        select(table.c.data).where(table.c.level == level, table.c.number == number)
    ).scalar_one_or_none()
    return None if data is None else tile_prefix(data, width)


def bundle_read(connection: Connection, number: int, width: int) -> bytes | None:
    """The bundle of `width` entries (1..256), or None. Check `width` against the head's size first."""
    table = schema.log_bundles
    data = connection.execute(select(table.c.data).where(table.c.number == number)).scalar_one_or_none()
    return None if data is None else bundle_prefix(data, width)


def log_append(
    connection: Connection,
    origin: str,
    *,
    padding: Callable[[int], Sequence[bytes]],
    sign: Callable[[int, bytes], str],
    now_us: int,
    events_max: int = EVENTS_MAX,
    always: bool = False,
) -> LogBatch | None:
    """Give committed events without a place their place in the log, and sign its new state.

    At most `events_max` events, in the order of their ids, are strewn among entries that `padding(count)`
    makes (random 32-byte commitments), so that a batch has one of BATCH_SIZES. `sign(size, root)` gives
    the checkpoint. Without events there is no batch, unless `always`. Raises StaleState if another plane
    moved the head meanwhile, MismatchError if tiles and head contradict each other: then nothing is signed.
    """
    if not 1 <= events_max <= EVENTS_MAX:
        raise ValueError(f"a batch takes 1 to {EVENTS_MAX} events, not {events_max}")
    head = _head(connection, origin, lock=True)
    _only_log_check(connection, origin)
    waiting = _events_waiting(connection, events_max)
    if not waiting and not always:
        return None
    edge = _edge(connection, head)
    entries, places = _batch(waiting, padding)
    writes = append(edge, entries)
    _writes_store(connection, writes)
    _events_place(connection, {event_id: edge.size + place for event_id, place in places.items()})
    _head_move(
        connection,
        head,
        LogHead(origin, writes.size, writes.root, sign(writes.size, writes.root), now_us),
    )
    return LogBatch(len(waiting), len(entries), writes.size)


def head_any(connection: Connection) -> LogHead | None:
    """The head of the log that the store holds, whatever its origin: a store holds one."""
    row = connection.execute(select(schema.log_heads).limit(1)).one_or_none()
    return None if row is None else LogHead(row.origin, row.size, row.root, row.checkpoint, row.at_us)


def event_waiting_since(connection: Connection) -> int | None:
    """When the oldest event without a place in the log happened; None where all have theirs."""
    table = schema.events
    waiting = select(table.c.at_us).where(table.c.log_index.is_(None)).order_by(table.c.id).limit(1)
    return connection.execute(waiting).scalar_one_or_none()


def _only_log_check(connection: Connection, origin: str) -> None:
    """Tiles and bundles are of one log; a second one would overwrite what was published for ever."""
    head = head_any(connection)
    if head is not None and head.origin != origin:
        raise MismatchError(f"the store holds the log {head.origin}; {origin} needs a store of its own")


def _head(connection: Connection, origin: str, *, lock: bool) -> LogHead | None:
    table = schema.log_heads
    statement = select(table).where(table.c.origin == origin)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if row is None else LogHead(row.origin, row.size, row.root, row.checkpoint, row.at_us)


def _events_waiting(connection: Connection, events_max: int) -> Sequence[tuple[str, bytes]]:
    """Id and commitment of events without a place."""
    table = schema.events
    rows = connection.execute(
        select(table.c.id, table.c.salt, table.c.canonical)
        .where(table.c.log_index.is_(None))
        .order_by(table.c.id)
        .limit(events_max)
        .with_for_update()
    )
    return [(row.id, event_commit(row.salt, row.canonical.encode())) for row in rows]


def _edge(connection: Connection, head: LogHead | None) -> Edge:
    if head is None:
        return Edge.empty()
    bundle = b""
    if head.size % TILE_WIDTH:
        bundle = bundle_read(connection, head.size >> TILE_HEIGHT, head.size % TILE_WIDTH) or b""
    return edge_load(head.size, head.root, StoredTiles(connection), bundle)


def _batch(
    waiting: Sequence[tuple[str, bytes]], padding: Callable[[int], Sequence[bytes]]
) -> tuple[list[bytes], dict[str, int]]:
    """The entries of a batch, and the place of each event in it: in order, the gaps at random."""
    size = next(size for size in BATCH_SIZES if size >= len(waiting))
    places = sorted(_random.sample(range(size), len(waiting)))
    taken = dict(zip(places, (commitment for _, commitment in waiting), strict=True))
    filling = iter(padding(size - len(waiting)))
    entries = [taken[place] if place in taken else next(filling) for place in range(size)]
    return entries, dict(zip((event_id for event_id, _ in waiting), places, strict=True))


def _writes_store(connection: Connection, writes: TileWrites) -> None:
    tiles = [
        {"level": level, "number": number, "data": data} for (level, number), data in writes.tiles.items()
    ]
    bundles = [{"number": number, "data": data} for number, data in writes.bundles.items()]
    _grow(connection, schema.log_tiles, ["level", "number"], tiles)
    _grow(connection, schema.log_bundles, ["number"], bundles)


def _grow(connection: Connection, table: Table, key: list[str], rows: Sequence[Row]) -> None:
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = build(table)
    statement = statement.on_conflict_do_update(index_elements=key, set_={"data": statement.excluded.data})
    connection.execute(statement, list(rows))


def _events_place(connection: Connection, places: dict[str, int]) -> None:
    if not places:
        return
    table = schema.events
    statement = (
        update(table)
        .where(table.c.id == bindparam("b_id"), table.c.log_index.is_(None))
        .values(log_index=bindparam("b_index"))
    )
    rows = [{"b_id": event_id, "b_index": place} for event_id, place in places.items()]
    if connection.execute(statement, rows).rowcount != len(rows):
        raise StaleState("another plane gave some of these events their place in the log")


def _head_move(connection: Connection, old: LogHead | None, new: LogHead) -> None:
    table = schema.log_heads
    values = {
        "size": new.size,
        "root": new.root,
        "checkpoint": new.checkpoint,
        "at_us": new.at_us,
    }
    if old is None:
        try:
            connection.execute(table.insert().values(origin=new.origin, **values))
        except IntegrityError:
            raise StaleState(f"another plane began the log {new.origin}") from None
        return
    swap = update(table).where(table.c.origin == new.origin, table.c.size == old.size)
    if connection.execute(swap.values(**values)).rowcount != 1:
        raise StaleState(f"the head of the log {new.origin} is not at {old.size} any more")
