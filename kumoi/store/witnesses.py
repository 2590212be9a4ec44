"""The newest checkpoint that enough witnesses cosigned, and how each witness fares."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, Table, and_, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.expression import ColumnElement

from kumoi.store.log import LogHead
from kumoi.store.schema import events, log_published, log_witnesses, notices
from kumoi.store.writer import Row, insert_many


@dataclass(frozen=True, slots=True)
class WitnessState:
    """What is known of a witness, by its key. `failures` in a row; none and no `failure` once it cosigned."""

    vkey: str
    size: int = 0
    cosigned_us: int | None = None
    failure: str = ""
    failed_us: int | None = None
    failures: int = 0


_STATE = [field.name for field in fields(WitnessState)]


def published_read(connection: Connection, origin: str, rules: str) -> LogHead | None:
    """The newest state of the log with the cosignatures that it was published with under these `rules`."""
    table = log_published
    statement = select(table).where(table.c.origin == origin, table.c.rules == rules)
    row = connection.execute(statement).one_or_none()
    return None if row is None else LogHead(row.origin, row.size, row.root, row.checkpoint, row.at_us)


def published_forget(connection: Connection) -> None:
    """For a log without witnesses: it is shown as it grows, and what they saw must not come back."""
    connection.execute(delete(log_published))


def witness_states(connection: Connection) -> dict[str, WitnessState]:
    """What is known of every witness that was ever asked, by its key."""
    rows = connection.execute(select(*(log_witnesses.c[name] for name in _STATE)))
    return {row.vkey: WitnessState(*row) for row in rows}


def witnesses_write(
    connection: Connection,
    states: Sequence[WitnessState],
    published: LogHead | None,
    rules: str,
    told: Sequence[Row],
    noticed: Sequence[Row],
) -> None:
    """Keep what was heard with the events and notices of it; publish a cosigned head, never an older one."""
    insert_many(connection, events, told)
    insert_many(connection, notices, noticed)
    if states:
        _upsert(connection, log_witnesses, "vkey", [asdict(one) for one in states])
    if published is not None:
        table = log_published
        same = and_(table.c.size == published.size, table.c.root == published.root)
        newer = or_(table.c.size < published.size, same)
        _upsert(connection, table, "origin", [asdict(published) | {"rules": rules}], newer)


def _upsert(
    connection: Connection,
    table: Table,
    key: str,
    rows: Sequence[Row],
    where: ColumnElement[bool] | None = None,
) -> None:
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = build(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name != key}
    connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=changed, where=where), rows)
