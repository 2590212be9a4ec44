"""What placement decides on, read from rows: hosts with what lives on them, and the tasks that wait."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, case, func, select

from kumoi.core.placement.snapshot import DeviceView, Holding, HostView, PoolView, TaskView, Window
from kumoi.core.queue.order import Waiting
from kumoi.core.queue.prices import FREE, Prices
from kumoi.core.queue.standing import Standing
from kumoi.model.jobs import CLASS_RANKS, DeviceRequest, HostLossPolicy, PlacementRules, WorkClass
from kumoi.model.places import DeviceHealth, IsolationClass
from kumoi.store.budgets import prices_load
from kumoi.store.placement import ENDS_US
from kumoi.store.schema import (
    AnyRow,
    attempt_devices,
    attempts,
    devices,
    host_touches,
    hosts,
    in_state,
    is_false,
    is_live,
    jobs,
    pools,
    reservation_hosts,
    reservations,
    tasks,
)
from kumoi.store.shares import standings_load

WIDE_PER_KIND = 8
WIDE_PER_ORGANIZATION = 100
WINDOW_LEAST = 8
ORGANIZATIONS_MAX = 10_000
TOUCHES_MAX = 10_000
HOSTS_PER_QUERY = 500
_SHARED_KERNEL = (IsolationClass.PROCESS, IsolationClass.CONTAINER)


@dataclass(frozen=True, slots=True)
class PoolRead:
    """What is new of one pool: all its hosts in `base` the first time, then what changed; and who waits."""

    pool: PoolView
    base: tuple[HostView, ...] | None
    changed: tuple[HostView, ...]
    gone: tuple[str, ...]
    queues: "Queues"
    standings: Mapping[str, Standing]
    prices: Prices


@dataclass(frozen=True, slots=True)
class Queues:
    """Who waits in a pool, by organization. Of `cut` ones more wait than is shown here.

    `ends` say how far a wide look at an organization went: the last task's id, empty where it saw the end.
    """

    waiting: Mapping[str, tuple[Waiting, ...]]
    cut: frozenset[str] = frozenset()
    ends: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Touch:
    """A note that a host's room changed."""

    id: int
    host_id: str


# What every activation reads is built once: building an expression costs more than SQLite's answer.
_POOLS = select(pools).where(pools.c.state == "open").order_by(pools.c.id)
_TOUCHES = select(host_touches.c.id, host_touches.c.host_id).order_by(host_touches.c.id).limit(TOUCHES_MAX)
_HOSTS_OPEN = select(hosts).where(hosts.c.state == "schedulable", hosts.c.health == "up").order_by(hosts.c.id)
_HOSTS_OF_POOL = _HOSTS_OPEN.where(hosts.c.pool_id == bindparam("of_pool"))
_HOSTS_NAMED = _HOSTS_OPEN.where(hosts.c.id.in_(bindparam("ids", expanding=True)))
_HOLDINGS = (
    select(
        attempts.c.id,
        attempts.c.host_id,
        attempts.c.job_id,
        attempts.c.organization_id,
        attempts.c.cpu_milli,
        attempts.c.memory_bytes,
        attempts.c.disk_bytes,
        attempts.c.placed_us,
        ENDS_US.label("ends_us"),
        jobs.c.work_class,
        jobs.c.priority,
        jobs.c.gang,
        jobs.c.on_host_lost,
        jobs.c.rules,
    )
    .join(jobs, jobs.c.id == attempts.c.job_id)
    .where(is_live(), attempts.c.host_id.in_(bindparam("ids", expanding=True)))
    .order_by(attempts.c.id)
)
_HELD_DEVICES = (
    select(attempt_devices.c.attempt_id, attempt_devices.c.device_id, attempt_devices.c.milli)
    .join(devices, devices.c.id == attempt_devices.c.device_id)
    .where(is_false(attempt_devices.c.released), devices.c.host_id.in_(bindparam("ids", expanding=True)))
    .order_by(attempt_devices.c.attempt_id, devices.c.ordinal)
)
_DEVICES = (
    select(devices)
    .where(devices.c.host_id.in_(bindparam("ids", expanding=True)))
    .order_by(devices.c.host_id, devices.c.kind, devices.c.ordinal)
)
_WINDOWS = (
    select(reservation_hosts.c.host_id, reservations)
    .join(reservations, reservations.c.id == reservation_hosts.c.reservation_id)
    .where(
        reservation_hosts.c.host_id.in_(bindparam("ids", expanding=True)),
        in_state(reservations, "held"),
    )
    .order_by(reservation_hosts.c.host_id, reservations.c.start_us, reservations.c.id)
)
_TASK_VIEWS = select(
    tasks.c.id,
    tasks.c.job_id,
    jobs.c.organization_id,
    jobs.c.cpu_milli,
    jobs.c.memory_bytes,
    jobs.c.disk_bytes,
    jobs.c.wall_time_s,
    jobs.c.devices,
    jobs.c.rules,
    jobs.c.work_class,
    jobs.c.priority,
    jobs.c.gang,
    jobs.c.created_us,
).join(jobs, jobs.c.id == tasks.c.job_id)
_QUEUED = (
    in_state(tasks, "queued"),
    tasks.c.pool_id == bindparam("of_pool"),
    tasks.c.not_before_us <= bindparam("now_us"),
)
_WAITS = select(tasks.c.id).where(*_QUEUED).limit(1)
_IN_TURN = (tasks.c.class_rank, tasks.c.priority.desc(), tasks.c.id)
_ORGANIZATION_NEXT = select(func.min(tasks.c.organization_id)).where(
    in_state(tasks, "queued"),
    tasks.c.pool_id == bindparam("of_pool"),
    tasks.c.organization_id > bindparam("last"),
)
_OF_ORGANIZATION = (
    *_QUEUED,
    tasks.c.organization_id == bindparam("of_organization"),
    tasks.c.class_rank == bindparam("of_class"),
)
_HEAD = _TASK_VIEWS.where(*_OF_ORGANIZATION).order_by(*_IN_TURN).limit(bindparam("task_limit"))
_OLDEST = _TASK_VIEWS.where(*_OF_ORGANIZATION).order_by(tasks.c.id).limit(bindparam("task_limit"))
_PROMISED = _TASK_VIEWS.where(*_QUEUED).order_by(tasks.c.id)
_PROMISED_TASKS = _PROMISED.where(tasks.c.id.in_(bindparam("ids", expanding=True)), is_false(jobs.c.gang))
_PROMISED_GANGS = _PROMISED.where(tasks.c.job_id.in_(bindparam("ids", expanding=True)), jobs.c.gang)
_GANGS = (
    _TASK_VIEWS.add_columns(tasks.c.not_before_us)
    .where(in_state(tasks, "queued"), tasks.c.job_id.in_(bindparam("ids", expanding=True)))
    .order_by(tasks.c.id)
)


def _few_of_each_kind() -> Select[*tuple[Any, ...]]:
    """Behind `after_id`, the first few waiting tasks of each kind of request of an organization.

    Tasks of one kind ask for the same; each gang is a kind of its own.
    """
    kind = (
        tasks.c.class_rank,
        jobs.c.cpu_milli,
        jobs.c.memory_bytes,
        jobs.c.disk_bytes,
        jobs.c.wall_time_s,
        jobs.c.devices,
        jobs.c.rules,
        case((jobs.c.gang, tasks.c.job_id), else_=""),
    )
    of_kind = func.row_number().over(partition_by=kind, order_by=tasks.c.id)
    few = (
        select(tasks.c.id, of_kind.label("of_kind"))
        .join(jobs, jobs.c.id == tasks.c.job_id)
        .where(
            *_QUEUED,
            tasks.c.organization_id == bindparam("of_organization"),
            tasks.c.id > bindparam("after_id"),
        )
        .subquery()
    )
    return (
        _TASK_VIEWS.join(few, few.c.id == tasks.c.id)
        .where(few.c.of_kind <= WIDE_PER_KIND)
        .order_by(tasks.c.id)
        .limit(bindparam("task_limit"))
    )


_WIDE = _few_of_each_kind()


def pools_waiting(
    connection: Connection, now_us: int, choosing: Collection[str] = frozenset()
) -> list[PoolView]:
    """The open pools in which a task waits that may be placed now; `choosing` engines choose hosts."""
    return [
        pool_view(row, choosing)
        for row in connection.execute(_POOLS).all()
        if connection.execute(_WAITS, {"of_pool": row.id, "now_us": now_us}).first() is not None
    ]


def pool_view(row: AnyRow, choosing: Collection[str] = frozenset()) -> PoolView:
    """A row of `pools` as placement sees it. `choosing` engines choose hosts themselves."""
    return PoolView(
        id=row.id,
        exclusive=row.isolation in _SHARED_KERNEL and not row.shared_by_organizations,
        devices_shared=row.shared_by_organizations,
        defragment=row.defragment,
        chooses_pool_only=row.engine in choosing,
    )


def touches_read(connection: Connection) -> list[Touch]:
    """The notes of changed hosts that nobody took yet, oldest first."""
    return [Touch(row.id, row.host_id) for row in connection.execute(_TOUCHES)]


def pool_read(
    connection: Connection,
    pool: PoolView,
    known: Collection[str] | None,
    touched: Iterable[str],
    *,
    window: int,
    now_us: int,
    wide: Mapping[str, str] | None = None,
    promised: Collection[str] = (),
) -> PoolRead:
    """All hosts of a pool where none are `known`, else those of them (and new ones) that were `touched`.

    A window of 0 reads no tasks; with `wide` (organization -> where the last wide look ended) see
    `queues_read_wide`, else `queues_read`. The `promised` groups are looked at wherever they stand.
    """
    queues = Queues({})
    if wide:
        queues = queues_read_wide(connection, pool.id, wide, now_us)
    elif window:
        queues = queues_read(connection, pool.id, window, now_us)
    if promised and (wide or window):
        queues = _promised_add(connection, pool.id, queues, promised, now_us)
    standings = standings_load(connection, pool.id, queues.waiting, now_us) if queues.waiting else {}
    prices = prices_load(connection, pool.id) if queues.waiting else FREE
    if known is None:
        base = tuple(hosts_of_pool(connection, pool.id))
        return PoolRead(pool, base, (), (), queues, standings, prices)
    names = sorted(set(touched))
    views = [row for row in hosts_named(connection, names) if row[0] == pool.id]
    found = {view.id for _, view in views}
    gone = tuple(name for name in names if name in known and name not in found)
    changed = tuple(view for _, view in views)
    return PoolRead(pool, None, changed, gone, queues, standings, prices)


def hosts_of_pool(connection: Connection, pool_id: str) -> list[HostView]:
    """Every host of a pool that may take work, by id."""
    rows = connection.execute(_HOSTS_OF_POOL, {"of_pool": pool_id}).all()
    return [view for part in _parts(rows) for view in _host_views(connection, part)]


def hosts_named(connection: Connection, host_ids: Sequence[str]) -> list[tuple[str, HostView]]:
    """Those of the hosts that may take work, each with its pool."""
    found = []
    for ids in _parts(list(host_ids)):
        rows = connection.execute(_HOSTS_NAMED, {"ids": ids}).all()
        found += list(zip([row.pool_id for row in rows], _host_views(connection, rows), strict=True))
    return found


def queues_read(connection: Connection, pool_id: str, window: int, now_us: int) -> Queues:
    """Waiting tasks of a pool by organization: a part of the window for each of its classes, gangs complete.

    Of each class the first by priority; where priorities differ the oldest, too, so that age can count. Tasks
    that may only be placed after `now_us` are left out.
    """
    found: dict[str, tuple[Waiting, ...]] = {}
    cut: set[str] = set()
    organizations = _organizations_waiting(connection, pool_id)
    most = max(WINDOW_LEAST, window // max(1, len(organizations)))
    for organization_id in organizations:
        rows: list[AnyRow] = []
        for class_rank in sorted(CLASS_RANKS.values()):
            whose = {"of_pool": pool_id, "of_organization": organization_id, "of_class": class_rank}
            of_class = _of_class(connection, whose | {"now_us": now_us, "task_limit": most})
            if len(of_class) >= most:
                cut.add(organization_id)
            rows += of_class
        if rows:
            found[organization_id] = _waiting(connection, rows, now_us)
    return Queues(found, frozenset(cut))


def queues_read_wide(
    connection: Connection, pool_id: str, organizations: Mapping[str, str], now_us: int
) -> Queues:
    """A few tasks of every kind of request of these organizations, from where the last wide look ended.

    What cannot be placed must not hide what can: look after look, all that waits is seen.
    """
    found: dict[str, tuple[Waiting, ...]] = {}
    ends: dict[str, str] = {}
    for organization_id, after_id in sorted(organizations.items()):
        whose = {"of_pool": pool_id, "of_organization": organization_id, "after_id": after_id}
        limits = {"now_us": now_us, "task_limit": WIDE_PER_ORGANIZATION}
        rows = connection.execute(_WIDE, whose | limits).all()
        ends[organization_id] = rows[-1].id if len(rows) == WIDE_PER_ORGANIZATION else ""
        if rows:
            found[organization_id] = _waiting(connection, rows, now_us)
    return Queues(found, frozenset(), ends)


def _promised_add(
    connection: Connection, pool_id: str, queues: Queues, group_ids: Collection[str], now_us: int
) -> Queues:
    """The groups that something is kept for, too: whoever is not looked at when a promise ends loses it."""
    asked = {"of_pool": pool_id, "now_us": now_us, "ids": sorted(group_ids)}
    by_organization: dict[str, list[AnyRow]] = defaultdict(list)
    for statement in (_PROMISED_TASKS, _PROMISED_GANGS):
        for row in connection.execute(statement, asked):
            by_organization[row.organization_id].append(row)
    waiting = dict(queues.waiting)
    for organization_id, rows in by_organization.items():
        theirs = waiting.get(organization_id, ())
        known = {one.task.id for one in theirs}
        added = (Waiting(task_view(row), row.created_us) for row in rows if row.id not in known)
        waiting[organization_id] = (*theirs, *added)
    return replace(queues, waiting=waiting)


def _waiting(connection: Connection, rows: Sequence[AnyRow], now_us: int) -> tuple[Waiting, ...]:
    gangs = dict.fromkeys(row.job_id for row in rows if row.gang)
    if gangs:
        rows = _gangs_complete(connection, rows, list(gangs), now_us)
    return tuple(Waiting(task_view(row), row.created_us) for row in rows)


def _organizations_waiting(connection: Connection, pool_id: str) -> list[str]:
    """The organizations with waiting tasks, by one seek of the index for each."""
    found: list[str] = []
    last = ""
    while len(found) < ORGANIZATIONS_MAX:
        name = connection.execute(_ORGANIZATION_NEXT, {"of_pool": pool_id, "last": last}).scalar()
        if name is None:
            break
        found.append(name)
        last = name
    return found


def _of_class(connection: Connection, whose: Mapping[str, Any]) -> list[AnyRow]:
    rows = list(connection.execute(_HEAD, whose).all())
    if len(rows) < whose["task_limit"] or rows[0].priority == rows[-1].priority:
        return rows
    known = {row.id for row in rows}
    oldest = connection.execute(_OLDEST, {**whose, "task_limit": WINDOW_LEAST})
    return rows + [row for row in oldest if row.id not in known]


def task_waiting_first(connection: Connection, job_id: str) -> TaskView | None:
    """The first waiting task of a job, as placement would see it."""
    waiting = _TASK_VIEWS.where(in_state(tasks, "queued"), tasks.c.job_id == job_id)
    row = connection.execute(waiting.order_by(tasks.c.id).limit(1)).one_or_none()
    return None if row is None else task_view(row)


def task_view(row: AnyRow) -> TaskView:
    """A row of `_TASK_VIEWS` as placement sees it."""
    rules = _rules(row.rules)
    return TaskView(
        id=row.id,
        job_id=row.job_id,
        organization_id=row.organization_id,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        disk_bytes=row.disk_bytes,
        devices=_device_requests(row.devices),
        wall_time_s=row.wall_time_s,
        class_rank=CLASS_RANKS[row.work_class],
        priority=row.priority,
        gang=row.job_id if row.gang else None,
        gang_within=rules.gang_within,
        spread_over=rules.spread.over if rules.spread else None,
        spread_most=rules.spread.most if rules.spread else 1,
        alone=rules.isolation is IsolationClass.HOST,
        dedicated=rules.dedicated,
        reservation=rules.reservation,
    )


def _host_views(connection: Connection, rows: Sequence[AnyRow]) -> list[HostView]:
    ids = {"ids": [row.id for row in rows]}
    holdings = _holdings(connection, ids)
    windows: dict[str, list[Window]] = defaultdict(list)
    for row in connection.execute(_WINDOWS, ids):
        windows[row.host_id].append(Window(row.name, row.organization_id, row.start_us, row.end_us))
    made: dict[str, list[DeviceView]] = defaultdict(list)
    for row in connection.execute(_DEVICES, ids):
        healthy = row.health == DeviceHealth.HEALTHY
        made[row.host_id].append(DeviceView(row.id, row.kind, row.model, row.partition, healthy))
    return [
        HostView(
            id=row.id,
            name=row.name,
            generation=row.generation,
            cpu_milli=row.cpu_milli,
            memory_bytes=row.memory_bytes,
            disk_bytes=row.disk_bytes,
            devices=tuple(made[row.id]),
            holdings=tuple(holdings[row.id]),
            failure_domain=row.failure_domain,
            fabric_island=row.fabric_island,
            dedicated_to=row.dedicated_to,
            windows=tuple(windows[row.id]),
        )
        for row in rows
    ]


def _holdings(connection: Connection, ids: Mapping[str, Sequence[str]]) -> dict[str, list[Holding]]:
    """What live attempts hold on each host: derived from their rows, never counted beside."""
    held: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for attempt_id, device_id, milli in connection.execute(_HELD_DEVICES, ids):
        held[attempt_id].append((device_id, milli))
    found: dict[str, list[Holding]] = defaultdict(list)
    for row in connection.execute(_HOLDINGS, ids):
        found[row.host_id].append(
            Holding(
                attempt_id=row.id,
                job_id=row.job_id,
                organization_id=row.organization_id,
                cpu_milli=row.cpu_milli,
                memory_bytes=row.memory_bytes,
                disk_bytes=row.disk_bytes,
                devices=tuple(held[row.id]),
                placed_us=row.placed_us,
                ends_us=row.ends_us,
                class_rank=CLASS_RANKS[row.work_class],
                priority=row.priority,
                gang=row.gang,
                restartable=row.work_class == WorkClass.PREEMPTIBLE
                or row.on_host_lost == HostLossPolicy.REPLACE,
                alone=_rules(row.rules).isolation is IsolationClass.HOST,
            )
        )
    return found


def _gangs_complete(
    connection: Connection, rows: Sequence[AnyRow], job_ids: Sequence[str], now_us: int
) -> list[AnyRow]:
    """Put every waiting member of the gangs where the first of them stands.

    They wait for each other: a gang of which a member may only be placed later is left out.
    """
    members: dict[str, list[AnyRow]] = defaultdict(list)
    for row in connection.execute(_GANGS, {"ids": list(job_ids)}):
        members[row.job_id].append(row)
    late = {name for name, of in members.items() if any(one.not_before_us > now_us for one in of)}
    for name in late:
        del members[name]
    complete: list[AnyRow] = []
    for row in rows:
        complete += members.pop(row.job_id, []) if row.gang else [row]
    return complete


def _parts(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Pieces that fit one statement's parameters."""
    return (rows[start : start + HOSTS_PER_QUERY] for start in range(0, len(rows), HOSTS_PER_QUERY))


@lru_cache(4_096)
def _rules(text: str) -> PlacementRules:
    return msgspec.json.decode(text, type=PlacementRules) if text else PlacementRules()


@lru_cache(4_096)
def _device_requests(text: str) -> tuple[DeviceRequest, ...]:
    return msgspec.json.decode(text, type=tuple[DeviceRequest, ...]) if text else ()
