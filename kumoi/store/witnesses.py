"""The newest checkpoint that enough witnesses cosigned, and how each witness fares."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.expression import ColumnElement

from kumoi.store.log import LogHead
from kumoi.store.schema import events, log_published, log_witnesses
from kumoi.store.writer import Row, insert_many


@dataclass(frozen=True, slots=True)
class WitnessState:
    """What is known of a witness, by its key. `failure` is empty once it cosigned again."""

    vkey: str
    size: int = 0
    cosigned_us: int | None = None
    failure: str = ""
    failed_us: int | None = None


_STATE = [field.name for field in fields(WitnessState)]


def published_read(connection: Connection, origin: str) -> LogHead | None:
    """The newest state of the log with the cosignatures it was published with; None before the first."""
    table = log_published
    row = connection.execute(select(table).where(table.c.origin == origin)).one_or_none()
    return None if row is None else LogHead(row.origin, row.size, row.root, row.checkpoint, row.at_us)


def witness_states(connection: Connection) -> dict[str, WitnessState]:
    """What is known of every witness that was ever asked, by its key."""
    rows = connection.execute(select(*(log_witnesses.c[name] for name in _STATE)))
    return {row.vkey: WitnessState(*row) for row in rows}


def witnesses_write(
    connection: Connection, states: Sequence[WitnessState], published: LogHead | None, told: Sequence[Row]
) -> None:
    """Keep what was heard and the events `told` of it, and publish a cosigned head: never an older one."""
    insert_many(connection, events, told)
    if states:
        _upsert(connection, log_witnesses, "vkey", [asdict(one) for one in states])
    if published is not None:
        newer = log_published.c.size <= published.size
        _upsert(connection, log_published, "origin", [asdict(published)], newer)


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
