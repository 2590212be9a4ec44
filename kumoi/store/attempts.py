"""Attempts: what the loops read and how an end becomes a record, all of it in one transaction."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, case, func, select, update

from kumoi.core.metering import Interval, intervals_due
from kumoi.core.queue.fairness import Amounts
from kumoi.core.retries import TaskNext, decide_next
from kumoi.model.jobs import SPEC_DECODER, AttemptOutcome
from kumoi.model.time import US_PER_S
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.host_touches import host_touch
from kumoi.store.jobs import jobs_lock, jobs_settle
from kumoi.store.keys.names import Sealed
from kumoi.store.locks import rows_lock
from kumoi.store.placement import devices_take
from kumoi.store.schema import (
    AnyRow,
    attempt_devices,
    attempts,
    devices,
    events,
    is_due,
    is_false,
    is_live,
    jobs,
    projects,
    secrets,
    tasks,
    usage_intervals,
)
from kumoi.store.shares import quota_charges, quotas_release
from kumoi.store.writer import Move, insert_many, move_many

_DETAIL_MAX = 400
_LIVE = ("placed", "running", "stopping")


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """An exit record on its way into the store. Times are microseconds UTC."""

    attempt_id: str
    outcome: AttemptOutcome
    exit_code: int | None
    signal: int | None
    started_us: int | None
    ended_us: int
    cpu_us: int
    memory_peak_bytes: int
    detail: str


# What every activation reads is built once: building an expression costs more than SQLite's answer.
_TO_START = (
    select(
        attempts,
        tasks.c.ordinal,
        jobs.c.spec,
        jobs.c.sealed,
        jobs.c.key_version,
        jobs.c.array_size,
        projects.c.number.label("project_number"),
    )
    .join(tasks, tasks.c.id == attempts.c.task_id)
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .join(projects, projects.c.id == attempts.c.project_id)
    .where(is_due(), attempts.c.state == "placed", attempts.c.engine == bindparam("of_engine"))
    .order_by(attempts.c.id)
    .limit(bindparam("most"))
)
_LIVE_OF = (
    select(attempts.c.id, attempts.c.state, attempts.c.started_us, attempts.c.start_before_us)
    .where(
        is_live(),
        attempts.c.state.in_(bindparam("states", expanding=True)),
        attempts.c.engine == bindparam("of_engine"),
        attempts.c.id > bindparam("after_id"),
    )
    .order_by(attempts.c.id)
    .limit(bindparam("most"))
)
_TO_STOP = (
    select(attempts.c.id)
    .where(is_due(), attempts.c.state == "stopping", attempts.c.engine == bindparam("of_engine"))
    .order_by(attempts.c.id)
    .limit(bindparam("most"))
)
_STARTED = (
    update(attempts)
    .where(attempts.c.id == bindparam("of_id"), attempts.c.state == "placed")
    .values(state="running", started_us=bindparam("at_us"), version=attempts.c.version + 1)
)
_ENDING = (
    select(
        attempts,
        tasks.c.ordinal,
        tasks.c.state.label("task_state"),
        jobs.c.state.label("job_state"),
        jobs.c.spec,
    )
    .join(tasks, tasks.c.id == attempts.c.task_id)
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .where(attempts.c.id.in_(bindparam("ids", expanding=True)), attempts.c.state != "ended")
    .order_by(attempts.c.id)
    .with_for_update(of=attempts, key_share=True)
)
_NOT_TRIES = (
    select(
        attempts.c.task_id,
        func.sum(case((attempts.c.outcome == AttemptOutcome.START_FAILED.value, 1), else_=0)).label(
            "start_failures"
        ),
        func.sum(case((attempts.c.outcome == AttemptOutcome.PREEMPTED.value, 1), else_=0)).label(
            "preemptions"
        ),
    )
    .where(
        attempts.c.task_id.in_(bindparam("ids", expanding=True)),
        attempts.c.outcome.in_((AttemptOutcome.START_FAILED.value, AttemptOutcome.PREEMPTED.value)),
    )
    .group_by(attempts.c.task_id)
)
_PREEMPTED = (
    select(attempts)
    .where(
        attempts.c.id.in_(bindparam("ids", expanding=True)),
        is_live(),
        attempts.c.state.in_(("placed", "running")),
    )
    .order_by(attempts.c.id)
    .with_for_update(of=attempts, key_share=True)
)
_DEVICES_HELD = select(attempt_devices).where(
    is_false(attempt_devices.c.released), attempt_devices.c.attempt_id.in_(bindparam("ids", expanding=True))
)


def attempts_to_start(connection: Connection, engine: str, limit: int) -> Sequence[AnyRow]:
    """Placed attempts with what is needed to start them, oldest first."""
    return connection.execute(_TO_START, {"of_engine": engine, "most": limit}).all()


def attempts_to_stop(connection: Connection, engine: str, limit: int) -> Sequence[str]:
    """Attempts that are to end, oldest first."""
    return connection.execute(_TO_STOP, {"of_engine": engine, "most": limit}).scalars().all()


def attempts_live(
    connection: Connection, engine: str, states: Sequence[str] = _LIVE, after_id: str = "", limit: int = 1_000
) -> Sequence[AnyRow]:
    """Live attempts of an engine by id, after `after_id`: what is asked of all of them is little of each."""
    parameters = {"states": list(states), "of_engine": engine, "after_id": after_id, "most": limit}
    return connection.execute(_LIVE_OF, parameters).all()


def attempts_leased(connection: Connection, engine: str, limit: int = 10_000) -> Sequence[AnyRow]:
    """Live attempts of an engine that end with their lease, next to run out first."""
    statement = (
        select(attempts.c.id, attempts.c.lease_us, attempts.c.started_us)
        .where(is_live(), attempts.c.engine == engine, attempts.c.lease_us.is_not(None))
        .order_by(attempts.c.lease_us)
        .limit(limit)
    )
    return connection.execute(statement).all()


def attempt_states(connection: Connection, attempt_ids: Sequence[str]) -> dict[str, str]:
    """The states of those of `attempt_ids` that exist."""
    statement = select(attempts.c.id, attempts.c.state).where(attempts.c.id.in_(attempt_ids))
    return {row.id: row.state for row in connection.execute(statement)}


def device_paths(connection: Connection, attempt_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The device files that each attempt holds."""
    statement = (
        select(attempt_devices.c.attempt_id, devices.c.path)
        .join(devices, devices.c.id == attempt_devices.c.device_id)
        .where(attempt_devices.c.attempt_id.in_(attempt_ids))
        .order_by(devices.c.ordinal)
    )
    paths: dict[str, tuple[str, ...]] = {}
    for attempt_id, path in connection.execute(statement):
        paths[attempt_id] = (*paths.get(attempt_id, ()), path)
    return paths


def secrets_sealed(connection: Connection, project_id: str, names: Sequence[str]) -> Mapping[str, Sealed]:
    """The sealed secrets of a project by name."""
    statement = select(secrets).where(secrets.c.project_id == project_id, secrets.c.name.in_(names))
    return {row.name: Sealed(row.sealed, row.key_version) for row in connection.execute(statement)}


def attempts_started(connection: Connection, started_us: Mapping[str, int]) -> None:
    """Move placed attempts to `running`; those that are further already stay as they are."""
    if not started_us:
        return
    rows = [{"of_id": attempt_id, "at_us": at_us} for attempt_id, at_us in sorted(started_us.items())]
    connection.execute(_STARTED, rows)


def attempts_preempt(connection: Connection, attempt_ids: Sequence[str], why: str, now_us: int) -> int:
    """Ask live attempts to end, to make room for others; their tasks wait again. Returns how many."""
    rows = connection.execute(_PREEMPTED, {"ids": list(attempt_ids)}).all()
    move_many(
        connection, [Move(attempts, row.id, row.state, "stopping", {"preempted": True}) for row in rows]
    )
    asked = [
        event_row(
            "attempt_preempt",
            at_us=now_us,
            actor=SYSTEM_ACTOR,
            resource=row.id,
            organization=row.organization_id,
            project=row.project_id,
            detail={"job": row.job_id, "host": row.host_id, "why": why},
        )
        for row in rows
    ]
    insert_many(connection, events, asked)
    return len(rows)


def leases_move(connection: Connection, attempt_ids: Sequence[str], lease_us: int) -> None:
    """Record the new lease of live attempts, before the engine is told."""
    live = (attempts.c.id.in_(attempt_ids), attempts.c.state != "ended")
    rows_lock(connection, attempts, *live)
    connection.execute(update(attempts).where(*live).values(lease_us=lease_us))


def attempts_record(
    connection: Connection, started_us: Mapping[str, int], ends: Sequence[AttemptEnd], now_us: int
) -> Sequence[str]:
    """Record starts and ends in one transaction. Returns the jobs that ended with them."""
    attempts_started(connection, started_us)
    return attempts_end(connection, ends, now_us)


def attempts_end(connection: Connection, ends: Sequence[AttemptEnd], now_us: int) -> Sequence[str]:
    """Record the ends: attempt, use, devices, task, job and event together. Returns the jobs that ended.

    Repeating it changes nothing: an attempt that ended already is left alone.
    """
    if not ends:
        return []
    jobs_lock(connection, [end.attempt_id for end in ends])
    rows = _live_rows(connection, [end.attempt_id for end in ends])
    # The first end of an attempt counts: what its engine saw comes before what the plane concludes.
    first = {end.attempt_id: end for end in reversed(ends)}
    known = [end for attempt_id, end in first.items() if attempt_id in rows]
    if not known:
        return []
    nexts = _nexts(connection, rows, known)
    move_many(connection, [_attempt_move(rows[end.attempt_id], end) for end in known])
    move_many(
        connection,
        [_task_move(rows[end.attempt_id], nexts[end.attempt_id], now_us) for end in known],
    )
    held = _devices_held(connection, list(rows))
    if held:
        _devices_release(connection, held)
    milli = _milli_held(held)
    host_touch(connection, (row.host_id for row in rows.values()))
    quotas_release(connection, quota_charges(_amounts_held(rows.values(), held)))
    intervals = [
        interval
        for end in known
        for interval in _interval_rows(rows[end.attempt_id], end, milli[end.attempt_id])
    ]
    insert_many(connection, usage_intervals, intervals)
    insert_many(connection, events, [_event(rows[end.attempt_id], end, now_us) for end in known])
    return sorted(jobs_settle(connection, sorted({row.job_id for row in rows.values()}), now_us))


def attempts_meter(connection: Connection, engine: str, seen_us: int, limit: int) -> int:
    """Write the full hours of attempts that their engine saw running at `seen_us`. Returns of how many."""
    statement = (
        select(attempts)
        .where(is_live(), attempts.c.engine == engine, attempts.c.started_us.is_not(None))
        .order_by(func.coalesce(attempts.c.metered_us, attempts.c.started_us))
        .limit(limit)
    )
    metered = 0
    for row in sorted(connection.execute(statement), key=lambda row: row.id):
        due = intervals_due(row.metered_us or row.started_us, seen_us, ended=False)
        if not due:
            continue
        milli = _milli_held(_devices_held(connection, [row.id]))
        insert_many(connection, usage_intervals, [_interval(row, cut, milli[row.id], 0) for cut in due])
        move_many(connection, [Move(attempts, row.id, row.state, row.state, {"metered_us": due[-1].end_us})])
        metered += 1
    return metered


def _live_rows(connection: Connection, attempt_ids: Sequence[str]) -> dict[str, AnyRow]:
    return {row.id: row for row in connection.execute(_ENDING, {"ids": list(attempt_ids)})}


def _nexts(
    connection: Connection, rows: Mapping[str, AnyRow], ends: Sequence[AttemptEnd]
) -> dict[str, TaskNext]:
    """What the tasks do next. Policies and earlier starts are read only where they matter."""
    lost = [rows[end.attempt_id].task_id for end in ends if not _succeeded(end)]
    before: dict[str, tuple[int, int]] = {}
    if lost:
        counts = connection.execute(_NOT_TRIES, {"ids": lost})
        before = {row.task_id: (int(row.start_failures), int(row.preemptions)) for row in counts}
    return {
        end.attempt_id: _next(row, end, *before.get(row.task_id, (0, 0)))
        for end in ends
        for row in (rows[end.attempt_id],)
    }


def _succeeded(end: AttemptEnd) -> bool:
    return end.outcome is AttemptOutcome.EXITED and end.exit_code == 0


def _outcome(row: AnyRow, end: AttemptEnd) -> AttemptOutcome:
    """What ended because it was asked to make room was preempted, however it took it."""
    if row.preempted and not _succeeded(end) and end.outcome is not AttemptOutcome.START_FAILED:
        return AttemptOutcome.PREEMPTED
    return end.outcome


def _next(row: AnyRow, end: AttemptEnd, start_failures: int, preemptions: int) -> TaskNext:
    if _succeeded(end):
        return TaskNext("succeeded", None)
    if _outcome(row, end) is AttemptOutcome.PREEMPTED:
        if row.job_state == "cancelling":
            return TaskNext("cancelled", "cancelled")
        return TaskNext("queued", AttemptOutcome.PREEMPTED.value)
    if end.outcome is AttemptOutcome.CANCELLED and row.state != "stopping":
        return TaskNext("failed", "ended from outside")
    following = decide_next(
        SPEC_DECODER.decode(row.spec).retries,
        row.number - preemptions,
        end.outcome,
        end.exit_code,
        start_failures=start_failures,
    )
    if row.job_state == "cancelling" and following.state == "queued":
        return TaskNext("cancelled", "cancelled")
    return following


def _started_us(row: AnyRow, end: AttemptEnd) -> int | None:
    """The engine's own time, unless use was metered from the plane's already."""
    if row.metered_us is not None:
        return int(row.started_us)
    return end.started_us or row.started_us


def _attempt_move(row: AnyRow, end: AttemptEnd) -> Move:
    started_us = _started_us(row, end)
    return Move(
        attempts,
        row.id,
        row.state,
        "ended",
        {
            "started_us": started_us,
            "ended_us": max(end.ended_us, started_us or 0),
            "metered_us": end.ended_us,
            "outcome": _outcome(row, end),
            "exit_code": end.exit_code,
            "signal": end.signal,
            "cpu_us": end.cpu_us,
            "memory_peak_bytes": end.memory_peak_bytes,
            "detail": end.detail[:_DETAIL_MAX],
        },
    )


def _task_move(row: AnyRow, following: TaskNext, now_us: int) -> Move:
    return Move(
        tasks,
        row.task_id,
        "active",
        following.state,
        {"reason": following.reason, "not_before_us": now_us + following.delay_s * US_PER_S},
    )


def _interval_rows(row: AnyRow, end: AttemptEnd, device_milli: int) -> list[dict[str, Any]]:
    start_us = row.metered_us or _started_us(row, end)
    if start_us is None:
        return []
    cuts = intervals_due(start_us, end.ended_us, ended=True)
    return [_interval(row, cut, device_milli, end.cpu_us if cut is cuts[-1] else 0) for cut in cuts]


def _interval(row: AnyRow, cut: Interval, device_milli: int, cpu_us: int) -> dict[str, Any]:
    return {
        "attempt_id": row.id,
        "start_us": cut.start_us,
        "end_us": cut.end_us,
        "organization_id": row.organization_id,
        "project_id": row.project_id,
        "cpu_milli": row.cpu_milli,
        "memory_bytes": row.memory_bytes,
        "device_milli": device_milli,
        "cpu_us": cpu_us,
    }


def _devices_release(connection: Connection, held: Sequence[AnyRow]) -> None:
    attempt_ids = sorted({row.attempt_id for row in held})
    connection.execute(
        update(attempt_devices).where(attempt_devices.c.attempt_id.in_(attempt_ids)).values(released=True)
    )
    devices_take(connection, [(row.device_id, -row.milli) for row in held])


def _amounts_held(rows: Iterable[AnyRow], devices_held: Sequence[AnyRow]) -> dict[str, Amounts]:
    """What attempts held, by organization."""
    milli = _milli_held(devices_held)
    amounts: defaultdict[str, Amounts] = defaultdict(Amounts)
    for row in rows:
        one = Amounts(row.cpu_milli, row.memory_bytes, row.disk_bytes, milli[row.id], 1)
        amounts[row.organization_id] = amounts[row.organization_id].plus(one)
    return amounts


def _milli_held(devices_held: Sequence[AnyRow]) -> Counter[str]:
    """Thousandths of devices, by attempt."""
    milli: Counter[str] = Counter()
    for held in devices_held:
        milli[held.attempt_id] += held.milli
    return milli


def _devices_held(connection: Connection, attempt_ids: Sequence[str]) -> Sequence[AnyRow]:
    return connection.execute(_DEVICES_HELD, {"ids": list(attempt_ids)}).all()


def _event(row: AnyRow, end: AttemptEnd, now_us: int) -> dict[str, Any]:
    return event_row(
        "attempt_end",
        at_us=now_us,
        actor=SYSTEM_ACTOR,
        resource=row.id,
        organization=row.organization_id,
        project=row.project_id,
        detail={
            "job": row.job_id,
            "task": row.ordinal,
            "outcome": _outcome(row, end),
            "exit_code": end.exit_code,
            "started_us": end.started_us,
            "ended_us": end.ended_us,
        },
    )
