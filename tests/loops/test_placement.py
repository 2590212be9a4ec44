"""What is placed where and when: order, pools, hosts, devices, tenants."""

from typing import Any

from loop_world import HOUR_US, World, check_ended
from region_rows import GIB, T0_US

from kumoi.model.jobs import DeviceRequest, JobSpec, Resources
from kumoi.store import schema


def spec(**more: Any) -> JobSpec:
    return JobSpec(**({"command": ("true",)} | more))


def submit(world: World, **more: Any) -> str:
    return world.region.job_add(spec(**more))


def test_jobs_go_by_priority_then_by_age(world: World) -> None:
    one_at_a_time = Resources(cpu_milli=8_000)
    names = {
        submit(world, priority=priority, resources=one_at_a_time): name
        for name, priority in (("old", 0), ("low", -5), ("high", 10), ("young", 0))
    }
    order = []
    for _ in range(4):
        world.rounds(2)
        ref = world.engine.running()[0]
        order += [names[row.job_id] for row in world.attempts() if row.id == ref]
        world.engine.finish(ref)
    world.rounds(1)
    assert order == ["high", "old", "young", "low"]
    check_ended(world)


def test_a_paused_pool_holds_its_jobs_and_costs_nothing(world: World) -> None:
    world.rounds(1)
    world.set(schema.pools, world.region.pool, state="paused")
    for _ in range(20):
        submit(world, array_size=10)
    before = {table: len(world.region.rows(table)) for table in (schema.tasks, schema.plans, schema.attempts)}
    writes: list[str] = []
    original = world.store.transact_wait
    world.store.transact_wait = lambda fence, work, *a, **k: (  # type: ignore[method-assign]
        writes.append(work.__name__),
        original(fence, work, *a, **k),
    )[1]
    world.activate("jobs", "placement", "tasks")
    del world.store.transact_wait
    assert writes == [], "a paused pool writes nothing"
    after_all = {
        table: len(world.region.rows(table)) for table in (schema.tasks, schema.plans, schema.attempts)
    }
    assert after_all == before
    assert {row.state for row in world.region.rows(schema.jobs)} == {"pending"}
    world.set(schema.pools, world.region.pool, state="open")
    world.rounds(1)
    assert len(world.engine.running()) == 8


def test_a_pool_paused_after_the_snapshot_places_nothing(world: World) -> None:
    job = submit(world)
    world.activate("hosts", "jobs")
    original = world.store.read_wait

    def read_wait(query: Any, *args: Any, **kwargs: Any) -> Any:
        found = original(query, *args, **kwargs)
        if query.__name__ == "pass_read":
            world.set(schema.pools, world.region.pool, state="paused")
        return found

    world.store.read_wait = read_wait  # type: ignore[method-assign]
    world.activate("placement")
    del world.store.read_wait
    assert world.attempts(job) == []


def test_a_full_pool_does_not_keep_the_others_waiting(world: World) -> None:
    other = world.region.pool_add("other")
    host = world.region.host_add("host-2", pool_id=other)
    world.activate("hosts")
    for _ in range(8):
        submit(world, array_size=100, priority=5, resources=Resources(cpu_milli=8_000))
    job = world.region.job_add(spec(), pool_id=other)
    world.rounds(2)
    assert [row.host_id for row in world.attempts(job)] == [host]


def test_tasks_that_fit_nowhere_do_not_keep_others_waiting(world: World) -> None:
    submit(world, array_size=300, resources=Resources(memory_bytes=1_000 * GIB))
    job = submit(world)
    world.rounds(2)
    assert world.state(job) == "running"


def test_a_drained_host_takes_nothing_and_goes_to_maintenance_when_it_is_empty(
    world_of_each: World,
) -> None:
    world = world_of_each
    job = submit(world)
    world.rounds(1)
    host = world.region.rows(schema.hosts)[0].id
    world.set(schema.hosts, host, state="draining")
    later = submit(world)
    world.rounds(2)
    assert (world.state(later), world.region.rows(schema.hosts)[0].state) == ("queued", "draining")
    world.finish(job)
    world.rounds(2)
    assert world.region.rows(schema.hosts)[0].state == "maintenance"
    assert world.state(later) == "queued"
    world.set(schema.hosts, host, state="schedulable")
    world.rounds(2)
    world.finish(later)
    world.rounds(1)
    check_ended(world)


def test_devices_are_given_to_one_attempt_and_given_back(
    world_of_each: World,
) -> None:
    world = world_of_each
    world.activate("hosts")
    host = world.region.rows(schema.hosts)[0].id
    for ordinal in range(2):
        world.region.device_add(host, ordinal)
    job = submit(world, array_size=3, resources=Resources(devices=(DeviceRequest("gpu"),)))
    seen: list[Any] = []
    original = world.engine.ensure
    world.engine.ensure = lambda specs: (seen.extend(specs), original(specs))[1]  # type: ignore[method-assign]
    world.rounds(2)
    assert sorted(one.device_paths for one in seen) == [("/dev/gpu0",), ("/dev/gpu1",)]
    assert len(world.running(job)) == 2
    world.clock.pass_s(1)
    world.engine.finish(world.running(job)[0])
    world.rounds(2)
    assert len(seen) == 3
    world.clock.pass_s(1)
    world.finish(job)
    world.rounds(1)
    assert {row.device_milli for row in world.region.rows(schema.usage_intervals)} == {1_000}
    check_ended(world)


def test_organizations_do_not_share_a_kernel_unless_the_pool_says_so(world: World) -> None:
    world.set(schema.pools, world.region.pool, shared_by_organizations=False)
    one = submit(world)
    two = world.region.job_add(spec(), organization="two")
    world.rounds(2)
    assert (world.state(one), world.state(two)) == ("running", "queued")
    world.finish(one)
    world.rounds(2)
    assert world.state(two) == "running"


def test_a_job_of_many_tasks_runs_through(world: World) -> None:
    job = submit(world, array_size=600, resources=Resources(cpu_milli=50, memory_bytes=4 << 20))
    for _ in range(12):
        world.rounds(1)
        world.clock.pass_s(1)
        world.finish(job)
        if world.state(job) == "succeeded":
            break
    assert world.state(job) == "succeeded"
    assert world.clock.now_us < T0_US + HOUR_US
    check_ended(world)


def test_work_that_no_host_can_take_keeps_nobody_from_their_turn(world: World) -> None:
    """Another organization's impossible tasks, however many and however urgent, are in nobody's way."""
    impossible = spec(array_size=2_000, priority=1_000, resources=Resources(cpu_milli=1_000_000))
    large = world.region.job_add(impossible, organization="two")
    world.rounds(1)
    small = submit(world)
    world.rounds(3)
    assert world.state(small) == "running"
    assert world.state(large) == "queued"


def test_an_organization_waits_behind_its_own_work_only(world: World) -> None:
    mine = [submit(world, resources=Resources(cpu_milli=1_000_000)) for _ in range(1_200)]
    world.rounds(1)
    other = world.region.job_add(spec(), organization="two")
    world.rounds(3)
    assert world.state(other) == "running"
    states = [world.state(job) for job in mine]
    assert states.count("queued") == 1_000
    assert states.count("pending") == 200
