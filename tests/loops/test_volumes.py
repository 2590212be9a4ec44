"""What loops do where a volume cannot be reached: it waits, says why, and keeps nobody else waiting."""

from typing import Any

import pytest
from loop_world import NoVolumes, World

from kumoi.engines.base import Stream
from kumoi.loops import retention
from kumoi.loops.context import Retention
from kumoi.loops.tasks import tasks_activate
from kumoi.model.jobs import JobSpec
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.keys.errors import KeyWithdrawn
from kumoi.store.volumes.errors import VolumeUnavailable

SPEC = JobSpec(command=("true",))
DAY_S = 86_400


@pytest.fixture
def world(sqlite_store: Store) -> World:
    made = World(sqlite_store)
    made.retention = Retention(task_log_s=10 * DAY_S, job_s=100 * DAY_S)
    made.start()
    return made


def volumes(world: World) -> NoVolumes:
    made = world.context.volumes
    assert isinstance(made, NoVolumes)
    return made


def organization(world: World, job: str) -> str:
    return str(world.job(job).organization_id)


def test_a_volume_is_there_before_its_task(world: World) -> None:
    job = world.region.job_add(SPEC)
    world.rounds(1)
    assert volumes(world).ensured == [organization(world, job)]
    assert world.running(job)


def test_a_start_waits_for_a_volume_as_long_as_it_may_start(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    job = world.region.job_add(SPEC)
    other = world.region.job_add(SPEC, organization="two")
    volumes(world).failures[organization(world, job)] = VolumeUnavailable("gocryptfs does not answer")
    world.rounds(2)
    assert (world.running(job), len(world.running(other))) == ([], 1)
    assert "gocryptfs does not answer" in caplog.text
    assert [row.state for row in world.attempts(job)] == ["placed"]
    volumes(world).failures.clear()
    world.rounds(1)
    assert world.running(job)


def test_a_start_that_waited_too_long_ends_with_the_reason(world: World) -> None:
    job = world.region.job_add(SPEC)
    volumes(world).failures[organization(world, job)] = VolumeUnavailable("gocryptfs does not answer")
    world.rounds(1)
    world.clock.pass_s(61)
    world.activate("tasks")
    first = world.attempts(job)[0]
    assert (first.state, first.outcome, first.detail) == (
        "ended",
        "start_failed",
        "gocryptfs does not answer",
    )


def test_work_of_a_withdrawn_volume_goes_back_to_its_queue(world: World) -> None:
    job = world.region.job_add(SPEC)
    volumes(world).failures[organization(world, job)] = KeyWithdrawn(organization(world, job), "a test")
    world.activate("hosts", "jobs", "placement")
    tasks_activate(world.context, world.fences["tasks"])
    assert world.engine.starts == {}
    assert [row.preempted for row in world.attempts(job)] == [True], "no try is spent"
    volumes(world).failures.clear()
    world.rounds(3)
    assert world.running(job)


def logs(world: World, *jobs: str) -> list[bytes]:
    def read(ref: str) -> Any:
        return world.engine.log_read(ref, Stream.STDOUT, 0, 100).data

    return [read(world.attempts(job)[0].id) for job in jobs]


def test_logs_that_cannot_be_reached_are_removed_later_and_the_others_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The withdrawn organization's come first, and are more than one look takes."""
    monkeypatch.setattr(retention, "LIMIT", 2)
    mine = [world.region.job_add(SPEC) for _ in range(5)]
    other = world.region.job_add(SPEC, organization="two")
    world.rounds(1)
    for job in (*mine, other):
        world.engine.log_append(world.running(job)[0], Stream.STDOUT, b"hello")
    world.clock.pass_s(1)
    for job in (*mine, other):
        world.finish(job)
    world.rounds(1)
    world.clock.pass_s(11 * DAY_S)
    withdrawn = KeyWithdrawn(organization(world, mine[0]), "a test")
    volumes(world).failures[withdrawn.organization_id] = withdrawn
    world.activate("retention")
    assert logs(world, *mine, other) == [b"hello"] * 5 + [b""]
    volumes(world).failures.clear()
    world.activate("retention")
    assert logs(world, *mine) == [b""] * 5
    assert {row.log_purged for row in world.region.rows(schema.attempts)} == {True}
