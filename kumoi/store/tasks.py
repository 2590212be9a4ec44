"""Tasks and their attempts, as owners read them."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, select

from kumoi.core.placement.snapshot import Scored
from kumoi.model.jobs import Attempt, AttemptOutcome, HostCost, Placement, Task
from kumoi.model.time import US_PER_S, time_format
from kumoi.store.plans import plan_body
from kumoi.store.schema import AnyRow, attempts, hosts, plans, tasks

PLACEMENTS_MAX = 100


def task_list(connection: Connection, job_id: str, limit: int, after: int) -> Sequence[Task]:
    """Tasks of a job in the order of their index, after index `after` (-1 for the first)."""
    statement = (
        select(tasks)
        .where(tasks.c.job_id == job_id, tasks.c.ordinal > after)
        .order_by(tasks.c.ordinal)
        .limit(limit)
    )
    rows = connection.execute(statement).all()
    tried = _attempts_by_task(connection, [row.id for row in rows])
    return [
        Task(
            id=row.id,
            job=row.job_id,
            index=row.ordinal,
            state=row.state,
            reason=row.reason,
            attempts=tuple(tried[row.id]),
        )
        for row in rows
    ]


def attempt_find(connection: Connection, job_id: str, index: int, number: int | None) -> AnyRow | None:
    """The attempt `number` of a task, the last one if None: its row, or None."""
    statement = (
        select(attempts)
        .join(tasks, tasks.c.id == attempts.c.task_id)
        .where(tasks.c.job_id == job_id, tasks.c.ordinal == index)
        .order_by(attempts.c.number.desc())
        .limit(1)
    )
    if number is not None:
        statement = statement.where(attempts.c.number == number)
    return connection.execute(statement).one_or_none()


def task_exists(connection: Connection, job_id: str, index: int) -> bool:
    """Whether the job has a task of this index."""
    statement = select(tasks.c.id).where(tasks.c.job_id == job_id, tasks.c.ordinal == index)
    return connection.execute(statement).first() is not None


def placements_of(connection: Connection, job_id: str) -> Sequence[Placement]:
    """Where the last attempts of a job were placed and by which plan, newest first.

    Work may outlive its plan: of a plan that is not kept any more, only what the attempt says is told.
    """
    statement = (
        select(
            attempts.c.id,
            attempts.c.host_id,
            attempts.c.plan_id,
            attempts.c.candidates,
            tasks.c.ordinal,
            hosts.c.name.label("host_name"),
            attempts.c.task_id,
            attempts.c.placed_us,
            plans.c.policy,
            plans.c.body,
        )
        .join(tasks, tasks.c.id == attempts.c.task_id)
        .join(hosts, hosts.c.id == attempts.c.host_id)
        .outerjoin(plans, plans.c.id == attempts.c.plan_id)
        .where(attempts.c.job_id == job_id)
        .order_by(attempts.c.id.desc())
        .limit(PLACEMENTS_MAX)
    )
    rows = connection.execute(statement).all()
    best = _best_hosts(rows)
    names = _host_names(connection, {scored.host_id for of_task in best.values() for scored in of_task})
    return [
        Placement(
            attempt=row.id,
            task_index=row.ordinal,
            host=row.host_id,
            host_name=row.host_name,
            plan=row.plan_id,
            policy=row.policy or "",
            decided_at=time_format(row.placed_us),
            candidates=row.candidates,
            best=tuple(
                HostCost(names[scored.host_id], scored.cost)
                for scored in best.get((row.plan_id, row.task_id), ())
                if scored.host_id in names
            ),
        )
        for row in rows
    ]


def _best_hosts(rows: Sequence[AnyRow]) -> dict[tuple[str, str], tuple[Scored, ...]]:
    """By plan and task, the hosts that the policy liked best."""
    bodies = {row.plan_id: row.body for row in rows if row.body is not None}
    return {
        (plan_id, placed.task_id): placed.best
        for plan_id, body in bodies.items()
        for placed in plan_body(body).placed
    }


def _host_names(connection: Connection, host_ids: set[str]) -> dict[str, str]:
    if not host_ids:
        return {}
    statement = select(hosts.c.id, hosts.c.name).where(hosts.c.id.in_(host_ids))
    return {row.id: row.name for row in connection.execute(statement)}


def _attempts_by_task(connection: Connection, task_ids: Sequence[str]) -> dict[str, list[Attempt]]:
    statement = select(attempts).where(attempts.c.task_id.in_(task_ids)).order_by(attempts.c.number)
    tried: dict[str, list[Attempt]] = defaultdict(list)
    for row in connection.execute(statement):
        tried[row.task_id].append(_attempt_from_row(row))
    return tried


def _attempt_from_row(row: AnyRow) -> Attempt:
    ended = row.state == "ended"
    return Attempt(
        id=row.id,
        number=row.number,
        state=row.state,
        host=row.host_id,
        outcome=AttemptOutcome(row.outcome) if ended else None,
        exit_code=row.exit_code,
        signal=row.signal,
        placed_at=time_format(row.placed_us),
        started_at=None if row.started_us is None else time_format(row.started_us),
        ended_at=time_format(row.ended_us) if ended else None,
        cpu_s=row.cpu_us / US_PER_S if ended else None,
        memory_peak_bytes=row.memory_peak_bytes if ended else None,
    )
