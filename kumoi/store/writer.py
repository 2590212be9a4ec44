"""One writer with group commit.

Requests queue their changes; the writer takes what has gathered while the last commit was on its way to the
disk and writes it in one transaction: idempotency keys and compare-and-swaps are checked set-wise, with one
executemany per table. A batch that fails is tried again change by change, so one bad change costs the
others time but nothing else. (A savepoint per change would halve the rate.)
"""

import asyncio
import hashlib
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, Dialect, Engine, Table, bindparam, literal_column, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from kumoi.core.lifecycles import LIFECYCLES
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.store import schema
from kumoi.store.errors import (
    DuplicateRow,
    FenceLost,
    ImpossibleState,
    KeyReused,
    MissingReference,
    StaleState,
    StoreBusy,
)

__all__ = ["Change", "Fence", "Move", "Table", "Writer", "Written"]

BATCH_MAX = 256
QUEUE_MAX = 10_000
WAIT_S = 30
GATHER_S = 0.001
Row = Mapping[str, Any]
T = TypeVar("T")

_log = logging.getLogger(__name__)
_TABLE_ORDER = {table: position for position, table in enumerate(schema.metadata.sorted_tables)}
_NO_ANSWER = Written(204, b"")
_MOVES_ALLOWED = {
    (lifecycle.name, source, target)
    for lifecycle in LIFECYCLES
    for source, targets in lifecycle.moves.items()
    for target in targets
}


@dataclass(frozen=True, slots=True)
class Move:
    """A compare-and-swap of one row: from `source` to `target` along the lifecycle of `table`.

    `values` are further columns to set. `source == target` sets them only while the state is `source`.
    """

    table: Table
    id: str
    source: str
    target: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        name = self.table.name.removesuffix("s")
        if self.source != self.target and (name, self.source, self.target) not in _MOVES_ALLOWED:
            raise ImpossibleState(f"the lifecycle of {name} has no move from {self.source} to {self.target}")


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease under which a loop writes; checked inside the transaction."""

    name: str
    holder: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Change:
    """What one request writes: rows and moves, all or nothing, and the answer kept under its key."""

    inserts: Sequence[tuple[Table, Sequence[Row]]] = ()
    moves: Sequence[Move] = ()
    key: IdempotencyKey | None = None
    answer: Written = _NO_ANSWER


@dataclass(slots=True)
class _Item:
    """A queued change or transaction, and whom to tell."""

    change: Change | None
    work: Callable[[Connection], Any] | None
    fence: Fence | None
    future: "Future[Any] | asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop | None


_Result: TypeAlias = tuple[_Item, Any, Exception | None]


class Writer:
    """The thread that owns the write connection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._expected = 1
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._closed = False
        self._open_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, change: Change) -> Written:
        """Write `change`; returns its answer, or the kept one when its key was used before."""
        return cast(Written, await self._put_async(change, None))

    def submit_wait(self, change: Change) -> Written:
        """`submit` for threads."""
        return cast(Written, self._put_wait(change, None, None))

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own."""
        return cast(T, await self._put_async(None, work))

    def transact_wait(self, work: Callable[[Connection], T], fence: Fence | None) -> T:
        """`transact` for threads."""
        return cast(T, self._put_wait(None, work, fence))

    def close(self) -> None:
        """Write what is queued and end the thread."""
        with self._open_lock:
            self._closed = True
            self._queue.put(None)
        self._thread.join(WAIT_S)

    def _put(self, item: _Item) -> None:
        """Queue `item`. Nothing comes after the end mark of `close`: it would never be answered."""
        with self._open_lock:
            if self._closed:
                raise StoreBusy("the plane is stopping; send the request again later")
            if self._queue.qsize() >= QUEUE_MAX:
                raise StoreBusy(f"{QUEUE_MAX} writes are waiting; send the request again later")
            self._queue.put(item)

    async def _put_async(self, change: Change | None, work: Callable[[Connection], Any] | None) -> object:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._put(_Item(change, work, None, future, loop))
        return await future

    def _put_wait(
        self, change: Change | None, work: Callable[[Connection], Any] | None, fence: Fence | None
    ) -> object:
        future: Future[Any] = Future()
        self._put(_Item(change, work, fence, future, None))
        try:
            return future.result(WAIT_S)
        except TimeoutError:
            raise StoreBusy(
                f"the write was not confirmed within {WAIT_S} s and may yet happen; look before asking again"
            ) from None

    def _run(self) -> None:
        while True:
            items, closing = self._gather()
            changes = [item for item in items if item.change is not None]
            if changes:
                self._write_batch(changes)
            self._expected = len(changes)
            for item in items:
                if item.work is not None:
                    _resolve([(item, *self._attempt_alone(item))])
            if closing:
                break
        if self._connection is not None:
            self._connection.close()

    def _gather(self) -> tuple[list[_Item], bool]:
        """What waits, and whether to close after it.

        Whoever was answered last is likely to ask again at once: the batch waits for as many, a millisecond
        at most. Without it, batches of one and of all the others take turns.
        """
        items: list[_Item] = []
        item = self._queue.get()
        until_s = time.monotonic() + GATHER_S
        while item is not None:
            items.append(item)
            if len(items) >= BATCH_MAX:
                return items, False
            wait_s = until_s - time.monotonic() if len(items) < self._expected else 0.0
            try:
                item = self._queue.get(block=wait_s > 0, timeout=max(wait_s, 0.0))
            except queue.Empty:
                return items, False
        return items, True

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        """A transaction. Its connection serves the next one too, unless anything went wrong on it."""
        connection = self._connection or self._engine.connect()
        self._connection = None
        try:
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _write_batch(self, items: list[_Item]) -> None:
        results = self._attempt_batch(items)
        if results is not None:
            _resolve(results)
            return
        busy: StoreBusy | None = None
        for item in items:
            # A database that is away costs one timeout, not one for each that waits.
            value, error = (None, busy) if busy else self._attempt_alone(item)
            busy = error if isinstance(error, StoreBusy) else None
            _resolve([(item, value, error)])

    def _attempt_batch(self, items: list[_Item]) -> list[_Result] | None:
        """Write the items together; None if that failed and they must be tried one by one.

        A key that was used before fails the batch by its primary key, all keys at once and without a
        look-up; written alone, its change finds the kept answer.
        """
        changes = [cast(Change, item.change) for item in items]
        try:
            with self._begin() as connection:
                _write(connection, changes)
            return [(item, change.answer, None) for item, change in zip(items, changes, strict=True)]
        except Exception:
            return None

    def _attempt_alone(self, item: _Item) -> tuple[Any, Exception | None]:
        """Write one item. A key that another plane wrote meanwhile is looked up again: it has an answer."""
        value, error = self._attempt(item)
        if isinstance(error, DuplicateRow) and error.table == schema.idempotency_keys.name:
            value, error = self._attempt(item)
        return value, error

    def _attempt(self, item: _Item) -> tuple[Any, Exception | None]:
        try:
            with self._begin() as connection:
                if item.fence is not None:
                    _fence_check(connection, item.fence)
                if item.change is not None:
                    return change_apply(connection, item.change), None
                return cast(Callable[[Connection], Any], item.work)(connection), None
        except Exception as error:
            return None, _translate(error)


def _resolve(results: list[_Result]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Result]] = defaultdict(list)
    for item, value, error in results:
        if item.loop is None:
            _settle([(item, value, error)])
        else:
            by_loop[item.loop].append((item, value, error))
    for loop, settled in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            _log.warning("the event loop ended before %d answers reached it", len(settled))


def _settle(results: list[_Result]) -> None:
    for item, value, error in results:
        if item.future.done():
            continue
        if error is not None:
            item.future.set_exception(error)
        else:
            item.future.set_result(value)


def key_hash(key: IdempotencyKey) -> bytes:
    """One value for (actor, project, route, key)."""
    parts = (key.actor_id, key.project_id, key.route, key.key)
    return hashlib.sha256("\0".join(parts).encode()).digest()


def change_apply(connection: Connection, change: Change) -> Written:
    """Write one change inside a transaction that had to read first; the kept answer if its key is known."""
    kept = answer_kept(connection, change.key)
    if kept is None:
        _write(connection, [change])
    return kept or change.answer


def answer_kept(connection: Connection, key: IdempotencyKey | None) -> Written | None:
    """The answer that an earlier write left under `key`. Raises KeyReused if that was another request."""
    if key is None:
        return None
    table = schema.idempotency_keys
    row = connection.execute(select(table).where(table.c.hash == key_hash(key))).one_or_none()
    if row is None:
        return None
    if row.digest != key.digest:
        raise KeyReused("the idempotency key was used for another request")
    return Written(row.status, row.body, row.etag, True)


def _write(connection: Connection, changes: list[Change]) -> None:
    rows: dict[Table, list[Row]] = defaultdict(list)
    for change in changes:
        for table, inserted in change.inserts:
            rows[table].extend(inserted)
    keys = [_key_row(change) for change in changes if change.key is not None]
    if keys:
        rows[schema.idempotency_keys].extend(keys)
    for table in sorted(rows, key=_TABLE_ORDER.__getitem__):
        insert_many(connection, table, rows[table])
    move_many(connection, [move for change in changes for move in change.moves])


def insert_many(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert the rows, all of which have the same columns, with one executemany.

    The statement is compiled once: going through the expression for each batch costs as much as SQLite does.
    """
    if rows:
        statement = _insert_text(table, tuple(rows[0]), connection.dialect)
        connection.exec_driver_sql(statement, list(rows))


@lru_cache(256)
def _insert_text(table: Table, columns: tuple[str, ...], dialect: Dialect) -> str:
    return str(table.insert().compile(dialect=dialect, column_keys=list(columns)))


def move_many(connection: Connection, moves: Sequence[Move]) -> None:
    """Compare-and-swap the rows. Raises StaleState if any was not in its expected state."""
    groups: dict[tuple[Table, tuple[str, ...]], list[Move]] = defaultdict(list)
    for move in moves:
        groups[move.table, tuple(sorted(move.values))].append(move)
    for (table, columns), group in groups.items():
        parameters = [
            {"b_id": move.id, "b_source": move.source, "b_target": move.target}
            | {f"v_{column}": move.values[column] for column in columns}
            for move in group
        ]
        statement = _move_text(table, columns, connection.dialect)
        changed = connection.exec_driver_sql(statement, parameters).rowcount
        if changed != len(group):
            raise StaleState(
                f"moving {len(group)} rows of {table.name}, {len(group) - changed} were in another state"
            )


@lru_cache(256)
def _move_text(table: Table, columns: tuple[str, ...], dialect: Dialect) -> str:
    statement = (
        update(table)
        .where(table.c.id == bindparam("b_id"), table.c.state == bindparam("b_source"))
        .values(
            state=bindparam("b_target"),
            version=table.c.version + literal_column("1"),
            **{column: bindparam(f"v_{column}") for column in columns},
        )
    )
    return str(statement.compile(dialect=dialect))


def _key_row(change: Change) -> Row:
    key = cast(IdempotencyKey, change.key)
    return {
        "hash": key_hash(key),
        "digest": key.digest,
        "status": change.answer.status,
        "body": change.answer.body,
        "etag": change.answer.etag,
        "created_us": time.time_ns() // 1_000,
    }


_FENCE = (
    select(schema.leases.c.epoch)
    .where(
        schema.leases.c.name == bindparam("of_name"),
        schema.leases.c.holder == bindparam("of_holder"),
        schema.leases.c.epoch == bindparam("of_epoch"),
    )
    .with_for_update(read=True)
)


def _fence_check(connection: Connection, fence: Fence) -> None:
    held = {"of_name": fence.name, "of_holder": fence.holder, "of_epoch": fence.epoch}
    if connection.execute(_FENCE, held).first() is None:
        raise FenceLost(
            f"the lease {fence.name} of epoch {fence.epoch} is not held by {fence.holder} any more"
        )


def _translate(error: Exception) -> Exception:
    """The store's own error for what a driver raised."""
    if isinstance(error, IntegrityError):
        return _translate_integrity(error)
    if isinstance(error, OperationalError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        return StoreBusy(f"the database did not take the write: {_said(error)}")
    if isinstance(error, DBAPIError):
        return ImpossibleState(f"the database refused the write: {_said(error)}")
    return error


def _said(error: DBAPIError) -> str:
    """What the driver said, without PostgreSQL's DETAIL: that quotes the row, and so what tenants wrote."""
    diagnostic = getattr(error.orig, "diag", None)
    return getattr(diagnostic, "message_primary", None) or str(error.orig)


def _translate_integrity(error: IntegrityError) -> Exception:
    message = _said(error)
    diagnostic = getattr(error.orig, "diag", None)
    state = getattr(diagnostic, "sqlstate", "")
    if state == "23505" or message.startswith("UNIQUE constraint failed"):
        table = getattr(diagnostic, "table_name", None)
        return DuplicateRow(table or message.partition(": ")[2].partition(".")[0])
    if state == "23503" or message.startswith("FOREIGN KEY constraint failed"):
        return MissingReference(f"the write refers to a row that does not exist: {message}")
    return ImpossibleState(f"the schema refused the write: {message}")
