"""Why a job waits, or where it was placed and by which decision."""

from collections import Counter
from dataclasses import dataclass, replace

from kumoi.app.jobs import job_authorized
from kumoi.app.plane import Plane
from kumoi.core.placement.reasons import (
    DEDICATED,
    NOT_AVAILABLE,
    OTHER_SHARER,
    OTHER_TENANT,
    REFUSALS,
    RESERVED,
)
from kumoi.core.placement.snapshot import TaskView, gang_members
from kumoi.core.queue.order import HeldReason, Waiting, order
from kumoi.core.queue.standing import PoolUse
from kumoi.model.access import Action, Actor
from kumoi.model.jobs import HostRefusal, JobWhy, Placement
from kumoi.store import jobs, tasks
from kumoi.store.budgets import prices_load
from kumoi.store.database import Connection
from kumoi.store.placement_read import task_waiting_first
from kumoi.store.pools import pool_row
from kumoi.store.schema import AnyRow
from kumoi.store.shares import standings_load

# Why a host is not for this organization would tell of another one.
_TOLD = dict.fromkeys((OTHER_TENANT, OTHER_SHARER, DEDICATED, RESERVED), NOT_AVAILABLE)
_CODES = {reason: code for code, reason in REFUSALS.items()}
_HELD = {
    HeldReason.KEY_WITHDRAWN: "key_withdrawn",
    HeldReason.OVER_QUOTA: "over_quota",
    HeldReason.OVER_BUDGET: "over_budget",
}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the rows say of a job."""

    waiting_for: tuple[str, ...]
    waiting: tuple[TaskView, ...]
    held: str | None
    pool_state: str
    placements: tuple[Placement, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """Why hosts refuse what waits, whether all of it would be placed, and whether it would one by one."""

    refusals: tuple[HostRefusal, ...]
    is_placed: bool
    is_placed_apart: bool


async def job_why(plane: Plane, actor: Actor, job: str) -> JobWhy:
    """Explain the job's present state, and what its hosts said within the last minute.

    Raises Unavailable where too many ask at once.
    """
    row = await job_authorized(plane, actor, Action.JOB_READ, job)
    now_us = plane.clock_us()
    facts = await plane.store.read(_facts, row, now_us)
    look = await _look(plane, row.pool_id, facts.waiting, now_us) if facts.waiting else None
    code, params = (facts.held, {}) if facts.held else _reason(row, facts, look)
    return JobWhy(
        job=row.id,
        state=row.state,
        code=code,
        params=params,
        waiting_for=facts.waiting_for,
        refusals=look.refusals if look is not None else (),
        placements=facts.placements,
    )


def _facts(connection: Connection, row: AnyRow, now_us: int) -> _Facts:
    waiting = _waiting(connection, row)
    return _Facts(
        waiting_for=tuple(jobs.dependencies_unmet(connection, row.id)) if row.state == "waiting" else (),
        waiting=waiting,
        held=_held(connection, row, waiting, now_us),
        pool_state=pool_row(connection, row.pool_id).state,
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


async def _look(plane: Plane, pool_id: str, waiting: tuple[TaskView, ...], now_us: int) -> _Look:
    """What the hosts of the pool say to the tasks."""
    refused = await plane.pool_looks.ask(pool_id, waiting, now_us)
    is_placed = not refused
    if refused and waiting[0].gang is not None:
        # Each for itself: what the next one lacks where those before it are.
        apart = [replace(task, gang=None) for task in waiting]
        refused = await plane.pool_looks.ask(pool_id, apart, now_us)
    told: Counter[str] = Counter()
    for one in refused[:1]:
        for reason, count in one.reasons:
            told[_CODES[_TOLD.get(reason, reason)]] += count
    return _Look(
        refusals=tuple(HostRefusal(code, count) for code, count in sorted(told.items())),
        is_placed=is_placed,
        is_placed_apart=not refused,
    )


def _reason(row: AnyRow, facts: _Facts, look: _Look | None) -> tuple[str, dict[str, str]]:
    """A code of `core.placement.reasons.JOB_REASONS` with its parameters."""
    if row.ended_us is not None:
        if row.reason:
            return "ended_why", {"state": row.state, "reason": row.reason}
        return "ended", {"state": row.state}
    if row.state == "waiting":
        return "dependencies", {"jobs": str(len(facts.waiting_for))}
    return _code(row, facts, look), {}


def _code(row: AnyRow, facts: _Facts, look: _Look | None) -> str:
    """Why a job that waits for nothing else is where it is."""
    if facts.pool_state != "open":
        return "pool_paused"
    if row.state == "pending":
        return "turn"
    if look is None:
        return "placed"
    if look.is_placed:
        # Which dates the loop gave is known to no request.
        return "placing"
    if look.is_placed_apart:
        return "gang_apart"
    if look.refusals:
        return "gang_refused" if row.gang else "refused"
    return "no_host"
