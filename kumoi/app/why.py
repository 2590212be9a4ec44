"""Why a job waits, or where it was placed and by which decision."""

from collections import Counter
from dataclasses import dataclass, replace

from kumoi.app.jobs import job_authorized
from kumoi.app.plane import Plane
from kumoi.core.placement.reasons import DEDICATED, OTHER_SHARER, OTHER_TENANT, RESERVED
from kumoi.core.placement.snapshot import TaskView, gang_members
from kumoi.core.queue.order import HeldReason, Waiting, order
from kumoi.core.queue.standing import PoolUse
from kumoi.model.access import Action, Actor
from kumoi.model.jobs import HostRefusal, JobWhy
from kumoi.store import jobs, tasks
from kumoi.store.budgets import prices_load
from kumoi.store.database import Connection
from kumoi.store.placement_read import hosts_of_pool, pool_view, task_waiting_first
from kumoi.store.pools import pool_row
from kumoi.store.schema import AnyRow
from kumoi.store.shares import standings_load

_ENDED = "it has ended"
_RUNNING = "its tasks are placed"
_NOT_AVAILABLE = "not available to this organization"
# Why a host is not for this organization would tell of another one.
_TOLD = dict.fromkeys((OTHER_TENANT, OTHER_SHARER, DEDICATED, RESERVED), _NOT_AVAILABLE)
_HELD = {
    HeldReason.OVER_QUOTA: "it would pass a quota of its organization: end work, or ask for a larger quota",
    HeldReason.OVER_BUDGET: "it would pass its organization's budget of this month",
}
_POLICY = "kumoi"
"""Whether something fits does not depend on what the policy learned."""


@dataclass(frozen=True, slots=True)
class _Look:
    """Why hosts refuse what waits, whether all of it would be placed, and whether it would one by one."""

    refusals: tuple[HostRefusal, ...]
    is_placed: bool
    is_placed_apart: bool


async def job_why(plane: Plane, actor: Actor, job: str) -> JobWhy:
    """Explain the job's present state from what placement would see now."""
    row = await job_authorized(plane, actor, Action.JOB_READ, job)
    return await plane.store.read(_explain, row, plane.clock_us())


def _explain(connection: Connection, row: AnyRow, now_us: int) -> JobWhy:
    waiting_for = tuple(jobs.dependencies_unmet(connection, row.id)) if row.state == "waiting" else ()
    waiting = _waiting(connection, row)
    held = _held(connection, row, waiting, now_us)
    look = _look(connection, row.pool_id, waiting, now_us) if waiting else None
    return JobWhy(
        job=row.id,
        state=row.state,
        explanation=held or _explanation(connection, row, waiting_for, look),
        waiting_for=waiting_for,
        refusals=look.refusals if look is not None else (),
        placements=tuple(tasks.placements_of(connection, row.id)),
    )


def _waiting(connection: Connection, row: AnyRow) -> tuple[TaskView, ...]:
    """What would be placed next: the first waiting task of the job, or all that wait of its gang."""
    first = task_waiting_first(connection, row.id)
    if first is None:
        return ()
    members = jobs.task_counts(connection, row.id).queued if row.gang else 1
    return tuple(gang_members(first, members))


def _held(connection: Connection, row: AnyRow, waiting: tuple[TaskView, ...], now_us: int) -> str | None:
    """What the organization itself has to do before its task can have its turn; None if nothing."""
    if not waiting:
        return None
    standings = standings_load(connection, row.pool_id, [row.organization_id], now_us)
    own = {row.organization_id: [Waiting(task, row.created_us) for task in waiting]}
    prices = prices_load(connection, row.pool_id)
    asked = order(own, standings, PoolUse(), now_us, len(waiting), prices)
    return next((_HELD[held.reason] for held in asked.held if held.reason in _HELD), None)


def _look(connection: Connection, pool_id: str, waiting: tuple[TaskView, ...], now_us: int) -> _Look:
    """What the hosts of the pool say to the tasks now."""
    # Not at the top: the arrays need NumPy, which a plane loads when it first places work.
    from kumoi.core.placement.pool import PoolPlacer

    placer = PoolPlacer(pool_view(pool_row(connection, pool_id)), _POLICY)
    placer.hosts_put(hosts_of_pool(connection, pool_id))
    _placed, refused = placer.place(waiting, now_us)
    is_placed = not refused
    if refused and waiting[0].gang is not None:
        # Each for itself: what the next one lacks where those before it are.
        _placed, refused = placer.place([replace(task, gang=None) for task in waiting], now_us)
    told: Counter[str] = Counter()
    for one in refused[:1]:
        for reason, count in one.reasons:
            told[_TOLD.get(reason, reason)] += count
    return _Look(
        refusals=tuple(HostRefusal(reason, count) for reason, count in sorted(told.items())),
        is_placed=is_placed,
        is_placed_apart=not refused,
    )


def _explanation(
    connection: Connection,
    row: AnyRow,
    waiting_for: tuple[str, ...],
    look: _Look | None,
) -> str:
    if row.ended_us is not None:
        return f"{_ENDED}: {row.state}" + (f" ({row.reason})" if row.reason else "")
    if row.state == "waiting":
        return f"it waits for {len(waiting_for)} jobs to end"
    if pool_row(connection, row.pool_id).state != "open":
        return "its pool is paused: work is accepted and held"
    if row.state == "pending":
        return "it waits for its turn: other jobs of the pool come first"
    if look is None:
        return _RUNNING
    if look.is_placed:
        return "its next task is about to be placed"
    if look.is_placed_apart:
        return "the hosts do not take its gang as near together as it asks now"
    if look.refusals:
        wanted = (
            "the hosts do not take its gang together now" if row.gang else "no host takes its next task now"
        )
        return f"{wanted}: " + ", ".join(f"{r.hosts} {r.reason}" for r in look.refusals)
    return "no host of its pool may take work now"
