"""Why a job waits, or where it was placed and by which decision."""

from collections import Counter

from kumoi.app.jobs import job_authorized
from kumoi.app.plane import Plane
from kumoi.core.placement import Room, refusal_reason
from kumoi.model.access import Action, Actor
from kumoi.model.jobs import HostRefusal, JobWhy
from kumoi.store import jobs, tasks
from kumoi.store.database import Connection
from kumoi.store.placement import pool_is_open, snapshot_load, task_waiting_first
from kumoi.store.schema import AnyRow

_ENDED = "it has ended"
_RUNNING = "its tasks are placed"


async def job_why(plane: Plane, actor: Actor, job: str) -> JobWhy:
    """Explain the job's present state from what placement would see now."""
    row = await job_authorized(plane, actor, Action.JOB_READ, job)
    return await plane.store.read(_explain, row)


def _explain(connection: Connection, row: AnyRow) -> JobWhy:
    waiting_for = tuple(jobs.dependencies_unmet(connection, row.id)) if row.state == "waiting" else ()
    refusals, placeable = _refusals(connection, row.id)
    return JobWhy(
        job=row.id,
        state=row.state,
        explanation=_explanation(connection, row, waiting_for, refusals, placeable),
        waiting_for=waiting_for,
        refusals=refusals,
        placements=tuple(tasks.placements_of(connection, row.id)),
    )


def _refusals(connection: Connection, job_id: str) -> tuple[tuple[HostRefusal, ...], bool]:
    """Why hosts refuse the job's first waiting task now, and whether any would take it."""
    view = task_waiting_first(connection, job_id)
    if view is None:
        return (), False
    hosts = snapshot_load(connection, 0).hosts
    reasons = Counter(refusal_reason(Room(host), view) or "" for host in hosts)
    placeable = reasons.pop("", 0) > 0
    refusals = (HostRefusal(reason, count) for reason, count in sorted(reasons.items()))
    return tuple(refusals), placeable


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
        return "no host takes its next task now: " + ", ".join(f"{r.hosts} {r.reason}" for r in refusals)
    if row.state == "queued":
        return "no host of its pool may take work now"
    return _RUNNING
