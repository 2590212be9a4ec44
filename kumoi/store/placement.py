"""Placement's two ends: the snapshot that it decides on, and the plan applied per host generation."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, func, select, update

from kumoi.core.placement import DeviceView, HostView, Placed, Plan, Snapshot, TaskView
from kumoi.model.ids import IdKind
from kumoi.model.jobs import DeviceRequest, HostLossPolicy
from kumoi.model.places import IsolationClass
from kumoi.model.time import US_PER_S
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.ids import id_new, ids_new
from kumoi.store.schema import (
    AnyRow,
    attempt_devices,
    attempts,
    devices,
    events,
    hosts,
    in_state,
    is_false,
    is_live,
    jobs,
    plans,
    pools,
    tasks,
)
from kumoi.store.writer import Move, insert_many, move_many

START_WINDOW_US = 60 * US_PER_S
"""An engine never starts an attempt later than this after its placement."""
LEASE_US = 60 * US_PER_S
FOREVER_US = 1 << 62
WIDE_PER_JOB = 8
WIDE_PER_ORGANIZATION = 100
_SHARED_KERNEL = (IsolationClass.PROCESS, IsolationClass.CONTAINER)
_device_requests = msgspec.json.Decoder(tuple[DeviceRequest, ...])


# What every activation reads is built once: building an expression costs more than SQLite's answer.
_HOSTS = (
    select(hosts, pools.c.isolation, pools.c.shared_by_organizations)
    .join(pools, pools.c.id == hosts.c.pool_id)
    .where(hosts.c.state == "schedulable", hosts.c.health == "up", pools.c.state == "open")
    .order_by(hosts.c.id)
)
_USE = (
    select(
        attempts.c.host_id,
        attempts.c.organization_id,
        func.sum(attempts.c.cpu_milli),
        func.sum(attempts.c.memory_bytes),
    )
    .where(is_live())
    .group_by(attempts.c.host_id, attempts.c.organization_id)
)
_DEVICES = (
    select(devices)
    .where(
        devices.c.id.not_in(select(attempt_devices.c.device_id).where(is_false(attempt_devices.c.released)))
    )
    .order_by(devices.c.host_id, devices.c.ordinal)
)
_TASK_VIEWS = select(
    tasks.c.id,
    tasks.c.job_id,
    tasks.c.pool_id,
    jobs.c.organization_id,
    jobs.c.cpu_milli,
    jobs.c.memory_bytes,
    jobs.c.devices,
    jobs.c.gang,
).join(jobs, jobs.c.id == tasks.c.job_id)
_TASKS = (
    _TASK_VIEWS.where(
        in_state(tasks, "queued"),
        tasks.c.pool_id.in_(bindparam("pool_ids", expanding=True)),
        tasks.c.not_before_us <= bindparam("now_us"),
    )
    .order_by(tasks.c.priority.desc(), tasks.c.id)
    .limit(bindparam("task_limit"))
)


_GANGS = _TASK_VIEWS.where(
    in_state(tasks, "queued"), tasks.c.job_id.in_(bindparam("ids", expanding=True))
).order_by(tasks.c.id)


def _tasks_wide() -> Select[*tuple[Any, ...]]:
    """The first few waiting tasks of every job, and of these the first of every organization."""
    in_turn = (tasks.c.priority.desc(), tasks.c.id)
    by_job = func.row_number().over(partition_by=tasks.c.job_id, order_by=tasks.c.id)
    few = (
        select(tasks.c.id, tasks.c.organization_id, tasks.c.priority, by_job.label("of_job"))
        .where(
            in_state(tasks, "queued"),
            tasks.c.pool_id.in_(bindparam("pool_ids", expanding=True)),
            tasks.c.not_before_us <= bindparam("now_us"),
        )
        .subquery()
    )
    by_organization = func.row_number().over(
        partition_by=few.c.organization_id, order_by=(few.c.priority.desc(), few.c.id)
    )
    fair = (
        select(few.c.id, by_organization.label("of_organization"))
        .where(few.c.of_job <= WIDE_PER_JOB)
        .subquery()
    )
    return (
        _TASK_VIEWS.join(fair, fair.c.id == tasks.c.id)
        .where(fair.c.of_organization <= WIDE_PER_ORGANIZATION)
        .order_by(*in_turn)
        .limit(bindparam("task_limit"))
    )


_TASKS_WIDE = _tasks_wide()
_WAITING = (
    select(
        tasks.c.id,
        tasks.c.job_id,
        tasks.c.ordinal,
        tasks.c.state,
        jobs.c.organization_id,
        jobs.c.project_id,
        jobs.c.cpu_milli,
        jobs.c.memory_bytes,
        jobs.c.on_host_lost,
        pools.c.engine,
    )
    .join(jobs, jobs.c.id == tasks.c.job_id)
    .join(pools, pools.c.id == jobs.c.pool_id)
    .where(
        tasks.c.id.in_(bindparam("ids", expanding=True)),
        tasks.c.state == "queued",
        jobs.c.state.in_(("queued", "running")),
        pools.c.state == "open",
    )
    .with_for_update(of=tasks)
)
_NUMBERS = (
    select(attempts.c.task_id, func.max(attempts.c.number))
    .where(attempts.c.task_id.in_(bindparam("ids", expanding=True)))
    .group_by(attempts.c.task_id)
)
_HOST_ADVANCE = (
    update(hosts)
    .where(
        hosts.c.id == bindparam("of_id"),
        hosts.c.generation == bindparam("decided"),
        hosts.c.state == "schedulable",
        hosts.c.health == "up",
    )
    .values(generation=hosts.c.generation + 1)
)


def snapshot_load(
    connection: Connection, task_limit: int, now_us: int = FOREVER_US, *, wide: bool = False
) -> Snapshot:
    """Hosts of open pools that may take work, and the first `task_limit` tasks that wait there.

    Tasks that may only be placed after `now_us` are left out. A `wide` snapshot has a few tasks of every
    job and organization instead of the first ones: what nobody can take must not hide what somebody can.
    """
    host_views = _hosts_load(connection)
    pool_ids = {host.pool_id for host in host_views}
    if not pool_ids:
        return Snapshot((), ())
    return Snapshot(
        tuple(host_views), tuple(_tasks_load(connection, pool_ids, task_limit, now_us, wide=wide))
    )


def _hosts_load(connection: Connection) -> list[HostView]:
    rows = connection.execute(_HOSTS).all()
    used, tenants = _use_load(connection)
    free = _devices_load(connection)
    return [
        HostView(
            id=row.id,
            name=row.name,
            pool_id=row.pool_id,
            generation=row.generation,
            cpu_milli_free=row.cpu_milli - used[row.id][0],
            memory_bytes_free=row.memory_bytes - used[row.id][1],
            devices_free=tuple(free[row.id]),
            tenants=frozenset(tenants[row.id]),
            dedicated_to=row.dedicated_to,
            exclusive=row.isolation in _SHARED_KERNEL and not row.shared_by_organizations,
        )
        for row in rows
    ]


def _use_load(connection: Connection) -> tuple[dict[str, tuple[int, int]], dict[str, set[str]]]:
    """CPU and memory held on each host, and by whom: derived from the live attempts, never counted beside."""
    used: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    tenants: dict[str, set[str]] = defaultdict(set)
    for host_id, organization_id, cpu_milli, memory_bytes in connection.execute(_USE):
        used[host_id] = used[host_id][0] + int(cpu_milli), used[host_id][1] + int(memory_bytes)
        tenants[host_id].add(organization_id)
    return used, tenants


def _devices_load(connection: Connection) -> dict[str, list[DeviceView]]:
    free: dict[str, list[DeviceView]] = defaultdict(list)
    for row in connection.execute(_DEVICES):
        free[row.host_id].append(DeviceView(row.id, row.kind, row.model))
    return free


def _tasks_load(
    connection: Connection, pool_ids: set[str], limit: int, now_us: int, *, wide: bool
) -> list[TaskView]:
    parameters = {"pool_ids": sorted(pool_ids), "task_limit": limit, "now_us": now_us}
    rows = connection.execute(_TASKS_WIDE if wide else _TASKS, parameters).all()
    gangs = dict.fromkeys(row.job_id for row in rows if row.gang)
    if gangs:
        rows = _gangs_complete(connection, rows, list(gangs))
    return [_task_view(row) for row in rows]


def _gangs_complete(connection: Connection, rows: Sequence[AnyRow], job_ids: Sequence[str]) -> list[AnyRow]:
    """Put every waiting member of the gangs where the first of them stands."""
    members: dict[str, list[AnyRow]] = defaultdict(list)
    for row in connection.execute(_GANGS, {"ids": list(job_ids)}):
        members[row.job_id].append(row)
    complete: list[AnyRow] = []
    for row in rows:
        complete += members.pop(row.job_id, []) if row.gang else [row]
    return complete


def task_waiting_first(connection: Connection, job_id: str) -> TaskView | None:
    """The first waiting task of a job, as placement would see it."""
    waiting = _TASK_VIEWS.where(in_state(tasks, "queued"), tasks.c.job_id == job_id)
    row = connection.execute(waiting.order_by(tasks.c.id).limit(1)).one_or_none()
    return None if row is None else _task_view(row)


def _task_view(row: AnyRow) -> TaskView:
    return TaskView(
        id=row.id,
        job_id=row.job_id,
        organization_id=row.organization_id,
        pool_id=row.pool_id,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        devices=_device_requests.decode(row.devices) if row.devices else (),
        gang=row.job_id if row.gang else None,
    )


def pool_is_open(connection: Connection, pool_id: str) -> bool:
    """Whether the pool takes work now."""
    return connection.execute(select(pools.c.state).where(pools.c.id == pool_id)).scalar() == "open"


def plan_apply(
    connection: Connection, plan: Plan, snapshot: Snapshot, *, epoch: int, now_us: int, cell: int
) -> int:
    """Write the attempts of what still holds; the rest stays queued. Returns how many were placed.

    A placement holds while its host's generation is the one that was decided on and its task still waits;
    a gang holds while all of it does. Nothing is started here: the attempts are the intent.
    """
    current = _generations_current(connection, plan, snapshot)
    waiting = _tasks_waiting(connection, [placed.task_id for placed in plan.placed])
    views = {task.id: task for task in snapshot.tasks}
    broken = {
        views[placed.task_id].gang
        for placed in plan.placed
        if placed.host_id not in current or placed.task_id not in waiting
    }
    holding = [
        placed
        for placed in plan.placed
        if placed.host_id in current
        and placed.task_id in waiting
        and (views[placed.task_id].gang is None or views[placed.task_id].gang not in broken)
    ]
    if holding:
        _placed_write(connection, plan, holding, waiting, epoch=epoch, now_us=now_us, cell=cell)
    return len(holding)


def _generations_current(connection: Connection, plan: Plan, snapshot: Snapshot) -> set[str]:
    """Lock and advance the hosts of the plan that nobody changed since the snapshot."""
    decided = {host.id: host.generation for host in snapshot.hosts}
    current = set()
    for host_id in sorted({placed.host_id for placed in plan.placed}):
        advanced = connection.execute(_HOST_ADVANCE, {"of_id": host_id, "decided": decided[host_id]}).rowcount
        if advanced == 1:
            current.add(host_id)
    return current


def _tasks_waiting(connection: Connection, task_ids: Sequence[str]) -> dict[str, AnyRow]:
    return {row.id: row for row in connection.execute(_WAITING, {"ids": list(task_ids)})}


def _placed_write(
    connection: Connection,
    plan: Plan,
    holding: Sequence[Placed],
    waiting: dict[str, AnyRow],
    *,
    epoch: int,
    now_us: int,
    cell: int,
) -> None:
    plan_id = id_new(IdKind.PLAN, cell)
    numbers = _attempt_numbers(connection, [placed.task_id for placed in holding])
    rows, event_rows, device_rows = [], [], []
    for attempt_id, placed in zip(ids_new(IdKind.ATTEMPT, len(holding), cell), holding, strict=True):
        task = waiting[placed.task_id]
        replace = task.on_host_lost == HostLossPolicy.REPLACE
        rows.append(
            {
                "id": attempt_id,
                "task_id": task.id,
                "job_id": task.job_id,
                "organization_id": task.organization_id,
                "project_id": task.project_id,
                "host_id": placed.host_id,
                "plan_id": plan_id,
                "candidates": placed.candidates,
                "engine": task.engine,
                "number": numbers.get(task.id, 0) + 1,
                "epoch": epoch,
                "cpu_milli": task.cpu_milli,
                "memory_bytes": task.memory_bytes,
                "placed_us": now_us,
                "start_before_us": now_us + START_WINDOW_US,
                "lease_us": now_us + LEASE_US if replace else None,
            }
        )
        device_rows += [{"attempt_id": attempt_id, "device_id": device} for device in placed.device_ids]
        event_rows.append(
            event_row(
                "attempt_place",
                at_us=now_us,
                actor=SYSTEM_ACTOR,
                resource=attempt_id,
                organization=task.organization_id,
                project=task.project_id,
                detail={"job": task.job_id, "task": task.ordinal, "host": placed.host_id, "plan": plan_id},
            )
        )
    body = msgspec.json.encode({"placed": holding, "refused": plan.refused[:100]}).decode()
    insert_many(connection, plans, [_plan_row(plan, plan_id, body)])
    insert_many(connection, attempts, rows)
    insert_many(connection, attempt_devices, device_rows)
    insert_many(connection, events, event_rows)
    move_many(connection, [Move(tasks, placed.task_id, "queued", "active", {}) for placed in holding])
    connection.execute(
        update(jobs)
        .where(jobs.c.id.in_({row["job_id"] for row in rows}), jobs.c.state == "queued")
        .values(state="running", version=jobs.c.version + 1)
    )


def _plan_row(plan: Plan, plan_id: str, body: str) -> dict[str, Any]:
    return {
        "id": plan_id,
        "decided_us": plan.decided_us,
        "policy": plan.policy,
        "seed": plan.seed,
        "snapshot_digest": plan.snapshot_digest,
        "body": body,
    }


def _attempt_numbers(connection: Connection, task_ids: Sequence[str]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(_NUMBERS, {"ids": list(task_ids)})}
