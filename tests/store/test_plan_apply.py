"""A plan is applied per host generation: what still holds is placed, the rest waits; gangs whole or not."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from plan_rows import SEED, plan_decide
from region_rows import T0_US, RegionRows
from sqlalchemy import Connection

from kumoi.core.placement.replay import replay
from kumoi.model.jobs import AttemptOutcome, DeviceRequest, HostLossPolicy, JobSpec, Resources
from kumoi.model.shares import QuotaResource
from kumoi.store import schema
from kumoi.store.attempts import AttemptEnd, attempts_end
from kumoi.store.database import Store
from kumoi.store.errors import DuplicateRow, ImpossibleState
from kumoi.store.jobs import job_cancel, jobs_expand
from kumoi.store.placement import LEASE_US, START_WINDOW_US, Applied, Decided, devices_take, plan_apply
from kumoi.store.placement_read import hosts_of_pool, touches_read
from kumoi.store.plans import plan_body, plan_chain
from kumoi.store.retention import plans_drop
from kumoi.store.shares import quota_put
from kumoi.store.tasks import placements_of


@pytest.fixture
def hosts(region: RegionRows) -> list[str]:
    return [region.host_add(f"host-{number}", cpu_milli=2_000) for number in range(2)]


def queue(store: Store, region: RegionRows, **more: Any) -> str:
    organization = more.pop("organization", "one")
    job = region.job_add(JobSpec(**({"command": ("true",)} | more)), organization=organization)
    store.transact_wait(None, jobs_expand, T0_US, 0, 1_000, 100)
    return job


def decide(store: Store, region: RegionRows) -> Decided:
    return store.read_wait(plan_decide, region.pool)


def apply(store: Store, decided: Decided, touches: tuple[int, ...] = ()) -> Applied:
    return store.transact_wait(None, plan_apply, decided, touches, epoch=3, now_us=T0_US + 5, cell=0)


def states(region: RegionRows, job: str) -> list[str]:
    rows = sorted(region.rows(schema.tasks, job_id=job), key=lambda row: row.ordinal)
    return [row.state for row in rows]


def change_host(store: Store, host: str, **values: Any) -> None:
    def work(connection: Connection) -> None:
        table = schema.hosts
        more = {"generation": table.c.generation + 1} | values
        connection.execute(table.update().where(table.c.id == host).values(**more))

    store.transact_wait(None, work)


def ask(*devices: DeviceRequest) -> Resources:
    return Resources(cpu_milli=100, devices=devices)


def test_a_plan_becomes_attempts_with_their_plan(store: Store, region: RegionRows, hosts: list[str]) -> None:
    resources = Resources(cpu_milli=1_000, memory_bytes=1 << 30, disk_bytes=0)
    job = queue(store, region, array_size=3, resources=resources)
    decided = decide(store, region)
    applied = apply(store, decided)
    assert (applied.placed, applied.stale) == (3, ())
    attempts = region.rows(schema.attempts)
    assert [row.host_id for row in attempts] == [hosts[0], hosts[0], hosts[1]]
    assert [row.candidates for row in attempts] == [2, 2, 1]
    for row in attempts:
        assert (row.state, row.number, row.epoch, row.engine) == ("placed", 1, 3, "fake")
        assert (row.cpu_milli, row.memory_bytes, row.plan_id) == (1_000, 1 << 30, applied.plan_id)
        assert (row.placed_us, row.start_before_us) == (T0_US + 5, T0_US + 5 + START_WINDOW_US)
        assert row.lease_us is None
    assert (states(region, job), region.rows(schema.jobs)[0].state) == (["active"] * 3, "running")
    assert len(region.rows(schema.events)) == 3


def test_a_plan_is_kept_with_what_it_was_decided_on(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    queue(store, region, array_size=5)
    decided = decide(store, region)
    applied = apply(store, decided)
    (kept,) = region.rows(schema.plans)
    assert (kept.id, kept.pool_id, kept.seed, kept.policy) == (applied.plan_id, region.pool, SEED, "best_fit")
    assert (kept.decided_us, kept.base_id, kept.previous_id) == (T0_US, kept.id, None)
    said = plan_body(kept.body)
    assert (said.placed, said.refused) == (decided.plan.placed, decided.plan.refused)
    assert (len(said.placed), len(said.refused)) == (4, 1)
    again, digest = replay(store.read_wait(plan_chain, kept.id))
    assert (again, digest) == (decided.plan, kept.snapshot_digest)


def test_what_was_placed_is_not_free_when_it_is_read_again(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    job = queue(store, region, array_size=3)
    apply(store, decide(store, region))
    views = store.read_wait(hosts_of_pool, region.pool)
    assert [sum(holding.cpu_milli for holding in view.holdings) for view in views] == [2_000, 1_000]
    assert [view.generation for view in views] == [1, 1]
    assert {holding.job_id for view in views for holding in view.holdings} == {job}
    assert decide(store, region).plan.placed == ()


def test_only_a_job_to_be_replaced_has_a_lease(store: Store, region: RegionRows, hosts: list[str]) -> None:
    queue(store, region, on_host_lost=HostLossPolicy.REPLACE)
    apply(store, decide(store, region))
    assert region.rows(schema.attempts)[0].lease_us == T0_US + 5 + LEASE_US


@pytest.mark.parametrize(
    "change", [{}, {"state": "draining"}, {"state": "quarantined"}, {"health": "lost"}], ids=str
)
def test_a_host_that_changed_takes_nothing_and_the_others_do(
    store: Store, region: RegionRows, hosts: list[str], change: dict[str, str]
) -> None:
    job = queue(store, region, array_size=4)
    decided = decide(store, region)
    change_host(store, hosts[0], **change)
    applied = apply(store, decided)
    assert (applied.placed, applied.stale) == (2, (hosts[0],))
    assert states(region, job) == ["queued", "queued", "active", "active"]
    assert {row.host_id for row in region.rows(schema.attempts)} == {hosts[1]}


def test_a_host_that_does_not_take_work_any_more_is_seen_without_its_generation(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    queue(store, region, array_size=1)
    decided = decide(store, region)
    store.transact_wait(None, lambda c: c.execute(schema.hosts.update(), {"state": "draining"}))
    assert apply(store, decided).placed == 0
    assert region.rows(schema.plans) == []


def test_a_gang_with_a_stale_host_is_dropped_whole_and_the_rest_placed(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    gang = queue(store, region, gang=True, array_size=3, priority=1)
    single = queue(store, region)
    decided = decide(store, region)
    assert len(decided.plan.placed) == 4
    change_host(store, hosts[0])
    assert apply(store, decided).placed == 1
    assert (states(region, gang), states(region, single)) == (["queued"] * 3, ["active"])
    again = decide(store, region)
    assert apply(store, again).placed == 3, "decided again on hosts as they are"


def test_a_gang_that_lost_a_member_waits_and_its_hosts_are_read_again(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    queue(store, region, gang=True, array_size=3)
    decided = decide(store, region)
    lost = decided.plan.placed[0].task_id
    table = schema.tasks
    store.transact_wait(
        None, lambda c: c.execute(table.update().where(table.c.id == lost).values(state="cancelled"))
    )
    taken = tuple(touch.id for touch in store.read_wait(touches_read))
    applied = apply(store, decided, taken)
    assert (applied.placed, applied.stale) == (0, ())
    assert {touch.host_id for touch in store.read_wait(touches_read)} == set(hosts)


def test_a_task_that_was_cancelled_meanwhile_is_not_placed(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    cancelled, kept = queue(store, region), queue(store, region)
    decided = decide(store, region)
    store.transact_wait(None, job_cancel, cancelled, T0_US, "changed my mind")
    assert apply(store, decided).placed == 1
    assert (states(region, cancelled), states(region, kept)) == (["cancelled"], ["active"])


def test_a_plan_applied_twice_places_once(store: Store, region: RegionRows, hosts: list[str]) -> None:
    queue(store, region, array_size=4)
    decided = decide(store, region)
    assert [apply(store, decided).placed, apply(store, decided).placed] == [4, 0]
    assert len(region.rows(schema.attempts)) == 4
    assert len(region.rows(schema.plans)) == 1


def test_an_organization_over_its_quota_waits_and_the_others_are_placed(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    one = queue(store, region, array_size=2)
    two = queue(store, region, organization="two")
    args = (region.organizations["one"], QuotaResource.CPU_MILLI, 1_999, T0_US)
    store.transact_wait(None, quota_put, *args)
    applied = apply(store, decide(store, region))
    assert (states(region, one), states(region, two)) == (["queued"] * 2, ["active"])
    assert applied.task_ids == {row.id for row in region.rows(schema.tasks, job_id=two)}
    assert applied.refused_organizations == {region.organizations["one"]}


def test_touches_are_taken_with_the_plan_and_written_for_its_hosts(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    queue(store, region)
    decided = decide(store, region)
    touches = store.read_wait(touches_read)
    assert [touch.host_id for touch in touches] == hosts
    region.touch(hosts[1])
    apply(store, decided, tuple(touch.id for touch in touches))
    left = store.read_wait(touches_read)
    assert [touch.host_id for touch in left] == [hosts[1], hosts[0]], "one came later, one is of the plan"


def test_a_device_is_held_by_as_many_as_it_has_thousandths_for(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    device = region.device_add(hosts[0], 0)
    queue(store, region, array_size=3, resources=ask(DeviceRequest("gpu", milli=400)))
    decided = decide(store, region)
    assert [one.devices for one in decided.plan.placed] == [((device, 400),)] * 2
    apply(store, decided)
    assert [(row.device_id, row.milli) for row in region.rows(schema.attempt_devices)] == [(device, 400)] * 2
    assert region.rows(schema.devices)[0].milli_used == 800
    (view,) = [view for view in store.read_wait(hosts_of_pool, region.pool) if view.devices]
    assert [holding.devices for holding in view.holdings] == [((device, 400),)] * 2
    assert decide(store, region).plan.placed == ()


def test_a_third_share_that_is_too_much_is_refused_by_the_row_itself(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    device = region.device_add(hosts[0], 0)
    queue(store, region, array_size=2, resources=ask(DeviceRequest("gpu", milli=400)))
    apply(store, decide(store, region))
    job = queue(store, region, resources=ask(DeviceRequest("gpu", milli=200)))
    decided = decide(store, region)
    (placed,) = decided.plan.placed
    too_much = replace(decided.plan, placed=(replace(placed, devices=((device, 201),)),))
    with pytest.raises(ImpossibleState):
        apply(store, replace(decided, plan=too_much))
    assert (states(region, job), region.rows(schema.devices)[0].milli_used) == (["queued"], 800)
    assert apply(store, decided).placed == 1
    assert region.rows(schema.devices)[0].milli_used == 1_000
    with pytest.raises(ImpossibleState):
        store.transact_wait(None, devices_take, [(device, -1_001)])


def test_what_an_attempt_held_is_free_when_it_has_ended(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    devices = [region.device_add(hosts[0], ordinal) for ordinal in range(2)]
    queue(store, region, array_size=2, resources=ask(DeviceRequest("gpu"), DeviceRequest("gpu", milli=1)))
    decided = decide(store, region)
    apply(store, decided)
    assert [row.milli_used for row in region.rows(schema.devices)] in ([1_000, 1], [1, 1_000])
    (attempt,) = region.rows(schema.attempts)
    assert {row.device_id for row in region.rows(schema.attempt_devices)} == set(devices)
    region.touch(hosts[1])
    before = {touch.id for touch in store.read_wait(touches_read)}
    end = AttemptEnd(attempt.id, AttemptOutcome.EXITED, 0, None, T0_US + 6, T0_US + 7, 0, 0, "")
    store.transact_wait(None, attempts_end, [end], T0_US + 8)
    assert [row.milli_used for row in region.rows(schema.devices)] == [0, 0]
    assert all(row.released for row in region.rows(schema.attempt_devices))
    new = [touch.host_id for touch in store.read_wait(touches_read) if touch.id not in before]
    assert new == [hosts[0]], "placement is told of the room"
    assert apply(store, decide(store, region)).placed == 1


def test_an_attempt_holds_a_device_once(store: Store, region: RegionRows, hosts: list[str]) -> None:
    device = region.device_add(hosts[0], 0)
    queue(store, region, resources=ask(DeviceRequest("gpu", milli=400)))
    apply(store, decide(store, region))
    (held,) = region.rows(schema.attempt_devices)
    with pytest.raises(DuplicateRow):
        region.write(schema.attempt_devices, {"attempt_id": held.attempt_id, "device_id": device})


def test_where_work_runs_is_told_longer_than_its_plan_is_kept(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    job = queue(store, region)
    applied = apply(store, decide(store, region))
    (told,) = store.read_wait(placements_of, job)
    assert (told.policy, told.plan, len(told.best)) == ("best_fit", applied.plan_id, 2)
    store.transact_wait(None, plans_drop, T0_US + 1, 10)
    (left,) = store.read_wait(placements_of, job)
    assert left == msgspec.structs.replace(told, policy="", best=())


def test_plans_are_dropped_when_no_later_one_needs_them(
    store: Store, region: RegionRows, hosts: list[str]
) -> None:
    kept: list[Any] = []
    for number, follows in enumerate((False, True, True, False)):
        queue(store, region, resources=Resources(cpu_milli=100))
        decided = decide(store, region)
        base = kept[0].base_id if follows else None
        plan = replace(decided.plan, decided_us=T0_US + number)
        apply(store, replace(decided, plan=plan, base_id=base, previous_id=kept[-1].id if follows else None))
        kept.append(region.rows(schema.plans)[-1])
    ids = [row.id for row in kept]
    assert [row.base_id for row in kept] == [ids[0]] * 3 + [ids[3]]
    assert len(store.read_wait(plan_chain, ids[2])) == 3

    def drop(before_us: int, limit: int = 10) -> list[str]:
        store.transact_wait(None, plans_drop, T0_US + before_us, limit)
        return [row.id for row in region.rows(schema.plans)]

    assert drop(2) == ids, "the third is recomputed from the first two"
    assert drop(3) == ids[3:]
    assert drop(4, limit=0) == ids[3:]
    assert drop(4) == []
