"""From a submitted job to its end: tasks, attempts, retries, gangs, dependencies, cancellation."""

from typing import Any

import pytest
from loop_world import S_US, World, check_consistent, check_ended
from region_rows import T0_US

from kumoi.core.retries import START_DELAY_MAX_S, START_TRIES_MAX
from kumoi.engines.base import EngineUnavailable
from kumoi.model.jobs import (
    AttemptOutcome,
    Dependency,
    DependencyCondition,
    JobSpec,
    Resources,
    RetryPolicy,
    RetryReason,
)
from kumoi.store import schema
from kumoi.store.secrets import secret_seal_name
from kumoi.store.specs import content_pack, sealed_values, spec_seal_name

RETRY_EXIT = RetryPolicy(limit=1, on=(RetryReason.EXIT_CODE,))


def spec(**more: Any) -> JobSpec:
    return JobSpec(**({"command": ("true",)} | more))


def submit(world: World, **more: Any) -> str:
    return world.region.job_add(spec(**more))


def outcomes(world: World, job_id: str) -> list[str | None]:
    return [row.outcome for row in world.attempts(job_id)]


def test_a_job_runs_to_its_end(world_of_each: World) -> None:
    world = world_of_each
    job = submit(world, array_size=3)
    world.activate("hosts", "jobs")
    assert (world.state(job), [task.state for task in world.tasks(job)]) == ("queued", ["queued"] * 3)
    world.activate("placement")
    assert world.state(job) == "running"
    assert [task.state for task in world.tasks(job)] == ["active"] * 3
    assert [row.state for row in world.attempts(job)] == ["placed"] * 3
    assert world.engine.starts.total() == 0, "placement starts nothing"
    world.activate("tasks")
    assert [row.state for row in world.attempts(job)] == ["running"] * 3
    check_consistent(world)
    world.clock.pass_s(5)
    world.finish(job, cpu_us=7, memory_peak_bytes=9)
    world.activate("tasks")
    assert world.state(job) == "succeeded"
    assert world.job(job).ended_us == T0_US + 5 * S_US
    for row in world.attempts(job):
        assert (row.state, row.outcome, row.exit_code) == ("ended", "exited", 0)
        assert (row.started_us, row.ended_us) == (T0_US, T0_US + 5 * S_US)
        assert (row.cpu_us, row.memory_peak_bytes) == (7, 9)
    assert world.engine.ended(10) == [], "what is recorded is forgotten"
    check_ended(world)


def test_a_task_gets_what_it_needs(world: World) -> None:
    submit(
        world,
        command=("sh", "-c", "x"),
        array_size=2,
        environment={"A": "b"},
        resources=Resources(cpu_milli=500, memory_bytes=1 << 30, wall_time_s=9, processes=3),
    )
    seen: list[Any] = []
    original = world.engine.ensure
    world.engine.ensure = lambda specs: (seen.extend(specs), original(specs))[1]  # type: ignore[method-assign]
    world.rounds(1)
    assert [one.environment["KUMOI_TASK_INDEX"] for one in seen] == ["0", "1"]
    for one in seen:
        assert one.command == ("sh", "-c", "x")
        assert one.environment["A"] == "b"
        assert (one.environment["KUMOI_ARRAY_SIZE"], one.environment["KUMOI_ATTEMPT"]) == ("2", "1")
        limits = one.limits
        assert (limits.cpu_milli, limits.memory_bytes, limits.processes, limits.wall_time_s) == (
            *(500, 1 << 30),
            *(3, 9),
        )
        assert (one.project_id, one.project_number) == (world.region.projects["one"], 2)
        assert one.lease_expires_us is None
        assert one.start_before_us == T0_US + 60 * S_US


@pytest.mark.parametrize(
    ("how", "state", "reason"),
    [
        ({"exit_code": 3}, "failed", "exit code 3"),
        ({"outcome": AttemptOutcome.SIGNALLED, "signal": 11}, "failed", "signalled"),
        ({"outcome": AttemptOutcome.MEMORY}, "failed", "memory"),
        ({"outcome": AttemptOutcome.HOST_LOST}, "failed", "host_lost"),
        ({"exit_code": 0}, "succeeded", None),
    ],
    ids=str,
)
def test_a_job_ends_as_its_tasks_do(
    world: World, how: dict[str, Any], state: str, reason: str | None
) -> None:
    job = submit(world)
    world.rounds(1)
    world.finish(job, **how)
    world.rounds(2)
    assert (world.state(job), world.job(job).reason) == (state, reason)
    assert len(world.attempts(job)) == 1
    check_ended(world)


def test_one_failed_task_fails_the_job_after_all_have_ended(world: World) -> None:
    job = submit(world, array_size=3)
    world.rounds(1)
    first, *others = world.running(job)
    world.engine.finish(first, exit_code=2)
    world.rounds(2)
    assert world.state(job) == "running"
    for ref in others:
        world.engine.finish(ref)
    world.rounds(1)
    assert (world.state(job), world.job(job).reason) == ("failed", "exit code 2")
    check_ended(world)


def test_a_task_is_retried_by_its_policy_and_no_more(world: World) -> None:
    job = submit(world, retries=RETRY_EXIT)
    for number in (1, 2):
        world.rounds(2)
        assert [row.number for row in world.attempts(job)] == list(range(1, number + 1))
        world.finish(job, exit_code=1)
        world.clock.pass_s(1)
    world.rounds(3)
    assert world.state(job) == "failed"
    assert outcomes(world, job) == ["exited", "exited"]
    check_ended(world)


def test_a_retry_that_succeeds_makes_the_job_succeed(
    world_of_each: World,
) -> None:
    world = world_of_each
    job = submit(world, retries=RETRY_EXIT)
    world.rounds(1)
    world.finish(job, exit_code=1)
    world.rounds(2)
    world.finish(job)
    world.rounds(1)
    assert (world.state(job), world.tasks(job)[0].reason) == ("succeeded", None)
    check_ended(world)


def test_a_task_over_its_time_ends_and_is_retried_only_if_asked(world: World) -> None:
    limits = Resources(wall_time_s=10)
    once = submit(world, resources=limits)
    again = submit(world, resources=limits, retries=RetryPolicy(limit=1, on=(RetryReason.TIMEOUT,)))
    world.rounds(1)
    world.clock.pass_s(11)
    world.rounds(2)
    assert (world.state(once), world.job(once).reason) == ("failed", "timeout")
    assert outcomes(world, once) == ["timeout"]
    assert world.attempts(once)[0].ended_us == T0_US + 10 * S_US
    assert outcomes(world, again) == ["timeout", None]
    world.finish(again)
    world.rounds(1)
    assert world.state(again) == "succeeded"
    check_ended(world)


def test_a_start_that_the_engine_refuses_is_tried_a_few_times(world: World) -> None:
    job = submit(world)
    original = world.engine.ensure

    def refuse(specs: Any) -> Any:
        for one in specs:
            world.engine.refuse(one.ref, "there is no such thing here")
        return original(specs)

    world.engine.ensure = refuse  # type: ignore[method-assign]
    for _ in range(START_TRIES_MAX):
        world.rounds(1)
        world.clock.pass_s(START_DELAY_MAX_S)
    assert world.state(job) == "failed"
    assert outcomes(world, job) == ["start_failed"] * START_TRIES_MAX
    assert world.attempts(job)[0].detail == "there is no such thing here"
    assert world.region.rows(schema.usage_intervals) == []
    check_ended(world)


def test_an_engine_that_cannot_be_reached_starts_nothing_twice(world: World) -> None:
    job = submit(world, array_size=2)
    world.activate("hosts", "jobs", "placement")
    for after in (False, True):
        world.engine.fail_next(EngineUnavailable("gone"), method="ensure", after=after)
        with pytest.raises(EngineUnavailable):
            world.activate("tasks")
        assert [row.state for row in world.attempts(job)] == ["placed"] * 2
    world.rounds(1)
    assert [row.state for row in world.attempts(job)] == ["running"] * 2
    world.finish(job)
    world.rounds(1)
    check_ended(world)


def test_an_attempt_that_was_not_started_in_time_is_placed_again(world: World) -> None:
    job = submit(world)
    world.activate("hosts", "jobs", "placement")
    world.clock.pass_s(61)
    world.rounds(2)
    assert outcomes(world, job) == ["start_failed"]
    world.clock.pass_s(1)
    world.rounds(1)
    assert outcomes(world, job) == ["start_failed", None]
    world.finish(job)
    world.rounds(1)
    assert world.state(job) == "succeeded"
    check_ended(world)


def test_a_deleted_secret_fails_the_start_and_a_kept_one_reaches_the_task(world: World) -> None:
    kept, gone = submit(world, secrets={"file": "kept"}), submit(world, secrets={"file": "gone"})
    organization, project = world.region.organizations["one"], world.region.projects["one"]
    sealed = world.context.keys.seal(secret_seal_name(organization, project, "kept"), b"value")
    row = {
        "id": "sec_1",
        "organization_id": organization,
        "project_id": project,
        "name": "kept",
        "sealed": sealed.blob,
        "key_version": sealed.key_version,
        "created_us": T0_US,
        "updated_us": T0_US,
    }
    world.region.write(schema.secrets, row)
    seen: dict[str, Any] = {}
    original = world.engine.ensure

    def ensure(specs: Any) -> Any:
        seen.update({one.environment["KUMOI_JOB_ID"]: one.secrets for one in specs})
        return original(specs)

    world.engine.ensure = ensure  # type: ignore[method-assign]
    for _ in range(START_TRIES_MAX):
        world.rounds(1)
        world.clock.pass_s(START_DELAY_MAX_S)
    assert seen == {kept: {"file": b"value"}}
    assert world.state(gone) == "failed"
    assert "secret gone was deleted" in world.attempts(gone)[0].detail
    world.finish(kept)
    world.rounds(1)
    check_ended(world)


# Gangs


def gang(world: World, **more: Any) -> str:
    return submit(world, gang=True, **({"array_size": 3, "resources": Resources(cpu_milli=2_000)} | more))


def test_a_gang_waits_until_all_of_it_fits(world: World) -> None:
    other = submit(world, resources=Resources(cpu_milli=3_000))
    world.rounds(1)
    job = gang(world)
    small = submit(world, resources=Resources(cpu_milli=100))
    world.rounds(2)
    assert [task.state for task in world.tasks(job)] == ["queued"] * 3
    assert world.state(small) == "running", "what fits beside it goes on"
    world.finish(other)
    world.rounds(2)
    assert [task.state for task in world.tasks(job)] == ["active"] * 3
    world.finish(job)
    world.finish(small)
    world.rounds(1)
    check_ended(world)


def test_a_gang_of_which_one_fails_is_stopped(
    world_of_each: World,
) -> None:
    world = world_of_each
    job = gang(world)
    world.rounds(1)
    world.engine.finish(world.running(job)[0], exit_code=5)
    world.rounds(3)
    assert (world.state(job), world.job(job).reason) == ("failed", "exit code 5")
    assert sorted(map(str, outcomes(world, job))) == ["cancelled", "cancelled", "exited"]
    check_ended(world)


def test_a_gang_ends_though_a_member_waits_for_its_retry_when_another_fails(world: World) -> None:
    policy = RetryPolicy(limit=1, on=(RetryReason.EXIT_CODE,), exit_codes=(75,))
    job = gang(world, array_size=2, retries=policy)
    world.rounds(1)
    first, second = world.running(job)
    world.engine.finish(first, exit_code=75)
    world.engine.finish(second, exit_code=1)
    world.rounds(3)
    assert world.state(job) == "failed"
    check_ended(world)


def test_a_gang_ends_though_a_member_cannot_be_placed_again_when_another_fails(world: World) -> None:
    policy = RetryPolicy(limit=1, on=(RetryReason.EXIT_CODE,), exit_codes=(75,))
    job = gang(world, array_size=2, retries=policy)
    world.rounds(1)
    first, second = world.running(job)
    world.engine.finish(first, exit_code=75)
    world.set(schema.pools, world.region.pool, state="paused")
    world.rounds(2)
    world.engine.finish(second, exit_code=1)
    world.rounds(2)
    assert world.state(job) == "failed"
    check_ended(world)


# Dependencies


def after(*jobs: str, condition: DependencyCondition = DependencyCondition.SUCCEEDED) -> Any:
    return tuple(Dependency(job, condition) for job in jobs)


def test_a_job_waits_until_what_it_depends_on_has_succeeded(world: World) -> None:
    first, second = submit(world), submit(world)
    job = submit(world, depends_on=after(first, second))
    world.rounds(1)
    world.finish(first)
    world.rounds(2)
    assert world.state(job) == "waiting"
    world.finish(second)
    world.rounds(2)
    assert world.state(job) == "running"
    world.finish(job)
    world.rounds(1)
    check_ended(world)


def test_a_job_fails_along_the_whole_chain_when_what_it_depends_on_does(
    world_of_each: World,
) -> None:
    world = world_of_each
    first = submit(world)
    second = submit(world, depends_on=after(first))
    third = submit(world, depends_on=after(second))
    whatever = submit(world, depends_on=after(first, condition=DependencyCondition.ENDED))
    world.rounds(1)
    world.finish(first, exit_code=1)
    world.rounds(2)
    assert [world.state(job) for job in (first, second, third)] == ["failed"] * 3
    assert world.job(third).reason == "a dependency failed"
    assert world.state(whatever) == "running"
    world.finish(whatever)
    world.rounds(1)
    assert world.engine.starts.total() == 2
    check_ended(world)


def test_a_cancelled_dependency_has_ended_but_not_succeeded(world: World) -> None:
    first = submit(world)
    strict = submit(world, depends_on=after(first))
    loose = submit(world, depends_on=after(first, condition=DependencyCondition.ENDED))
    assert world.cancel(first) == "cancelled"
    world.rounds(2)
    assert world.state(strict) == "failed"
    assert world.state(loose) == "running"


# Cancellation


def test_a_job_is_cancelled_before_its_turn(world: World) -> None:
    first = submit(world)
    waiting = submit(world, depends_on=after(first))
    assert [world.cancel(job) for job in (first, waiting)] == ["cancelled"] * 2
    world.rounds(2)
    assert world.engine.starts.total() == 0
    assert world.cancel(first) is None, "what has ended cannot be cancelled"
    check_ended(world)


def test_a_queued_job_is_cancelled_at_once(world: World) -> None:
    job = submit(world, array_size=4)
    world.activate("jobs")
    assert world.cancel(job) == "cancelled"
    assert [task.state for task in world.tasks(job)] == ["cancelled"] * 4
    world.rounds(2)
    check_ended(world)


def test_a_placed_job_is_cancelled_and_never_starts(world: World) -> None:
    job = submit(world, array_size=2)
    world.activate("hosts", "jobs", "placement")
    assert world.cancel(job) == "cancelling"
    world.rounds(2)
    assert (world.state(job), world.engine.starts.total()) == ("cancelled", 0)
    assert outcomes(world, job) == ["cancelled"] * 2
    assert world.region.rows(schema.usage_intervals) == [], "what never ran costs nothing"
    check_ended(world)


def test_a_running_job_is_cancelled_when_its_tasks_have_ended(
    world_of_each: World,
) -> None:
    world = world_of_each
    world.engine.stop_lingers = True
    job = submit(world, array_size=2)
    world.rounds(1)
    world.clock.pass_s(2)
    assert world.cancel(job) == "cancelling"
    assert world.cancel(job) == "cancelling", "cancelling again changes nothing"
    world.rounds(2)
    assert world.state(job) == "cancelling"
    world.clock.pass_s(6)
    world.rounds(2)
    assert (world.state(job), world.job(job).reason) == ("cancelled", "cancelled by a test")
    check_ended(world)


def test_a_job_half_of_which_waits_is_cancelled_whole(world: World) -> None:
    job = submit(world, array_size=4, resources=Resources(cpu_milli=4_000))
    world.rounds(1)
    assert [task.state for task in world.tasks(job)] == ["active", "active", "queued", "queued"]
    world.cancel(job)
    world.rounds(2)
    assert [task.state for task in world.tasks(job)] == ["cancelled"] * 4
    check_ended(world)


def test_a_retry_is_not_made_for_a_cancelled_job(world: World) -> None:
    job = submit(world, retries=RETRY_EXIT)
    world.rounds(1)
    world.finish(job, exit_code=1)
    world.cancel(job)
    world.rounds(2)
    assert (world.state(job), outcomes(world, job)) == ("cancelled", ["exited"])
    check_ended(world)


def test_an_attempt_that_somebody_else_ended_does_not_count_as_success(world: World) -> None:
    job = submit(world)
    world.rounds(1)
    world.engine.stop(world.running(job), 0)
    world.rounds(2)
    assert world.state(job) == "failed"
    check_ended(world)


def test_tasks_of_a_withdrawn_key_wait_and_start_when_it_is_restored(world: World) -> None:
    job = submit(world)
    world.activate("hosts", "jobs", "placement")
    organization = world.region.organizations["one"]
    (row,) = world.region.rows(schema.jobs, id=job)
    sealed = world.context.keys.seal(
        spec_seal_name(organization, row.project_id), content_pack(JobSpec(("true",)))
    )
    world.set(schema.jobs, job, **sealed_values(sealed))
    holder = {"id": organization, "token": "hsm", "label": "key", "on_withdraw": "continue", "from_number": 2}
    world.region.write(
        schema.key_holders, holder | {"changed_us": T0_US, "state": "withdrawn", "cause": "its administrator"}
    )
    world.context.keys.forget(organization, "its administrator")
    world.rounds(3)
    assert outcomes(world, job) == ["preempted"]
    assert world.state(job) == "running"
    assert world.engine.running() == []
    world.set(schema.key_holders, organization, state="held")
    world.rounds(2)
    assert outcomes(world, job) == ["preempted", None]
    world.finish(job)
    world.rounds(1)
    assert world.state(job) == "succeeded"
    check_consistent(world)
