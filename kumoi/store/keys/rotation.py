"""Rotation: new versions of organizations' keys, and what wraps everything under them, batch by batch.

Each step is one transaction that may be lost and repeated: a blob is replaced where it still is what was
read, a version is destroyed where the database finds nothing that refers to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from kumoi.store.errors import StaleState
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.keys.columns import SEALED_TABLES, SealedTable
from kumoi.store.keys.encryption import KeyEncryption, KeyEncryptions
from kumoi.store.keys.names import Sealed, SealedName, organization_key_additional
from kumoi.store.keys.rows import organization_key_row
from kumoi.store.schema import AnyRow, attempts, events, is_live, jobs, key_holders, organization_keys
from kumoi.store.writer import Move, insert_many, move_many

BATCH = 200
RETIRED_MAX = 100


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A version of an organization's key, wrapped anew: the row as it was read, and what takes its place."""

    row: AnyRow
    kek: str
    wrapped_key: bytes


@dataclass(frozen=True, slots=True)
class Resealed:
    """A sealed thing whose data key was wrapped anew."""

    id: str
    old: bytes
    new: Sealed


def versions_wrap(
    encryptions: KeyEncryptions, rows: Sequence[AnyRow], wrapper: KeyEncryption
) -> Sequence[Wrapped]:
    """The versions, each wrapped by another key. Calls tokens. Raises KeyUnavailable or SealBroken."""
    found = []
    for row in rows:
        names = [
            organization_key_additional(row.organization_id, row.number, kek)
            for kek in (row.kek, wrapper.name)
        ]
        key = encryptions.find(row.kek).unwrap(row.wrapped_key, names[0])
        found.append(Wrapped(row, wrapper.name, wrapper.wrap(key, names[1])))
    return found


def versions_put(connection: Connection, wrapped: Sequence[Wrapped]) -> None:
    """Write versions that were wrapped anew. Raises StaleState where one changed meanwhile."""
    for one in wrapped:
        statement = update(organization_keys).where(
            organization_keys.c.id == one.row.id,
            organization_keys.c.kek == one.row.kek,
            organization_keys.c.wrapped_key == one.row.wrapped_key,
        )
        values = {"kek": one.kek, "wrapped_key": one.wrapped_key, "version": organization_keys.c.version + 1}
        if connection.execute(statement.values(**values)).rowcount != 1:
            raise StaleState(f"the key {one.row.id} was wrapped anew meanwhile")


def version_add(connection: Connection, current: AnyRow, row: dict[str, Any], now_us: int) -> None:
    """Make `row` the current version in place of `current`. Raises StaleState or DuplicateRow."""
    move_many(connection, [Move(organization_keys, current.id, "current", "retired", {"retired_us": now_us})])
    insert_many(connection, organization_keys, [row])


def version_next(wrapper: KeyEncryption, current: AnyRow, now_us: int) -> dict[str, Any]:
    """The row of the version after `current`. Calls a token. Raises KeyUnavailable."""
    return organization_key_row(wrapper, current.organization_id, current.number + 1, now_us)


def holder_put(connection: Connection, organization_id: str, values: dict[str, Any]) -> None:
    """Write who holds an organization's key."""
    changed = update(key_holders).where(key_holders.c.id == organization_id)
    if not connection.execute(changed.values(**values, version=key_holders.c.version + 1)).rowcount:
        connection.execute(insert(key_holders).values(id=organization_id, **values))


def holder_move(connection: Connection, row: AnyRow, target: str, cause: str, now_us: int) -> None:
    """Move the holder of a key, with the cause. Raises StaleState."""
    values = {"cause": cause, "changed_us": now_us}
    move_many(connection, [Move(key_holders, row.id, row.state, target, values)])


def holder_tell(connection: Connection, row: AnyRow, target: str, cause: str, now_us: int) -> None:
    """Write that a token lost a key or gives it again, with the event. Raises StaleState."""
    holder_move(connection, row, target, cause, now_us)
    action = "key_lost" if target == "lost" else "key_found"
    detail = {"token": row.token, "object": row.label} | ({"cause": cause} if cause else {})
    insert_many(connection, events, [_event(action, row.id, now_us, detail)])


def holders_read(connection: Connection) -> Sequence[AnyRow]:
    """Who holds keys in tokens, with the current version of each: `kek`, `number`, `wrapped_key`."""
    current = organization_keys.c.state == "current"
    statement = select(
        key_holders,
        organization_keys.c.kek,
        organization_keys.c.number,
        organization_keys.c.wrapped_key,
    ).join(organization_keys, (organization_keys.c.organization_id == key_holders.c.id) & current)
    return connection.execute(statement.order_by(key_holders.c.id)).all()


def retired_read(connection: Connection) -> Sequence[AnyRow]:
    """Old versions that exist still, oldest first; not of keys that are withdrawn."""
    away = exists(
        select(1).where(
            key_holders.c.id == organization_keys.c.organization_id, key_holders.c.state != "held"
        )
    )
    statement = select(organization_keys).where(organization_keys.c.state == "retired", ~away)
    return connection.execute(statement.order_by(organization_keys.c.id).limit(RETIRED_MAX)).all()


def wrapped_by(connection: Connection, kek: str, limit: int = BATCH, after_id: str = "") -> Sequence[AnyRow]:
    """Versions that the key of this name wraps, after `after_id`."""
    statement = select(organization_keys).where(
        organization_keys.c.kek == kek, organization_keys.c.id > after_id
    )
    return connection.execute(statement.order_by(organization_keys.c.id).limit(limit)).all()


def sealed_read(
    connection: Connection, kept: SealedTable, retired: AnyRow, limit: int, after_id: str = ""
) -> Sequence[AnyRow]:
    """Rows of a table that an old version still serves, after `after_id`."""
    table = kept.table
    statement = select(table).where(
        table.c.organization_id == retired.organization_id,
        table.c.key_version == retired.number,
        table.c.id > after_id,
    )
    return connection.execute(statement.order_by(table.c.id).limit(limit)).all()


def sealed_put(connection: Connection, kept: SealedTable, resealed: Sequence[Resealed]) -> None:
    """Write blobs that were wrapped anew, each where it still is what was read."""
    table = kept.table
    statement = (
        update(table)
        .where(table.c.id == bindparam("of_id"), table.c.sealed == bindparam("was"))
        .values(sealed=bindparam("now"), key_version=bindparam("under"))
    )
    rows = [
        {"of_id": one.id, "was": one.old, "now": one.new.blob, "under": one.new.key_version}
        for one in resealed
    ]
    connection.execute(statement, rows)


def reseal(
    rewrap: Callable[[SealedName, Sealed], Sealed], kept: SealedTable, rows: Sequence[AnyRow]
) -> Sequence[Resealed]:
    """The rows' blobs under the current key."""
    return [
        Resealed(row.id, row.sealed, rewrap(kept.name(row), Sealed(row.sealed, row.key_version)))
        for row in rows
    ]


def version_destroy(connection: Connection, retired: AnyRow, now_us: int) -> None:
    """Destroy an old version, with the event. The database refuses it while anything is sealed with it."""
    gone = delete(organization_keys).where(
        organization_keys.c.id == retired.id, organization_keys.c.state == "retired"
    )
    if connection.execute(gone).rowcount == 1:
        detail = {"version": retired.number}
        event = _event("key_destroy", retired.organization_id, now_us, detail)
        insert_many(connection, events, [event])


def sealed_any(connection: Connection, retired: AnyRow) -> bool:
    """Whether anything is sealed with an old version still."""
    return any(sealed_read(connection, kept, retired, 1) for kept in SEALED_TABLES)


def jobs_running(connection: Connection, organization_id: str, limit: int) -> Sequence[str]:
    """Jobs of an organization that have live attempts and are not being ended."""
    statement = (
        select(attempts.c.job_id)
        .distinct()
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(is_live(), attempts.c.organization_id == organization_id, jobs.c.state != "cancelling")
        .order_by(attempts.c.job_id)
        .limit(limit)
    )
    return connection.execute(statement).scalars().all()


def wrapped_count(connection: Connection, kek: str) -> int:
    """How many versions of organizations' keys the key of this name wraps."""
    statement = select(func.count()).where(organization_keys.c.kek == kek)
    return connection.execute(statement).scalar_one()


def key_uses(connection: Connection, organization_id: str) -> dict[int, int]:
    """How many things are sealed with each version of an organization's key."""
    counts: dict[int, int] = {}
    for kept in SEALED_TABLES:
        table = kept.table
        statement = (
            select(table.c.key_version, func.count())
            .where(table.c.organization_id == organization_id, table.c.key_version.is_not(None))
            .group_by(table.c.key_version)
        )
        for number, count in connection.execute(statement):
            counts[number] = counts.get(number, 0) + count
    return counts


def _event(action: str, organization_id: str, now_us: int, detail: dict[str, Any]) -> dict[str, Any]:
    return event_row(
        action,
        at_us=now_us,
        actor=SYSTEM_ACTOR,
        resource=organization_id,
        organization=organization_id,
        detail=detail,
    )
