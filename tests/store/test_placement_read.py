"""What placement decides on, as the rows tell it: hosts with what lives on them, and who waits."""

from typing import Any

import pytest
from plan_rows import plan_decide, pool_look
from region_rows import GIB, T0_US, RegionRows
from sqlalchemy import Connection

from kumoi.core.placement.snapshot import DeviceView, Holding, HostView, PoolView, TaskView, Window
from kumoi.model.ids import IdKind
from kumoi.model.jobs import (
    DeviceRequest,
    GangScope,
    HostLossPolicy,
    JobSpec,
    PlacementRules,
    Resources,
    Spread,
    SpreadOver,
    WorkClass,
)
from kumoi.model.places import IsolationClass
from kumoi.store import placement_read, schema
from kumoi.store.database import Store
from kumoi.store.ids import id_new
from kumoi.store.jobs import jobs_expand
from kumoi.store.placement import plan_apply, touches_drop
from kumoi.store.placement_read import (
    hosts_of_pool,
    pool_read,
    pools_waiting,
    queues_read,
    touches_read,
)

S_US = 1_000_000


def queue(store: Store, region: RegionRows, organization: str = "one", **more: Any) -> str:
    spec = JobSpec(**({"command": ("true",)} | more))
    job = region.job_add(spec, organization=organization)
    store.transact_wait(None, jobs_expand, T0_US, 0, 10_000, 1_000)
    return job


def jobs_read(store: Store, region: RegionRows, window: int) -> list[str]:
    """The jobs of the tasks that are read, in that order."""
    found = store.read_wait(queues_read, region.pool, window, T0_US).waiting
    return [one.task.job_id for theirs in found.values() for one in theirs]


def test_a_host_is_read_with_all_that_is_true_of_it(store: Store, region: RegionRows) -> None:
    organization = region.organizations["one"]
    facts = {"disk_bytes": 9 * GIB, "failure_domain": "rack-1", "fabric_island": "island-1"}
    host = region.host_add("host-1", generation=4, dedicated_to=organization, **facts)
    devices = [
        region.device_add(host, 1, model="a100", health="unhealthy"),
        region.device_add(host, 0, partition="1g.18gb"),
    ]
    reservation = {
        "id": id_new(IdKind.RESERVATION),
        "organization_id": organization,
        "pool_id": region.pool,
        "name": "spring",
        "host_count": 1,
        "start_us": T0_US,
        "end_us": T0_US + 1,
        "created_us": T0_US,
    }
    ended = reservation | {"id": id_new(IdKind.RESERVATION), "name": "winter", "state": "ended"}
    region.write(schema.reservations, reservation)
    region.write(schema.reservations, ended)
    of_host = [{"reservation_id": one["id"], "host_id": host} for one in (reservation, ended)]
    region.write(schema.reservation_hosts, *of_host)
    assert store.read_wait(hosts_of_pool, region.pool) == [
        HostView(
            id=host,
            name="host-1",
            generation=4,
            cpu_milli=4_000,
            memory_bytes=8 * GIB,
            disk_bytes=9 * GIB,
            devices=(
                DeviceView(devices[1], "gpu", "h200", "1g.18gb"),
                DeviceView(devices[0], "gpu", "a100", healthy=False),
            ),
            failure_domain="rack-1",
            fabric_island="island-1",
            dedicated_to=organization,
            windows=(Window("spring", organization, T0_US, T0_US + 1),),
        )
    ]


def test_what_lives_on_a_host_is_read_with_what_it_holds(store: Store, region: RegionRows) -> None:
    host = region.host_add("host-1", disk_bytes=GIB)
    device = region.device_add(host, 0)
    job = queue(
        store,
        region,
        gang=True,
        priority=3,
        work_class=WorkClass.GUARANTEED,
        on_host_lost=HostLossPolicy.REPLACE,
        resources=Resources(700, 5 << 20, 6, 100, devices=(DeviceRequest("gpu", milli=250),)),
        rules=PlacementRules(isolation=IsolationClass.HOST),
    )
    decided = store.read_wait(plan_decide, region.pool)
    store.transact_wait(None, plan_apply, decided, epoch=1, now_us=T0_US + 5, cell=0)
    (attempt,) = region.rows(schema.attempts)
    (view,) = store.read_wait(hosts_of_pool, region.pool)
    assert view.holdings == (
        Holding(
            attempt_id=attempt.id,
            job_id=job,
            organization_id=region.organizations["one"],
            cpu_milli=700,
            memory_bytes=5 << 20,
            disk_bytes=6,
            devices=((device, 250),),
            placed_us=T0_US + 5,
            ends_us=T0_US + 5 + 170 * S_US,
            class_rank=0,
            priority=3,
            gang=True,
            restartable=True,
            alone=True,
        ),
    )


@pytest.mark.parametrize(
    ("more", "restartable"),
    [
        ({}, False),
        ({"work_class": WorkClass.PREEMPTIBLE}, True),
        ({"on_host_lost": HostLossPolicy.REPLACE}, True),
    ],
)
def test_what_may_begin_again_elsewhere_is_restartable(
    store: Store, region: RegionRows, more: dict[str, Any], restartable: bool
) -> None:
    host = region.host_add("host-1")
    region.attempt_add(region.job_add(JobSpec(command=("true",), **more)), host)
    ended = {"state": "ended", "ended_us": T0_US + 1, "outcome": "exited"}
    region.attempt_add(region.job_add(JobSpec(command=("true",))), host, **ended)
    (view,) = store.read_wait(hosts_of_pool, region.pool)
    assert [(one.restartable, one.alone) for one in view.holdings] == [(restartable, False)]


def test_a_task_is_read_with_its_rules(store: Store, region: RegionRows) -> None:
    wishes = (DeviceRequest("gpu", 2, ("h200",)),)
    job = queue(
        store,
        region,
        gang=True,
        priority=3,
        work_class=WorkClass.PREEMPTIBLE,
        resources=Resources(700, 5 << 20, 6, 100, devices=wishes),
        rules=PlacementRules(
            isolation=IsolationClass.HOST,
            spread=Spread(SpreadOver.FAILURE_DOMAIN, 4),
            gang_within=GangScope.FABRIC_ISLAND,
            dedicated=True,
            reservation="spring",
        ),
    )
    (row,) = region.rows(schema.tasks)
    expected = TaskView(
        id=row.id,
        job_id=job,
        organization_id=region.organizations["one"],
        cpu_milli=700,
        memory_bytes=5 << 20,
        disk_bytes=6,
        devices=wishes,
        wall_time_s=100,
        class_rank=2,
        priority=3,
        gang=job,
        gang_within=GangScope.FABRIC_ISLAND,
        spread_over=SpreadOver.FAILURE_DOMAIN,
        spread_most=4,
        alone=True,
        dedicated=True,
        reservation="spring",
    )
    found = store.read_wait(queues_read, region.pool, 100, T0_US).waiting
    assert [(one.task, one.submitted_us) for one in found[region.organizations["one"]]] == [(expected, T0_US)]
    assert store.read_wait(placement_read.task_waiting_first, job) == expected
    assert store.read_wait(placement_read.task_waiting_first, id_new(IdKind.JOB)) is None


def test_a_job_without_rules_or_devices_says_nothing(store: Store, region: RegionRows) -> None:
    region.job_add(JobSpec(command=("true",)), rules="", devices="")
    store.transact_wait(None, jobs_expand, T0_US, 0, 100, 100)
    found = store.read_wait(queues_read, region.pool, 100, T0_US).waiting
    ((waiting,),) = found.values()
    assert waiting.task == TaskView(
        waiting.task.id, waiting.task.job_id, region.organizations["one"], 1_000, 256 << 20
    )


def test_hosts_and_pools_that_take_nothing_are_left_out(store: Store, region: RegionRows) -> None:
    other = region.pool_add("other")
    paused = region.pool_add("paused", state="paused")
    hosts = [
        region.host_add("host-1", pool_id=other),
        region.host_add("host-2", state="draining"),
        region.host_add("host-3", health="lost"),
        region.host_add("host-4"),
    ]
    assert [view.id for view in store.read_wait(hosts_of_pool, region.pool)] == hosts[3:]
    named = store.read_wait(placement_read.hosts_named, [*hosts, "host_unknown"])
    assert [(pool, view.id) for pool, view in named] == [(other, hosts[0]), (region.pool, hosts[3])]
    queue(store, region)
    region.job_add(JobSpec(command=("true",)), pool_id=paused)
    store.transact_wait(None, jobs_expand, T0_US, 0, 100, 100)
    assert [pool.id for pool in store.read_wait(pools_waiting, T0_US)] == [region.pool]


@pytest.mark.parametrize(
    ("isolation", "shared", "exclusive"),
    [
        (IsolationClass.PROCESS, True, False),
        (IsolationClass.PROCESS, False, True),
        (IsolationClass.CONTAINER, False, True),
        (IsolationClass.VM, False, False),
        (IsolationClass.HOST, False, False),
    ],
)
def test_a_kernel_is_shared_where_the_pool_allows_it(
    store: Store, region: RegionRows, isolation: IsolationClass, shared: bool, exclusive: bool
) -> None:
    def change(connection: Connection) -> None:
        values = {"isolation": isolation, "shared_by_organizations": shared}
        connection.execute(schema.pools.update(), values)

    store.transact_wait(None, change)
    (row,) = region.rows(schema.pools)
    view = placement_read.pool_view(row)
    assert view == PoolView(region.pool, exclusive=exclusive, devices_shared=shared)


def test_a_later_read_tells_what_was_touched_and_what_left(store: Store, region: RegionRows) -> None:
    hosts = [region.host_add(f"host-{number}") for number in range(4)]
    first = store.read_wait(pool_look, region.pool)
    assert [view.id for view in first.base or ()] == hosts
    assert (first.changed, first.gone, first.queues.waiting) == ((), (), {})
    table = schema.hosts
    store.transact_wait(
        None, lambda c: c.execute(table.update().where(table.c.id == hosts[1]).values(state="draining"))
    )
    new = region.host_add("host-5")
    touched = [hosts[0], hosts[1], new, "host_unknown"]
    read = store.read_wait(pool_read, first.pool, hosts, touched, window=0, now_us=T0_US)
    assert read.base is None
    assert [view.id for view in read.changed] == [hosts[0], new]
    assert read.gone == (hosts[1],)


def test_touches_are_read_oldest_first_until_they_are_dropped(store: Store, region: RegionRows) -> None:
    hosts = [region.host_add(f"host-{number}") for number in range(3)]
    region.touch(hosts[0])
    touches = store.read_wait(touches_read)
    assert [touch.host_id for touch in touches] == [*hosts, hosts[0]]
    store.transact_wait(None, touches_drop, [touch.id for touch in touches[:2]])
    assert store.read_wait(touches_read) == touches[2:]
    store.transact_wait(None, touches_drop, list(range(10_000, 11_200)))
    assert store.read_wait(touches_read) == touches[2:]


def test_who_waits_for_a_later_time_is_not_read(store: Store, region: RegionRows) -> None:
    job = queue(store, region)
    store.transact_wait(None, lambda c: c.execute(schema.tasks.update(), {"not_before_us": T0_US + 1}))
    assert store.read_wait(pools_waiting, T0_US) == []
    assert jobs_read(store, region, 100) == []
    assert [pool.id for pool in store.read_wait(pools_waiting, T0_US + 1)] == [region.pool]
    found = store.read_wait(queues_read, region.pool, 100, T0_US + 1).waiting
    assert [one.task.job_id for theirs in found.values() for one in theirs] == [job]


def test_a_gang_waits_for_the_member_that_may_only_be_placed_later(store: Store, region: RegionRows) -> None:
    gang, single = queue(store, region, gang=True, array_size=3), queue(store, region)
    late = region.rows(schema.tasks, job_id=gang)[1].id
    table = schema.tasks
    for later_us, read in ((1, [single]), (0, [gang] * 3 + [single])):
        moved = table.update().where(table.c.id == late).values(not_before_us=T0_US + later_us)
        store.transact_wait(None, lambda connection, change=moved: connection.execute(change))
        assert jobs_read(store, region, 100) == read


def test_gangs_are_read_whole_though_the_window_cuts_them(store: Store, region: RegionRows) -> None:
    first = queue(store, region, array_size=3)
    gang = queue(store, region, gang=True, array_size=12)
    queue(store, region, array_size=20)
    read = jobs_read(store, region, 1)
    assert read == [first] * 3 + [gang] * 12
    assert [one.gang for one in decoded(store, region, 1)] == [None] * 3 + [gang] * 12


def decoded(store: Store, region: RegionRows, window: int) -> list[TaskView]:
    found = store.read_wait(queues_read, region.pool, window, T0_US).waiting
    return [one.task for theirs in found.values() for one in theirs]


def test_every_class_and_organization_has_its_part_of_the_window(store: Store, region: RegionRows) -> None:
    many = queue(store, region, array_size=100, priority=9)
    low = queue(store, region, work_class=WorkClass.PREEMPTIBLE)
    top = queue(store, region, work_class=WorkClass.GUARANTEED)
    other = queue(store, region, "two")
    read = jobs_read(store, region, 16)
    assert read == [top] + [many] * 8 + [low] + [other]


def test_where_priorities_differ_the_oldest_are_read_too(store: Store, region: RegionRows) -> None:
    old = queue(store, region, priority=-5)
    tail = queue(store, region, array_size=4, priority=1)
    middle = queue(store, region, array_size=20, priority=9)
    urgent = queue(store, region, array_size=6, priority=10)
    read = jobs_read(store, region, 8)
    assert read == [urgent] * 6 + [middle] * 2 + [old] + [tail] * 4 + [middle]
    assert len({task.id for task in decoded(store, region, 8)}) == len(read)


def test_who_was_promised_something_is_looked_at_wherever_they_stand(
    store: Store, region: RegionRows
) -> None:
    many = queue(store, region, priority=5, array_size=100)
    single, gang = (
        queue(store, region, priority=-5),
        queue(store, region, priority=-5, gang=True, array_size=3),
    )
    task = region.rows(schema.tasks, job_id=single)[0].id
    pool = PoolView(region.pool)

    def looked_at(*promised: str) -> set[str]:
        found = store.read_wait(
            pool_read, pool, (), (), window=8, now_us=T0_US, promised=promised
        ).queues.waiting
        (theirs,) = found.values()
        assert len({one.task.id for one in theirs}) == len(theirs)
        return {one.task.job_id for one in theirs if one.task.priority < 0 or one.task.job_id == many}

    aged = looked_at()
    assert looked_at(task) == aged | {single}
    assert looked_at(gang, task) == {many, single, gang}
    assert looked_at("job_unknown") == aged
