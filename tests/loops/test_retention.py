"""Every kind of record is kept for its time, and dropped a bounded part at a time."""

from typing import Any

import pytest
from loop_world import INCARNATION, MINUTE_US, S_US, World
from region_rows import T0_US

from kumoi.engines.base import Stream
from kumoi.loops import retention
from kumoi.loops.context import Retention
from kumoi.model.idempotency import NO_PROJECT, IdempotencyKey
from kumoi.model.jobs import Dependency, JobSpec
from kumoi.store import schema
from kumoi.store.access import refusal_add
from kumoi.store.database import Store
from kumoi.store.writer import Change

DAY_S = 86_400


@pytest.fixture
def world(sqlite_store: Store) -> World:
    made = World(sqlite_store)
    made.retention = Retention(task_log_s=10 * DAY_S, job_s=100 * DAY_S, plan_s=20 * DAY_S)
    made.start()
    return made


def run(world: World, **more: Any) -> str:
    job = world.region.job_add(JobSpec(command=("true",), **more))
    world.rounds(1)
    world.engine.log_append(world.running(job)[0], Stream.STDOUT, b"hello")
    world.clock.pass_s(1)
    world.finish(job)
    world.rounds(1)
    return job


def log(world: World, ref: str) -> bytes:
    return world.engine.log_read(ref, Stream.STDOUT, 0, 100).data


def test_logs_plans_and_jobs_each_have_their_time(world: World) -> None:
    job = run(world)
    ref = world.attempts(job)[0].id
    kept = []
    for days in (9, 2, 10, 78, 2):
        world.clock.pass_s(days * DAY_S)
        world.activate("retention")
        rows = world.region.rows
        kept.append((log(world, ref), len(rows(schema.plans)), len(rows(schema.jobs)), len(world.attempts())))
    assert kept == [(b"hello", 1, 1, 1), (b"", 1, 1, 1), (b"", 0, 1, 1), (b"", 0, 1, 1), (b"", 0, 0, 0)]


def test_a_dropped_job_leaves_tombstones_events_and_its_usage(world: World) -> None:
    job = run(world, array_size=2)
    refs = [row.id for row in world.attempts(job)]
    events = {row.id for row in world.region.rows(schema.events)}
    world.clock.pass_s(101 * DAY_S)
    world.activate("retention", "retention")
    assert world.region.rows(schema.tasks) == []
    graves = world.region.rows(schema.tombstones)
    assert sorted(row.ref for row in graves) == sorted(refs)
    assert {(row.engine, row.incarnation, row.purged) for row in graves} == {("fake", INCARNATION, True)}
    assert len(world.region.rows(schema.usage_intervals)) == 2
    assert events <= {row.id for row in world.region.rows(schema.events)}


def test_a_job_that_has_not_ended_is_kept_whatever_its_age(world: World) -> None:
    job = world.region.job_add(JobSpec(command=("true",)))
    world.clock.pass_s(1_000 * DAY_S)
    world.activate("retention")
    assert world.state(job) == "pending"


def test_a_job_is_kept_while_another_waits_for_it(world: World) -> None:
    first = run(world)
    world.set(schema.pools, world.region.pool, state="paused")
    other = world.region.job_add(JobSpec(command=("true",)))
    job = world.region.job_add(JobSpec(command=("true",), depends_on=(Dependency(first), Dependency(other))))
    world.clock.pass_s(101 * DAY_S)
    world.activate("retention")
    assert world.state(first) == "succeeded"
    world.set(schema.pools, world.region.pool, state="open")
    world.rounds(1)
    world.finish(other)
    world.rounds(2)
    assert world.state(job) == "running"
    world.activate("retention")
    assert world.region.rows(schema.jobs, id=first) == []


def test_answers_of_idempotency_keys_are_kept_for_a_day(world: World) -> None:
    key = IdempotencyKey("usr", NO_PROJECT, "POST /jobs", "k", bytes(32))
    world.store.commit_wait(Change(key=key))
    written_us = world.region.rows(schema.idempotency_keys)[0].created_us
    for after_us, left in ((24 * 3_600 * S_US, 1), (24 * 3_600 * S_US + 1, 0)):
        world.clock.now_us = written_us + after_us
        world.activate("retention")
        assert len(world.region.rows(schema.idempotency_keys)) == left


def test_refusals_of_a_minute_become_one_event_when_it_is_over(world: World) -> None:
    actor, organization = world.region.users["one"], world.region.organizations["one"]
    for count in (1, 1, 2):
        world.store.transact_wait(None, refusal_add, actor, organization, "job_read", T0_US, count)
    world.clock.now_us = T0_US + MINUTE_US - 1
    world.activate("retention")
    assert world.region.rows(schema.events) == []
    world.clock.now_us = T0_US + MINUTE_US
    world.activate("retention", "retention")
    events = world.region.rows(schema.events)
    assert len(events) == 1
    for part in ('"refused":4', '"outcome":"refused"', '"action":"job_read"', actor):
        assert part in events[0].canonical
    assert world.region.rows(schema.refusals) == []


def test_much_is_dropped_in_bounded_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "LIMIT", 2)
    for _ in range(5):
        run(world)
    world.clock.pass_s(101 * DAY_S)
    world.activate("retention")
    assert world.region.rows(schema.jobs) == []
    assert world.region.rows(schema.plans) == []
    assert {row.purged for row in world.region.rows(schema.tombstones)} == {True}
