"""A plan is applied per host generation: what still holds is placed, the rest waits; gangs whole or not."""

from typing import Any

import pytest
from region_rows import T0_US, RegionRows
from sqlalchemy import Connection

from kumoi.core.placement import Plan, Snapshot, place
from kumoi.model.jobs import DeviceRequest, HostLossPolicy, JobSpec, Resources
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import DuplicateRow
from kumoi.store.jobs import job_cancel, jobs_expand
from kumoi.store.placement import LEASE_US, START_WINDOW_US, plan_apply, snapshot_load


@pytest.fixture
def hosts(region: RegionRows) -> list[str]:
    return [region.host_add(f"host-{number}", cpu_milli=2_000) for number in range(2)]


def queue(store: Store, region: RegionRows, **more: Any) -> str:
    job = region.job_add(JobSpec(**({"command": ("true",)} | more)))
    store.transact_wait(None, jobs_expand, T0_US, 0, 1_000, 100)
    return job


def decide(store: Store) -> tuple[Plan, Snapshot]:
    snapshot = store.read_wait(snapshot_load, 100)
    return place(snapshot, T0_US, 7), snapshot


def apply(store: Store, plan: Plan, snapshot: Snapshot) -> int:
    return store.transact_wait(None, plan_apply, plan, snapshot, epoch=3, now_us=T0_US + 5, cell=0)


def states(region: RegionRows, job: str) -> list[str]:
    rows = sorted(region.rows(schema.tasks, job_id=job), key=lambda row: row.ordinal)
    return [row.state for row in rows]


def change_host(store: Store, host: str, **values: Any) -> None:
    def work(connection: Connection) -> None:
        table = schema.hosts
        more = {"generation": table.c.generation + 1} | values
        connection.execute(table.update().where(table.c.id == host).values(**more))

    store.transact_wait(None, work)


def test_a_plan_becomes_attempts_with_their_plan(store: Store, region: RegionRows, hosts: list[str]) -> None:
    job = queue(store, region, array_size=3, resources=Resources(cpu_milli=1_000, memory_bytes=1 << 30))
    plan, snapshot = decide(store)
    assert apply(store, plan, snapshot) == 3
    attempts = region.rows(schema.attempts)
    assert [row.host_id for row in attempts] == [hosts[0], hosts[0], hosts[1]]
    assert [row.candidates for row in attempts] == [2, 2, 1]
    for row in attempts:
        assert (row.state, row.number, row.epoch, row.engine) == ("placed", 1, 3, "fake")
        assert (row.cpu_milli, row.memory_bytes) == (1_000, 1 << 30)
        assert (row.placed_us, row.start_before_us) == (T0_US + 5, T0_US + 5 + START_WINDOW_US)
        assert row.lease_us is None
    kept = region.rows(schema.plans)
    assert [(row.id, row.seed, row.policy, row.decided_us) for row in kept] == [
        (attempts[0].plan_id, 7, "first_fit", T0_US)
    ]
    assert kept[0].snapshot_digest == plan.snapshot_digest
    assert (states(region, job), region.rows(schema.jobs)[0].state) == (["active"] * 3, "running")
    assert len(region.rows(schema.events)) == 3


def test_what_was_placed_is_not_free_in_the_next_snapshot(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    queue(store, region, array_size=3)
    apply(store, *decide(store))
    snapshot = store.read_wait(snapshot_load, 100)
    assert {host.id: host.cpu_milli_free for host in snapshot.hosts} == {hosts[0]: 0, hosts[1]: 1_000}
    assert {host.id: host.generation for host in snapshot.hosts} == {hosts[0]: 1, hosts[1]: 1}
    assert all(host.tenants == {region.organizations["one"]} for host in snapshot.hosts)
    assert snapshot.tasks == ()


def test_only_a_job_to_be_replaced_has_a_lease(store: Store, region: RegionRows, hosts: list[str]) -> None:
    queue(store, region, on_host_lost=HostLossPolicy.REPLACE)
    apply(store, *decide(store))
    assert region.rows(schema.attempts)[0].lease_us == T0_US + 5 + LEASE_US


@pytest.mark.parametrize(
    "change", [{}, {"state": "draining"}, {"state": "quarantined"}, {"health": "lost"}], ids=str
)
def test_a_host_that_changed_takes_nothing_and_the_others_do(
    store: Store, region: RegionRows, hosts: list[str], change: dict[str, str]
) -> None:
    job = queue(store, region, array_size=4)
    plan, snapshot = decide(store)
    change_host(store, hosts[0], **change)
    assert apply(store, plan, snapshot) == 2
    assert states(region, job) == ["queued", "queued", "active", "active"]
    assert {row.host_id for row in region.rows(schema.attempts)} == {hosts[1]}


def test_a_host_that_does_not_take_work_any_more_is_seen_without_its_generation(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    queue(store, region, array_size=1)
    plan, snapshot = decide(store)
    store.transact_wait(None, lambda c: c.execute(schema.hosts.update(), {"state": "draining"}))
    assert apply(store, plan, snapshot) == 0
    assert region.rows(schema.plans) == []


def test_a_gang_with_a_stale_host_is_dropped_whole_and_the_rest_placed(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    gang = queue(store, region, gang=True, array_size=3, priority=1)
    single = queue(store, region)
    plan, snapshot = decide(store)
    assert len(plan.placed) == 4
    change_host(store, hosts[0])
    assert apply(store, plan, snapshot) == 1
    assert (states(region, gang), states(region, single)) == (["queued"] * 3, ["active"])
    again, fresh = decide(store)
    assert apply(store, again, fresh) == 3, "decided again on a fresh snapshot"


def test_a_task_that_was_cancelled_meanwhile_is_not_placed(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    cancelled, kept = queue(store, region), queue(store, region)
    plan, snapshot = decide(store)
    store.transact_wait(None, job_cancel, cancelled, T0_US, "changed my mind")
    assert apply(store, plan, snapshot) == 1
    assert (states(region, cancelled), states(region, kept)) == (["cancelled"], ["active"])


def test_a_plan_applied_twice_places_once(store: Store, region: RegionRows, hosts: list[str]) -> None:
    queue(store, region, array_size=4)
    plan, snapshot = decide(store)
    assert [apply(store, plan, snapshot), apply(store, plan, snapshot)] == [4, 0]
    assert len(region.rows(schema.attempts)) == 4


def test_devices_of_a_plan_are_held_once(store: Store, region: RegionRows, hosts: list[str]) -> None:
    devices = [region.device_add(hosts[0], ordinal) for ordinal in range(2)]
    queue(store, region, array_size=2, resources=Resources(devices=(DeviceRequest("gpu"),)))
    plan, snapshot = decide(store)
    apply(store, plan, snapshot)
    held = region.rows(schema.attempt_devices)
    assert sorted(row.device_id for row in held) == sorted(devices)
    assert store.read_wait(snapshot_load, 100).hosts[0].devices_free == ()
    with pytest.raises(DuplicateRow):
        region.write(schema.attempt_devices, {"attempt_id": held[0].attempt_id, "device_id": devices[1]})


def test_a_snapshot_holds_gangs_whole_though_its_limit_cuts_them(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    first = queue(store, region, array_size=3)
    gang = queue(store, region, gang=True, array_size=5)
    queue(store, region)
    for limit, expected in ((3, 3), (4, 8), (8, 8), (9, 9)):
        tasks = store.read_wait(snapshot_load, limit).tasks
        assert len(tasks) == expected
        assert [task.job_id for task in tasks[:3]] == [first] * 3
        assert {task.gang for task in tasks[3:8]} <= {gang}


def test_a_snapshot_leaves_out_hosts_and_pools_that_take_nothing(store: Store, region: RegionRows) -> None:
    other = region.pool_add("paused", state="paused")
    region.host_add("host-1", pool_id=other)
    region.host_add("host-2", state="draining")
    region.host_add("host-3", health="lost")
    host = region.host_add("host-4", dedicated_to=region.organizations["two"])
    snapshot = store.read_wait(snapshot_load, 100)
    assert [one.id for one in snapshot.hosts] == [host]
    assert snapshot.hosts[0].dedicated_to == region.organizations["two"]
    assert not snapshot.hosts[0].exclusive
