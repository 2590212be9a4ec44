"""Usage: sums over the metered intervals of attempts, clipped to a period."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, Connection, Float, and_, case, cast, func, select

from kumoi.store import schema

FETCH_ROWS = 10_000


@dataclass(slots=True)
class UsageSum:
    """What attempts used: exact integers. Times in microseconds; products are with microseconds."""

    attempts: int = 0
    wall_us: int = 0
    cpu_us: int = 0
    cpu_milli_us: int = 0
    memory_byte_us: int = 0
    device_milli_us: int = 0


def project_usage(connection: Connection, project_id: str, since_us: int, until_us: int) -> UsageSum:
    """What a project used in [since, until)."""
    found = _sums(connection, schema.usage_intervals.c.project_id, [project_id], since_us, until_us)
    return found.get(project_id, UsageSum())


def organization_usages(
    connection: Connection, organization_ids: Sequence[str], since_us: int, until_us: int
) -> dict[str, UsageSum]:
    """What each of these organizations used in [since, until); those that used nothing are left out."""
    column = schema.usage_intervals.c.organization_id
    return _sums(connection, column, organization_ids, since_us, until_us)


def _sums(
    connection: Connection,
    owner: ColumnElement[str],
    owner_ids: Sequence[str],
    since_us: int,
    until_us: int,
) -> dict[str, UsageSum]:
    """Sums by owner. The database adds up microseconds per size of attempt, and the products, which go
    beyond 64 bits, are made here. All intervals of an attempt have its size."""
    table = schema.usage_intervals
    start_us = case((table.c.start_us < since_us, since_us), else_=table.c.start_us)
    end_us = case((table.c.end_us > until_us, until_us), else_=table.c.end_us)
    within_us = end_us - start_us
    length_us = table.c.end_us - table.c.start_us
    cpu_us = case(
        (and_(table.c.start_us >= since_us, table.c.end_us <= until_us), table.c.cpu_us),
        else_=cast(cast(table.c.cpu_us, Float(53)) * within_us / length_us, BigInteger),
    )
    size = (table.c.cpu_milli, table.c.memory_bytes, table.c.device_milli)
    statement = (
        select(
            owner.label("owner_id"),
            *size,
            func.count(table.c.attempt_id.distinct()).label("attempts"),
            cast(func.sum(within_us), BigInteger).label("wall_us"),
            cast(func.sum(cpu_us), BigInteger).label("used_us"),
        )
        .where(owner.in_(owner_ids), table.c.end_us > since_us, table.c.start_us < until_us)
        .group_by(owner, *size)
        .execution_options(yield_per=FETCH_ROWS)
    )
    found: dict[str, UsageSum] = defaultdict(UsageSum)
    for row in connection.execute(statement):
        total = found[row.owner_id]
        total.attempts += row.attempts
        total.wall_us += row.wall_us
        total.cpu_us += row.used_us
        total.cpu_milli_us += row.cpu_milli * row.wall_us
        total.memory_byte_us += row.memory_bytes * row.wall_us
        total.device_milli_us += row.device_milli * row.wall_us
    return found
