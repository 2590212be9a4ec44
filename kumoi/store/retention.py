"""What is dropped when its time is over, a bounded number of rows at a time.

Events and log entries are never dropped. Rows of attempts leave a tombstone, so that the orphan loop still
knows what was ours.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, exists, insert, literal, select, update

from kumoi.store.events import REFUSED, event_row
from kumoi.store.schema import (
    AnyRow,
    attempts,
    events,
    idempotency_keys,
    is_false,
    job_dependencies,
    jobs,
    machines,
    plans,
    refusals,
    scalings,
    services,
    tombstones,
)
from kumoi.store.writer import insert_many

TASKS_DROPPED_MAX = 20_000


def idempotency_keys_drop(connection: Connection, before_us: int, limit: int) -> int:
    """Forget the answers of keys older than `before_us`."""
    old = select(idempotency_keys.c.hash).where(idempotency_keys.c.created_us < before_us).limit(limit)
    return connection.execute(
        delete(idempotency_keys).where(idempotency_keys.c.hash.in_(old.scalar_subquery()))
    ).rowcount


def plans_drop(connection: Connection, before_us: int, limit: int) -> int:
    """Drop plans decided before `before_us`, unless a later one is recomputed from the same base."""
    later = plans.alias("later")
    needed = exists(select(1).where(later.c.base_id == plans.c.base_id, later.c.decided_us >= before_us))
    old = select(plans.c.id).where(plans.c.decided_us < before_us, ~needed).limit(limit)
    return connection.execute(delete(plans).where(plans.c.id.in_(old.scalar_subquery()))).rowcount


def machines_drop(connection: Connection, before_us: int, limit: int) -> int:
    """Drop machines that ended before `before_us`. Their hosts stay: attempts refer to them."""
    old = select(machines.c.id).where(machines.c.ended_us < before_us).limit(limit)
    return connection.execute(delete(machines).where(machines.c.id.in_(old.scalar_subquery()))).rowcount


def jobs_drop(connection: Connection, before_us: int, incarnation: str, limit: int) -> int:
    """Drop jobs that ended before `before_us` with their tasks and attempts, each leaving a tombstone."""
    old = _jobs_old(connection, before_us, limit)
    if not old:
        return 0
    buried = select(
        attempts.c.id,
        attempts.c.engine,
        literal(incarnation),
        attempts.c.organization_id,
        attempts.c.ended_us,
    ).where(attempts.c.job_id.in_(old))
    columns = ["ref", "engine", "incarnation", "organization_id", "ended_us"]
    connection.execute(insert(tombstones).from_select(columns, buried))
    return connection.execute(delete(jobs).where(jobs.c.id.in_(old))).rowcount


def _jobs_old(connection: Connection, before_us: int, limit: int) -> Sequence[str]:
    """Jobs that ended before `before_us` and that nobody waits for, few enough to be dropped quickly."""
    waiting = jobs.alias("waiting")
    awaited = exists(
        select(1)
        .select_from(job_dependencies.join(waiting, waiting.c.id == job_dependencies.c.job_id))
        .where(job_dependencies.c.depends_on_id == jobs.c.id, waiting.c.state == "waiting")
    )
    statement = select(jobs.c.id, jobs.c.array_size).where(jobs.c.ended_us < before_us, ~awaited).limit(limit)
    tasks_seen = 0
    old: list[str] = []
    for row in connection.execute(statement):
        tasks_seen += row.array_size
        if old and tasks_seen > TASKS_DROPPED_MAX:
            break
        old.append(row.id)
    return old


def services_drop(connection: Connection, before_us: int, limit: int) -> int:
    """Drop services that were deleted before `before_us`, once the jobs of their replicas are dropped."""
    jobs_left = exists(
        select(1).where(jobs.c.project_id == services.c.project_id, jobs.c.service_id == services.c.id)
    )
    old = select(services.c.id).where(services.c.deleted_us < before_us, ~jobs_left).limit(limit)
    return connection.execute(delete(services).where(services.c.id.in_(old.scalar_subquery()))).rowcount


def scalings_drop(connection: Connection, before_us: int, limit: int) -> int:
    """Drop the autoscaler's decisions about services that were deleted before `before_us`."""
    deleted = select(services.c.id).where(services.c.deleted_us < before_us)
    old = select(scalings.c.id).where(scalings.c.service_id.in_(deleted.scalar_subquery())).limit(limit)
    return connection.execute(delete(scalings).where(scalings.c.id.in_(old.scalar_subquery()))).rowcount


@dataclass(frozen=True, slots=True)
class Remains:
    """What an engine may still hold of an attempt; `buried` if only a tombstone is left of its row."""

    ref: str
    organization_id: str
    buried: bool


def remains_to_purge(
    connection: Connection, engine: str, before_us: int, unreachable: Collection[str], limit: int
) -> Sequence[Remains]:
    """Attempts that ended before `before_us` and whose logs are still kept, and what tombstones remember, but
    nothing of the organizations `unreachable`."""
    logs = select(attempts.c.id, attempts.c.organization_id).where(
        attempts.c.ended_us < before_us,
        is_false(attempts.c.log_purged),
        attempts.c.engine == engine,
        attempts.c.organization_id.not_in(unreachable),
    )
    buried = select(tombstones.c.ref, tombstones.c.organization_id).where(
        is_false(tombstones.c.purged),
        tombstones.c.engine == engine,
        tombstones.c.organization_id.not_in(unreachable),
    )
    found = [Remains(*row, buried=False) for row in connection.execute(logs.limit(limit))]
    found += [Remains(*row, buried=True) for row in connection.execute(buried.limit(limit))]
    return found[:limit]


def purged_record(connection: Connection, purged: Sequence[Remains]) -> None:
    """Record that the engine holds nothing of these any more."""
    for table, buried, column in ((attempts, False, "log_purged"), (tombstones, True, "purged")):
        refs = [remains.ref for remains in purged if remains.buried is buried]
        key = table.c.ref if buried else table.c.id
        connection.execute(update(table).where(key.in_(refs)).values({column: True}))


def refusals_close(connection: Connection, before_us: int, limit: int) -> int:
    """Turn the refusals of minutes that are over into one event each. Returns how many."""
    statement = select(refusals).where(refusals.c.minute_us < before_us).limit(limit)
    rows = connection.execute(statement.order_by(*refusals.primary_key.columns).with_for_update()).all()
    insert_many(connection, events, [_refusal_event(row) for row in rows])
    for row in rows:
        connection.execute(
            delete(refusals).where(
                refusals.c.actor_id == row.actor_id,
                refusals.c.action == row.action,
                refusals.c.minute_us == row.minute_us,
            )
        )
    return len(rows)


def _refusal_event(row: AnyRow) -> dict[str, object]:
    return event_row(
        row.action,
        at_us=row.minute_us,
        actor=row.actor_id,
        resource=row.actor_id,
        organization=row.organization_id,
        outcome=REFUSED,
        detail={"refused": row.refused},
    )
