"""The plane is killed at every call of its store and its engine, before and after it took effect.

A scenario runs with a fuse at the first call, then at the next, and so on until it runs through. After each
death the loops start anew over the same database and the same engine, and go on to the end. A plane keeps
nothing in memory, so a death at a call that changes nothing leaves what one after the last change does:
those are left out.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from loop_world import (
    LOOPS,
    ORDER,
    Clock,
    Fuse,
    FusedEngine,
    FusedStore,
    Killed,
    World,
    check_consistent,
    check_ended,
)
from postgres_server import place_quick
from region_rows import RegionRows

from kumoi.engines.base import AttemptSpec, EngineError
from kumoi.engines.fake import FakeEngine
from kumoi.model.jobs import (
    Dependency,
    DependencyCondition,
    HostLossPolicy,
    JobSpec,
    Resources,
    RetryPolicy,
    RetryReason,
)
from kumoi.store import schema
from kumoi.store.database import Store

ROUNDS_MAX = 40
Jobs = dict[str, str]


class Script:
    """Plays the tasks: each ends when it is old enough, with the exit code that its job and attempt have."""

    def __init__(self, world: World, jobs: Jobs, exits: Mapping[tuple[str, str], int], age_s: float) -> None:
        self.world = world
        self.specs: dict[str, AttemptSpec] = {}
        self._names = {job_id: name for name, job_id in jobs.items()}
        self._exits = exits
        self._age_us = int(age_s * 1_000_000)
        original = world.engine.ensure

        def ensure(specs: Any) -> Any:
            self.specs |= {one.ref: one for one in specs}
            return original(specs)

        world.engine.ensure = ensure  # type: ignore[method-assign]

    def play(self) -> None:
        """End what is old enough."""
        started = {item.ref: item.started_us for item in self.world.engine.observe(None, 1_000).items}
        for ref in self.world.engine.running():
            environment = self.specs[ref].environment
            name = self._names[environment["KUMOI_JOB_ID"]]
            if self.world.clock() - (started[ref] or 0) >= self._age_us:
                exit_code = self._exits.get((name, environment["KUMOI_ATTEMPT"]), 0)
                self.world.engine.finish(ref, exit_code=exit_code, cpu_us=1_000)


class Scenario:
    """What is submitted, how far the clock goes each round, and what must have come of it."""

    step_s: float
    age_s: float
    order = ("jobs", "placement", "tasks", "upkeep", "orphans")
    exits: Mapping[tuple[str, str], int]

    def submit(self, region: RegionRows) -> Jobs:
        raise NotImplementedError

    def interfere(self, world: World, jobs: Jobs, round_number: int) -> None:
        """What users and operators do in between; done once, whatever happens to the plane."""

    def check(self, world: World, jobs: Jobs) -> None:
        raise NotImplementedError


class Hours(Scenario):
    """Arrays, a retry, a gang with devices, a chain and a cancellation, over hours."""

    step_s = 1_500
    age_s = 4_000
    exits = MappingProxyType({("retried", "1"): 75, ("broken", "1"): 9})

    def submit(self, region: RegionRows) -> Jobs:
        half = Resources(cpu_milli=2_000, wall_time_s=86_400)

        small = Resources(cpu_milli=100, wall_time_s=86_400)

        def add(**more: Any) -> str:
            return region.job_add(JobSpec(**({"command": ("true",), "resources": half} | more)))

        retries = RetryPolicy(limit=1, on=(RetryReason.EXIT_CODE,))
        jobs = {"array": add(array_size=2), "retried": add(retries=retries), "broken": add()}
        jobs["gang"] = add(gang=True, array_size=2, priority=-1)
        jobs["chain"] = add(depends_on=(Dependency(jobs["array"]),), resources=small)
        jobs["doomed"] = add(depends_on=(Dependency(jobs["broken"]),))
        after = Dependency(jobs["broken"], DependencyCondition.ENDED)
        jobs["after"] = add(depends_on=(after,), resources=small)
        jobs["cancelled"] = add(priority=5, resources=small)
        return jobs

    def interfere(self, world: World, jobs: Jobs, round_number: int) -> None:
        if round_number == 1:
            world.cancel(jobs["cancelled"])

    def check(self, world: World, jobs: Jobs) -> None:
        states = {name: world.state(job_id) for name, job_id in jobs.items()}
        expected = dict.fromkeys(jobs, "succeeded")
        expected |= {"broken": "failed", "doomed": "failed", "cancelled": "cancelled"}
        assert states == expected
        started = Counter(row.job_id for row in world.attempts() if row.id in world.engine.starts)
        runs = {name: started[job_id] for name, job_id in jobs.items()}
        assert runs == {
            **{"array": 2, "retried": 2, "broken": 1, "gang": 2, "chain": 1, "doomed": 0, "after": 1},
            "cancelled": runs["cancelled"],
        }
        assert runs["cancelled"] <= 1


class Leases(Scenario):
    """An attempt that ends with its lease while the engine is silent, beside one that waits."""

    step_s = 20
    age_s = 100
    order = ("hosts", *Scenario.order)
    exits = MappingProxyType({})

    def submit(self, region: RegionRows) -> Jobs:
        def add(policy: HostLossPolicy) -> str:
            return region.job_add(
                JobSpec(command=("true",), on_host_lost=policy, retries=RetryPolicy(limit=3))
            )

        return {policy.value: add(policy) for policy in HostLossPolicy}

    def interfere(self, world: World, jobs: Jobs, round_number: int) -> None:
        world.engine.available = not 1 <= round_number <= 5

    def check(self, world: World, jobs: Jobs) -> None:
        assert {world.state(job_id) for job_id in jobs.values()} == {"succeeded"}
        assert len(world.attempts(jobs["wait"])) == 1
        replaced = world.attempts(jobs["replace"])
        assert 1 <= len(replaced) <= 3
        for earlier, later in pairwise(replaced):
            assert later.placed_us >= earlier.ended_us, "two attempts of a task at the same time"


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kumoi-crashes-", dir=place_quick()) as name:
        yield Path(name)


def prepare(directory: Path, scenario: Scenario) -> tuple[dict[str, Any], Jobs]:
    """The database that every run begins with: a region and its submitted jobs."""
    store = Store(f"sqlite:///{directory / 'first.db'}")
    region = RegionRows(store)
    jobs = scenario.submit(region)
    facts = {name: value for name, value in vars(region).items() if name != "store"}
    store.close()
    return facts, jobs


def run(
    directory: Path, facts: dict[str, Any], jobs: Jobs, scenario: Scenario, fuse: Fuse, *, twice: bool = False
) -> None:
    """One run from the first round to the end, with at most one death on the way."""
    path = directory / f"run-{fuse.at}-{fuse.after}.db"
    shutil.copyfile(directory / "first.db", path)
    store = Store(f"sqlite:///{path}")
    try:
        region = RegionRows.__new__(RegionRows)
        region.__dict__ = {"store": store, **facts}
        clock = Clock()
        world = World(store, region=region, engine=FakeEngine(clock), clock=clock)
        script = Script(world, jobs, scenario.exits, scenario.age_s)
        world.start(store=FusedStore(store, fuse), engines={"fake": FusedEngine(world.engine, fuse)})
        for number in range(ROUNDS_MAX):
            scenario.interfere(world, jobs, number)
            order = scenario.order if number else ORDER
            _round(world, order, lambda: world.start(holder="second plane"), twice=twice)
            check_consistent(world)
            if world.engine.available:
                script.play()
            if all(row.state in ("succeeded", "failed", "cancelled") for row in region.rows(schema.jobs)):
                break
            clock.pass_s(scenario.step_s)
        world.start(holder="last plane")
        world.rounds(2)
        check_ended(world)
        scenario.check(world, jobs)
        assert world.engine.ended(10) == [], "the engine forgets what is recorded"
    except Exception as error:
        died = fuse.calls[fuse.at - 1] if 0 < fuse.at <= len(fuse.calls) else "nowhere"
        error.add_note(f"killed {'after' if fuse.after else 'before'} call {fuse.at}, {died}")
        raise
    finally:
        store.close()
        for left in directory.glob(f"{path.name}*"):
            left.unlink()


def _round(world: World, order: tuple[str, ...], restart: Callable[[], None], *, twice: bool) -> None:
    """Every loop once, as the runner runs them; where the plane is killed, the rest of the round after it."""
    for name in order:
        for _ in range(2 if twice else 1):
            try:
                _activate(world, name)
            except Killed:
                restart()
                _activate(world, name)


def _activate(world: World, name: str) -> None:
    try:
        for _ in range(50):
            if not LOOPS[name](world.context, world.fences[name]):
                return
        raise AssertionError(f"the loop {name} always has more to do")
    except EngineError:
        return


def deaths(whole: Fuse) -> list[int]:
    """The calls after which to die. Of hosts that are only seen again, the first few will do."""
    seen = [at for at in whole.effective if whole.calls[at - 1] == "store.hosts_see"]
    return [at for at in whole.effective if at not in seen[3:]]


@pytest.mark.parametrize("scenario", [Hours(), Leases()], ids=lambda scenario: type(scenario).__name__)
@pytest.mark.timeout(300)
def test_a_plane_killed_at_any_call_goes_on_as_if_it_had_not_been(
    directory: Path, scenario: Scenario
) -> None:
    facts, jobs = prepare(directory, scenario)
    whole = Fuse()
    run(directory, facts, jobs, scenario, whole)
    died_at = {whole.calls[at - 1] for at in whole.effective}
    assert {"engine.ensure", "engine.forget", "store.plan_apply", "store.attempts_record"} <= died_at
    run(directory, facts, jobs, scenario, Fuse(1))
    for at in deaths(whole):
        run(directory, facts, jobs, scenario, Fuse(at, after=True))


@pytest.mark.timeout(300)
def test_a_plane_killed_before_any_of_its_first_calls_goes_on_too(directory: Path) -> None:
    """What the argument above leaves out, tried for the rounds in which jobs begin."""
    scenario = Hours()
    facts, jobs = prepare(directory, scenario)
    for at in range(4, 16):
        run(directory, facts, jobs, scenario, Fuse(at))


@pytest.mark.parametrize("scenario", [Hours(), Leases()], ids=lambda scenario: type(scenario).__name__)
def test_an_activation_that_is_repeated_changes_nothing(directory: Path, scenario: Scenario) -> None:
    facts, jobs = prepare(directory, scenario)
    run(directory, facts, jobs, scenario, Fuse(), twice=True)
