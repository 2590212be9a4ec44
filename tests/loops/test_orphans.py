"""What an engine runs and no row asks for is ended if it is ours for certain, a few at a time."""

import pytest
from loop_world import INCARNATION, World, attempt_spec
from region_rows import T0_US

from kumoi.loops import orphans
from kumoi.model.jobs import JobSpec
from kumoi.store import schema

SPEC = JobSpec(command=("true",))


def foreign(world: World, count: int = 1) -> list[str]:
    specs = [attempt_spec("job_other") for _ in range(count)]
    world.engine.ensure(specs)
    return [one.ref for one in specs]


def bury(world: World, ref: str, incarnation: str = INCARNATION) -> None:
    row = {
        "ref": ref,
        "engine": "fake",
        "incarnation": incarnation,
        "organization_id": "org",
        "ended_us": T0_US,
    }
    world.region.write(schema.tombstones, row)


def test_what_a_tombstone_names_is_ended(world: World) -> None:
    ref, kept = foreign(world, 2)
    bury(world, ref)
    world.activate("orphans")
    assert world.engine.running() == [kept]


def test_what_is_unknown_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    refs = foreign(world, 3)
    world.rounds(3)
    assert world.engine.running() == refs
    assert "3 attempts unknown here" in caplog.text


def test_a_tombstone_of_another_incarnation_ends_nothing(world: World) -> None:
    ref = foreign(world)[0]
    bury(world, ref, "incarnation-of-before-the-restore")
    world.rounds(2)
    assert world.engine.running() == [ref]


def test_an_attempt_that_ended_in_the_store_is_ended_at_the_engine(world: World) -> None:
    job = world.region.job_add(SPEC)
    world.rounds(1)
    ref = world.running(job)[0]
    ended = {"state": "ended", "ended_us": T0_US, "outcome": "host_lost"}
    world.set(schema.attempts, ref, **ended)
    world.activate("orphans")
    assert world.engine.running() == []


def test_live_attempts_are_left_alone(world: World) -> None:
    job = world.region.job_add(JobSpec(command=("true",), array_size=4))
    world.rounds(1)
    world.activate("orphans")
    assert len(world.running(job)) == 4
    assert not [call for call in world.engine.calls if call[0] == "stop"]


def test_a_cycle_ends_at_most_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "CYCLE_CAP", 2)
    monkeypatch.setattr(orphans, "PAGE", 2)
    refs = foreign(world, 5)
    for ref in refs:
        bury(world, ref)
    left = []
    for _ in range(3):
        world.activate("orphans")
        left.append(len(world.engine.running()))
    assert left == [3, 1, 0]
