"""Every plan that the loop records is recomputed from what was recorded with it: the same to the digest."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from loop_world import World, check_consistent, report
from region_rows import GIB

from kumoi.core.placement import fgd, mix
from kumoi.core.placement.registry import POLICY_NAMES
from kumoi.core.placement.replay import replay
from kumoi.engines.base import DeviceReport, HostReport
from kumoi.loops import placement, placement_memory
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
from kumoi.store import plans, schema
from kumoi.store.database import Store

STEPS = 50
DAY_S = 86_400
MODELS = ("a100", "h200", "l4")


class Play:
    """What users, operators and hosts do, drawn from a seed."""

    def __init__(self, store: Store, seed: int) -> None:
        self.random = Random(seed)
        self.cpu_milli: Counter[str] = Counter()
        self.world = World(store, hosts=[self.host(f"fake-{number}") for number in range(4)])
        self.jobs: list[str] = []

    def host(self, name: str) -> HostReport:
        """A host with or without devices; each time that it changes it has as much CPU as before or more."""
        draw = self.random
        self.cpu_milli[name] = max(self.cpu_milli[name], draw.choice((4_000, 8_000, 16_000)))
        devices = tuple(
            DeviceReport(
                uuid=f"GPU-{name}-{slot}",
                kind="gpu",
                model=draw.choice(MODELS),
                memory_bytes=80 * GIB,
                paths=(f"/dev/nvidia{slot}",),
                healthy=draw.random() < 0.9,
            )
            for slot in range(draw.choice((0, 2, 4)))
        )
        return replace(
            report(name, cpu_milli=self.cpu_milli[name]),
            failure_domain=draw.choice(("rack-1", "rack-2")),
            fabric_island=draw.choice(("", "island-1")),
            devices=devices,
        )

    def submit(self) -> None:
        """A job of one of two organizations, of any sort."""
        draw = self.random
        devices = [
            (),
            (DeviceRequest("gpu", draw.randint(1, 2)),),
            (DeviceRequest("gpu", milli=draw.choice((250, 500, 700))),),
            (DeviceRequest("gpu", models=(draw.choice(MODELS),)), DeviceRequest("gpu", milli=300)),
        ]
        is_gang = draw.random() < 0.2
        spread = Spread(draw.choice(list(SpreadOver)), draw.randint(1, 3)) if draw.random() < 0.2 else None
        spec = JobSpec(
            command=("true",),
            array_size=draw.randint(1, 4),
            gang=is_gang,
            priority=draw.randint(-2, 2),
            work_class=draw.choice(list(WorkClass)),
            on_host_lost=draw.choice(list(HostLossPolicy)),
            resources=Resources(
                cpu_milli=draw.choice((100, 700, 2_000, 4_000)),
                memory_bytes=draw.choice((GIB, 3 * GIB)),
                devices=draw.choice(devices),
                wall_time_s=draw.choice((60, 600, DAY_S)),
            ),
            rules=PlacementRules(
                isolation=IsolationClass.HOST if draw.random() < 0.1 else None,
                spread=spread,
                gang_within=draw.choice((None, *GangScope)) if is_gang else None,
            ),
        )
        self.jobs.append(self.world.region.job_add(spec, organization=draw.choice(("one", "two"))))

    def step(self) -> None:
        """A few things happen, and the loops look at them in some order."""
        draw, world = self.random, self.world
        for _ in range(draw.randint(0, 3)):
            self.submit()
        for ref in world.engine.running():
            if draw.random() < 0.3:
                world.engine.finish(ref, exit_code=draw.choice((0, 0, 1)))
        if self.jobs and draw.random() < 0.2:
            world.cancel(draw.choice(self.jobs))
        hosts = world.region.rows(schema.hosts)
        if hosts and draw.random() < 0.5:
            host = draw.choice(hosts)
            state = {"schedulable": "draining", "draining": "schedulable", "maintenance": "schedulable"}
            world.set(schema.hosts, host.id, state=state.get(host.state, host.state))
        if draw.random() < 0.2:
            name = f"fake-{draw.randint(0, 6)}"
            world.engine.host_change(name, **_facts(self.host(name)))
        world.clock.pass_s(draw.choice((1, 5, 20)))
        for name in draw.sample(("hosts", "jobs", "placement", "tasks", "jobs", "placement", "upkeep"), 7):
            world.activate(name)


def _facts(host: HostReport) -> dict[str, Any]:
    names = ("cpu_milli", "memory_bytes", "failure_domain", "fabric_island", "devices")
    return {name: getattr(host, name) for name in names}


def plans_check(world: World) -> list[Any]:
    """Recompute every recorded plan; its rows."""
    rows = world.region.rows(schema.plans)
    for row in rows:
        chain = world.store.read_wait(plans.plan_chain, row.id)
        again, digest = replay(chain)
        said = plans.plan_body(row.body)
        assert (again.placed, again.refused) == (said.placed, said.refused)
        assert digest == row.snapshot_digest
        assert (again.policy, again.seed, again.decided_us) == (row.policy, row.seed, row.decided_us)
    return rows


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_every_recorded_plan_is_decided_again_alike(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch, policy: str, seed: int
) -> None:
    monkeypatch.setattr(placement, "POLICY", policy)
    monkeypatch.setattr(placement_memory, "BASE_EVERY", 15)
    monkeypatch.setattr(fgd, "REFRESH_ARRIVALS", 12)
    monkeypatch.setattr(mix, "FIRST_ARRIVALS", 12)
    play = Play(sqlite_store, seed)
    for _ in range(STEPS):
        play.step()
    check_consistent(play.world)
    rows = plans_check(play.world)
    bases = {row.base_id for row in rows}
    assert len(rows) > 20
    assert len(bases) >= len(rows) / 15
    assert any(row.base_id != row.id for row in rows)


def test_a_host_that_came_and_went_between_plans_keeps_its_place_in_a_replay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "POLICY", "best_fit")
    whole = Resources(cpu_milli=8_000)

    def submit(resources: Resources = whole) -> str:
        return world.region.job_add(JobSpec(command=("true",), resources=resources))

    def host_add(name: str) -> str:
        return world.region.host_add(name, cpu_milli=8_000, memory_bytes=16 * GIB)

    submit()
    world.activate("hosts", "jobs", "placement")
    submit(Resources(cpu_milli=100, devices=(DeviceRequest("gpu"),)))
    early = host_add("early")
    world.activate("jobs", "placement")
    world.set(schema.hosts, early, state="draining")
    late, later = host_add("late"), host_add("later")
    world.activate("placement")
    small = submit(Resources(cpu_milli=100))
    world.activate("jobs", "placement")
    assert [row.host_id for row in world.attempts(small)] == [late]
    world.set(schema.hosts, early, state="schedulable")
    last = submit()
    world.activate("jobs", "placement")
    assert [row.host_id for row in world.attempts(last)] == [early], f"it has a lower row than {later}"
    assert len({row.base_id for row in plans_check(world)}) == 1


def test_a_base_is_renewed_before_it_is_dropped(world: World) -> None:
    for _ in range(3):
        world.region.job_add(JobSpec(command=("true",), resources=Resources(cpu_milli=100)))
        world.activate("hosts", "jobs", "placement")
        assert len(plans_check(world)) == 1
        world.clock.pass_s(40 * DAY_S)
        world.activate("retention")
        assert plans_check(world) == []
