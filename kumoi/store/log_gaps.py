"""Gaps of the log that people were told of, until they were told of the end."""

from sqlalchemy import Connection, select

from kumoi.core.log_gaps import LogGap
from kumoi.store.schema import events, log_gaps, notices
from kumoi.store.writer import Row, insert_many


def log_gaps_told(connection: Connection) -> frozenset[LogGap]:
    """The gaps whose beginning was told of, and whose end was not."""
    return frozenset(LogGap(kind) for kind in connection.execute(select(log_gaps.c.kind)).scalars())


def log_gap_write(connection: Connection, gap: LogGap, event: Row, notice: Row, *, begins: bool) -> None:
    """Record that a gap begins or ended, with the event and notice of it."""
    insert_many(connection, events, [event])
    insert_many(connection, notices, [notice])
    if begins:
        connection.execute(log_gaps.insert().values(kind=gap, begun_us=event["at_us"]))
    else:
        connection.execute(log_gaps.delete().where(log_gaps.c.kind == gap))
