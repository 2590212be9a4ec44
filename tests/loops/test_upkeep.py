"""Lost hosts, leases, meters and silent engines."""

from typing import Any

import pytest
from loop_world import HOUR_US, MINUTE_US, S_US, World, check_consistent, check_ended, report
from region_rows import T0_US

from kumoi.engines.base import EngineUnavailable
from kumoi.engines.fake import FakeEngine
from kumoi.model.jobs import HostLossPolicy, JobSpec, Resources, RetryPolicy
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import StaleState

LOSS = RetryPolicy(limit=2)
REPLACE = {"on_host_lost": HostLossPolicy.REPLACE, "retries": LOSS}
WAIT = {"on_host_lost": HostLossPolicy.WAIT, "retries": LOSS}


def submit(world: World, **more: Any) -> str:
    resources = Resources(wall_time_s=20 * 86_400)
    return world.region.job_add(JobSpec(**({"command": ("true",), "resources": resources} | more)))


def intervals(world: World) -> list[tuple[int, int]]:
    return [(row.start_us - T0_US, row.end_us - T0_US) for row in world.region.rows(schema.usage_intervals)]


@pytest.mark.parametrize("failure", [EngineUnavailable("away"), StaleState("stale"), ValueError("defect")])
def test_shares_are_kept_whatever_fails_before(
    world: World, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    submit(world)
    world.rounds(1)
    world.store.transact_wait(None, lambda c: c.execute(schema.pool_uses.delete()))

    def fail(*args: Any) -> None:
        raise failure

    monkeypatch.setattr(world.engine, "observe", fail)
    with pytest.raises(type(failure)):
        world.activate("upkeep")
    assert len(world.region.rows(schema.pool_uses)) == 1


# Leases: "replace" gives up a host after the lease has run out, and never earlier.


def test_a_lease_is_moved_as_long_as_the_engine_answers(world: World) -> None:
    job = submit(world, **REPLACE)
    world.rounds(1)
    for _ in range(20):
        world.clock.pass_s(15)
        world.round()
        assert len(world.running(job)) == 1
        assert world.attempts(job)[0].lease_us > world.clock()
    assert world.engine.starts.total() == 1
    world.finish(job)
    world.round()
    check_ended(world)


def test_a_job_that_waits_has_no_lease_and_outlives_a_silent_engine(world: World) -> None:
    job = submit(world, **WAIT)
    world.rounds(1)
    world.engine.available = False
    for _ in range(10):
        world.clock.pass_s(60)
        world.round()
    assert [row.state for row in world.attempts(job)] == ["running"]
    world.engine.available = True
    world.finish(job)
    world.rounds(2)
    assert (world.state(job), len(world.attempts(job))) == ("succeeded", 1)
    check_ended(world)


def test_a_job_to_be_replaced_is_tried_again_only_after_its_lease_has_run_out(world: World) -> None:
    """The engine goes silent. Whatever ran there ends itself by its lease; only then may another start."""
    job = submit(world, **REPLACE)
    world.rounds(1)
    first = world.running(job)[0]
    lease_us = world.attempts(job)[0].lease_us
    world.engine.available = False
    world.engine.hosts = lambda: (report("fake-2"),)  # type: ignore[method-assign]
    while len(world.attempts(job)) == 1 and world.clock() < T0_US + 10 * MINUTE_US:
        world.clock.pass_s(5)
        world.round()
        for row in world.attempts(job)[1:]:
            assert row.placed_us > lease_us, "a second attempt before the end of the first one's lease"
    assert len(world.attempts(job)) == 2
    assert world.attempts(job)[0].outcome == "host_lost"
    assert world.attempts(job)[0].ended_us == lease_us
    world.engine.available = True
    world.rounds(2)
    assert first not in world.engine.running()
    assert len(world.running(job)) == 1
    world.finish(job)
    world.rounds(2)
    assert world.state(job) == "succeeded"
    check_ended(world)


def test_a_lease_moved_in_the_store_but_not_at_the_engine_is_not_forgotten(world: World) -> None:
    """The plane dies between the two: the engine may end the attempt early, never late."""
    job = submit(world, **REPLACE)
    world.rounds(1)
    world.clock.pass_s(30)
    world.engine.fail_next(EngineUnavailable("gone"), method="renew")
    world.round()
    assert world.attempts(job)[0].lease_us == world.clock() + 60 * S_US
    world.clock.pass_s(31)
    world.rounds(3)
    assert [row.outcome for row in world.attempts(job)] == ["lease_lost", None]
    world.finish(job)
    world.rounds(2)
    check_ended(world)


def test_a_host_that_the_engine_lost_is_left_alone_until_it_returns(world: World) -> None:
    job = submit(world, **WAIT)
    world.rounds(1)
    world.engine.host_lose()
    world.rounds(2)
    host = world.region.rows(schema.hosts)[0]
    assert (host.health, world.attempts(job)[0].outcome) == ("lost", "host_lost")
    assert world.state(job) == "running"
    assert len(world.attempts(job)) == 1, "there is no host to try again on"
    world.engine.host_return(boot_id="boot-2")
    world.rounds(2)
    assert [row.outcome for row in world.attempts(job)] == ["host_lost", None]
    world.finish(job)
    world.rounds(1)
    assert world.state(job) == "succeeded"
    check_ended(world)


def test_a_silent_host_is_lost_after_a_while_and_back_when_it_is_heard_of(world: World) -> None:
    world.rounds(1)
    world.engine.available = False
    for seconds, health in ((29, "up"), (2, "lost")):
        world.clock.pass_s(seconds)
        world.round()
        assert world.region.rows(schema.hosts)[0].health == health
    generation = world.region.rows(schema.hosts)[0].generation
    job = submit(world)
    world.rounds(2)
    assert world.attempts(job) == []
    world.engine.available = True
    world.rounds(2)
    host = world.region.rows(schema.hosts)[0]
    assert host.health == "up"
    assert host.generation > generation, "what was decided before is decided again"
    assert len(world.running(job)) == 1


def test_an_attempt_that_the_engine_does_not_know_any_more_is_lost(world: World) -> None:
    job = submit(world, **WAIT)
    world.rounds(1)
    ref = world.running(job)[0]
    del world.engine._attempts[ref]
    world.clock.pass_s(60)
    world.rounds(2)
    assert world.attempts(job)[0].state == "running", "it may only just have been started"
    world.clock.pass_s(11)
    world.rounds(2)
    assert [row.outcome for row in world.attempts(job)] == ["host_lost", None]
    assert world.attempts(job)[0].detail == "the engine lost it"


def test_more_attempts_than_a_page_are_watched_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kumoi.loops.upkeep.PAGE", 2)
    job = submit(world, array_size=5, **WAIT)
    world.rounds(1)
    refs = sorted(world.running(job))
    del world.engine._attempts[refs[-1]]
    world.clock.pass_s(71)
    world.activate("upkeep")
    ended = [row.id for row in world.attempts(job) if row.state == "ended"]
    assert ended == [refs[-1]]


# Engines side by side


def test_a_silent_engine_does_not_keep_the_others_waiting(sqlite_store: Store) -> None:
    world = World(sqlite_store)
    other = FakeEngine(world.clock, [report("other-1")])
    other.name = "other"
    pool = world.region.pool_add("other", engine="other")
    world.start(engines={"fake": world.engine, "other": other})
    silent = submit(world)
    job = world.region.job_add(
        JobSpec(
            command=("true",), resources=Resources(wall_time_s=86_400), on_host_lost=HostLossPolicy.REPLACE
        ),
        pool_id=pool,
    )
    world.rounds(2)
    assert [len(world.running(silent)), len(other.running())] == [1, 1]
    world.engine.available = False
    for _ in range(6):
        world.clock.pass_s(25)
        world.round()
    assert len(other.running()) == 1, "its lease was moved all the time"
    world.clock.pass_s(3_600)
    other.renew({ref: world.clock() + 60 * S_US for ref in other.running()})
    world.round()
    assert world.attempts(job)[0].state == "ended"
    assert world.region.rows(schema.usage_intervals) != []


# Meters


def test_full_hours_are_metered_while_a_task_runs_and_the_rest_at_its_end(world: World) -> None:
    job = submit(world, array_size=1)
    world.clock.pass_s(600)
    world.rounds(1)
    for _ in range(30):
        world.clock.pass_s(300)
        world.rounds(2)
    assert intervals(world) == [(600 * S_US, HOUR_US), (HOUR_US, 2 * HOUR_US)]
    check_consistent(world)
    world.finish(job, cpu_us=5)
    ended_us = world.clock() - T0_US
    world.rounds(2)
    assert intervals(world)[2:] == [(2 * HOUR_US, ended_us)]
    assert [row.cpu_us for row in world.region.rows(schema.usage_intervals)] == [0, 0, 5]
    check_ended(world)


def test_a_plane_that_slept_for_hours_meters_them_all(world: World) -> None:
    job = submit(world)
    world.rounds(1)
    world.clock.pass_s(5 * 3_600 + 1)
    world.rounds(2)
    assert intervals(world) == [(hour * HOUR_US, (hour + 1) * HOUR_US) for hour in range(5)]
    world.finish(job)
    world.rounds(1)
    check_ended(world)


def test_nothing_is_metered_after_the_end_though_it_is_heard_of_late(world: World) -> None:
    """The task ended before the hour was over, and the engine was silent until after it."""
    job = submit(world, **WAIT)
    world.rounds(1)
    world.clock.pass_s(1_800)
    world.finish(job, cpu_us=3)
    world.engine.available = False
    world.clock.pass_s(3_600)
    world.rounds(2)
    assert intervals(world) == []
    world.engine.available = True
    world.rounds(2)
    assert intervals(world) == [(0, HOUR_US // 2)]
    assert world.region.rows(schema.usage_intervals)[0].cpu_us == 3
    check_ended(world)


def test_a_task_that_ended_at_once_costs_nothing_and_has_an_end(world: World) -> None:
    job = submit(world)
    world.rounds(1)
    world.finish(job)
    world.rounds(1)
    assert intervals(world) == []
    check_ended(world)


def test_all_attempts_are_metered_though_a_pass_does_some(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kumoi.loops.upkeep.METER_LIMIT", 2)
    submit(world, array_size=5)
    world.rounds(1)
    world.clock.pass_s(3_600)
    world.rounds(3)
    assert intervals(world) == [(0, HOUR_US)] * 5


# Hosts


def test_hosts_join_the_pool_of_their_engine(sqlite_store: Store) -> None:
    world = World(sqlite_store, hosts=[report("a"), report("b", cpu_milli=500)])
    world.activate("hosts", "hosts")
    hosts = world.region.rows(schema.hosts)
    assert [(row.name, row.cpu_milli, row.pool_id) for row in hosts] == [
        ("a", 8_000, world.region.pool),
        ("b", 500, world.region.pool),
    ]
    assert [(row.health, row.boot_id) for row in hosts] == [("up", "boot-1")] * 2


def test_a_host_that_reports_the_same_changes_nothing_but_when_it_was_seen(world: World) -> None:
    world.activate("hosts")
    before = world.region.rows(schema.hosts)[0]
    world.clock.pass_s(10)
    world.activate("hosts")
    after = world.region.rows(schema.hosts)[0]
    assert after.seen_us == before.seen_us + 10 * S_US
    assert (after.generation, after.version) == (before.generation, before.version)
    assert len(world.region.rows(schema.events)) == 1
