"""Why a job waits, or where it was placed and by which decision."""

from collections import Counter
from dataclasses import replace

from kumoi.app.jobs import job_authorized
from kumoi.app.plane import Plane
from kumoi.core.placement import Snapshot, TaskView, place
from kumoi.core.placement.fit import DEDICATED, OTHER_TENANT
from kumoi.model.access import Action, Actor
from kumoi.model.jobs import HostRefusal, JobWhy
from kumoi.store import jobs, tasks
from kumoi.store.database import Connection
from kumoi.store.placement import pool_is_open, snapshot_load, task_waiting_first
from kumoi.store.schema import AnyRow

_ENDED = "it has ended"
_RUNNING = "its tasks are placed"
_NOT_AVAILABLE = "not available to this organization"
# Why a host is not for this organization would tell of another one.
_TOLD = {OTHER_TENANT: _NOT_AVAILABLE, DEDICATED: _NOT_AVAILABLE}


async def job_why(plane: Plane, actor: Actor, job: str) -> JobWhy:
    """Explain the job's present state from what placement would see now."""
    row = await job_authorized(plane, actor, Action.JOB_READ, job)
    return await plane.store.read(_explain, row)


def _explain(connection: Connection, row: AnyRow) -> JobWhy:
    waiting_for = tuple(jobs.dependencies_unmet(connection, row.id)) if row.state == "waiting" else ()
    waiting = _waiting(connection, row)
    refusals, placeable = _refusals(connection, waiting) if waiting else ((), False)
    return JobWhy(
        job=row.id,
        state=row.state,
        explanation=_explanation(connection, row, waiting_for, refusals, placeable),
        waiting_for=waiting_for,
        refusals=refusals,
        placements=tuple(tasks.placements_of(connection, row.id)),
    )


def _waiting(connection: Connection, row: AnyRow) -> tuple[TaskView, ...]:
    """What would be placed next: the first waiting task of the job, or all that wait of its gang."""
    first = task_waiting_first(connection, row.id)
    if first is None:
        return ()
    members = jobs.task_counts(connection, row.id).queued if row.gang else 1
    return tuple(replace(first, id=f"{first.id}/{number}") for number in range(members))


def _refusals(connection: Connection, waiting: tuple[TaskView, ...]) -> tuple[tuple[HostRefusal, ...], bool]:
    """Why hosts of the pool refuse the tasks now, and whether all of them would be placed."""
    hosts = snapshot_load(connection, 0).hosts
    own = tuple(host for host in hosts if host.pool_id == waiting[0].pool_id)
    plan = place(Snapshot(own, waiting), now_us=0, seed=0)
    told: Counter[str] = Counter()
    for refused in plan.refused[:1]:
        for reason, count in refused.reasons:
            told[_TOLD.get(reason, reason)] += count
    return tuple(HostRefusal(reason, count) for reason, count in sorted(told.items())), not plan.refused


def _explanation(
    connection: Connection,
    row: AnyRow,
    waiting_for: tuple[str, ...],
    refusals: tuple[HostRefusal, ...],
    placeable: bool,
) -> str:
    if row.ended_us is not None:
        return f"{_ENDED}: {row.state}" + (f" ({row.reason})" if row.reason else "")
    if row.state == "waiting":
        return f"it waits for {len(waiting_for)} jobs to end"
    if not pool_is_open(connection, row.pool_id):
        return "its pool is paused: work is accepted and held"
    if row.state == "pending":
        return "it waits for its turn: other jobs of the pool come first"
    if placeable:
        return "its next task is about to be placed"
    if refusals:
        wanted = (
            "the hosts do not take its gang together now" if row.gang else "no host takes its next task now"
        )
        return f"{wanted}: " + ", ".join(f"{r.hosts} {r.reason}" for r in refusals)
    if row.state == "queued":
        return "no host of its pool may take work now"
    return _RUNNING
