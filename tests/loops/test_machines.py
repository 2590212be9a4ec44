"""Pools that borrow machines: they come with demand and go without it, none is leaked or paid for twice."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loop_world import MEMORY, Fuse, FusedStore, Killed, World

from kumoi.core.autoscale.hosts import hosts_decide
from kumoi.core.autoscale.hosts_inputs import hosts_inputs_digest, hosts_inputs_unpack
from kumoi.loops.machines import machines_activate
from kumoi.loops.placement_memory import PlacementMemory
from kumoi.model.jobs import JobSpec, Resources
from kumoi.model.machines import AutoscaleWrite
from kumoi.providers.base import MachineSpec, MachineTag, ProviderFull, ProviderRefused, ProviderUnavailable
from kumoi.providers.fake import FakeProvider
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.leases import leases_hold
from kumoi.store.writer import Fence

GIB = 1 << 30
BOOT_S = 60
SETTINGS = AutoscaleWrite(
    provider="fake",
    image="image-1",
    size="size-1",
    host_cpu_milli=8_000,
    host_memory_bytes=16 * GIB,
    boot_s=BOOT_S,
    hosts_max=4,
    headroom_milli=0,
    patience_s=30,
    hold_s=120,
    host_hour_microyen=50_000_000,
)


class Cloud(World):
    """A world whose first pool borrows machines of a fake provider."""

    def __init__(self, store: Store, settings: AutoscaleWrite = SETTINGS) -> None:
        self.provider: Any = FakeProvider()
        self.machines_fence: Fence | None = None
        super().__init__(store, hosts=())
        row = {
            "pool_id": self.region.pool,
            "provider": settings.provider,
            "settings": msgspec.json.encode(settings).decode(),
            "updated_us": self.clock(),
        }
        self.region.write(schema.autoscales, row)

    def start(self, **how: Any) -> None:
        super().start(**how)
        holder = self.fences["hosts"].holder
        epochs = self.store.transact_wait(None, leases_hold, ("machines",), holder, None)
        self.machines_fence = Fence("machines", holder, epochs["machines"])
        self.context = replace(self.context, region="region-1", providers={"fake": self.provider})
        self._remember()

    def _remember(self) -> None:
        MEMORY[id(self.context)] = PlacementMemory()

    def machines_pass(self) -> None:
        assert self.machines_fence is not None
        for _ in range(10):
            if not machines_activate(self.context, self.machines_fence):
                return

    def look(self, *, after_s: float = 5, times: int = 1) -> None:
        """Time passes, and every loop runs."""
        for _ in range(times):
            self.clock.pass_s(after_s)
            self.activate("hosts", "jobs", "placement", "tasks")
            self.machines_pass()

    def boot(self) -> None:
        """What was asked for comes up and reports."""
        for name in self.provider.boot():
            self.engine.host_change(name, cpu_milli=8_000, memory_bytes=16 * GIB)

    def rows(self) -> list[Any]:
        return sorted(self.region.rows(schema.machines), key=lambda row: row.id)

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    def autoscale(self) -> Any:
        return self.region.rows(schema.autoscales)[0]

    def work(self, count: int = 1, *, cpu_milli: int = 8_000, organization: str = "one") -> list[str]:
        spec = JobSpec(command=("x",), resources=Resources(cpu_milli=cpu_milli, memory_bytes=GIB))
        return [self.region.job_add(spec, organization=organization) for _ in range(count)]

    def events(self) -> list[str]:
        found = [msgspec.json.decode(row.canonical)["action"] for row in self.region.rows(schema.events)]
        return [action for action in found if action.startswith("machine_")]


@pytest.fixture
def cloud(sqlite_store: Store) -> Cloud:
    return Cloud(sqlite_store)


def test_machines_come_with_demand_and_go_without_it(store: Store) -> None:
    cloud = Cloud(store)
    jobs = cloud.work(2)
    cloud.look()
    assert cloud.states() == ["requested", "requested"]
    assert cloud.autoscale().reason == "woken"
    cloud.look()
    assert cloud.states() == ["booting", "booting"]
    cloud.boot()
    cloud.look(times=2)
    assert cloud.states() == ["ready", "ready"]
    assert {row.pool_id for row in cloud.region.rows(schema.hosts)} == {cloud.region.pool}
    cloud.look(times=2)
    assert [cloud.state(job) for job in jobs] == ["running", "running"]
    for job in jobs:
        cloud.finish(job)
    cloud.look(times=2)
    assert [cloud.state(job) for job in jobs] == ["succeeded", "succeeded"]
    assert cloud.states() == ["ready", "ready"], "held in case demand returns"
    cloud.look(after_s=60, times=3)
    cloud.provider.end()
    cloud.look(after_s=60, times=2)
    assert cloud.states() == ["released", "released"]
    assert cloud.provider.living() == []
    assert sorted(cloud.provider.made.values()) == [1, 1]
    expected = ["machine_request", "machine_ready", "machine_release", "machine_released"]
    assert sorted(cloud.events()) == sorted(expected * 2)


def test_a_machine_with_work_is_never_given_back(cloud: Cloud) -> None:
    jobs = cloud.work(2)
    cloud.look(times=2)
    cloud.boot()
    cloud.look(times=4)
    cloud.finish(jobs[0])
    cloud.look(after_s=60, times=10)
    cloud.provider.end()
    cloud.look(times=2)
    assert cloud.state(jobs[1]) == "running"
    assert sorted(cloud.states()) == ["ready", "released"]
    (ready,) = [row for row in cloud.rows() if row.state == "ready"]
    (attempt,) = [row for row in cloud.attempts(jobs[1]) if row.state != "ended"]
    assert attempt.host_id == ready.host_id


def test_work_that_comes_between_decision_and_release_keeps_its_machine(cloud: Cloud) -> None:
    (job,) = cloud.work(1)
    cloud.look(times=2)
    cloud.boot()
    cloud.look(times=4)
    cloud.finish(job)
    cloud.look(after_s=60)
    (row,) = cloud.rows()
    # An operator resumes the host of a machine that goes, and work lands there.
    cloud.look(after_s=60, times=2)
    assert cloud.states() == ["releasing"]
    cloud.set(schema.hosts, row.host_id, state="schedulable")
    (late,) = cloud.work(1)
    cloud.round()
    cloud.round()
    assert cloud.state(late) == "running"
    cloud.look(after_s=60, times=3)
    cloud.provider.end()
    cloud.look()
    assert cloud.state(late) == "running"
    assert cloud.provider.made[row.id] == 1


def test_caps_and_budget_hold_whatever_waits(sqlite_store: Store) -> None:
    budget = msgspec.structs.replace(SETTINGS, budget_hour_microyen=110_000_000)
    cloud = Cloud(sqlite_store, budget)
    cloud.work(9)
    cloud.look(after_s=20, times=5)
    cloud.boot()
    cloud.look(after_s=20, times=5)
    assert cloud.states() == ["ready", "ready"]
    assert cloud.autoscale().reason == "over_budget"


def test_the_least_number_is_there_without_demand(sqlite_store: Store) -> None:
    cloud = Cloud(sqlite_store, msgspec.structs.replace(SETTINGS, hosts_min=2))
    cloud.look(times=2)
    cloud.boot()
    cloud.look(after_s=200, times=4)
    assert cloud.states() == ["ready", "ready"]


def test_whom_a_quota_keeps_waiting_no_machine_is_asked_for(cloud: Cloud) -> None:
    quota = {"organization_id": cloud.region.organizations["one"], "resource": "cpu_milli", "most": 1_000}
    cloud.region.write(schema.quotas, quota | {"updated_us": cloud.clock()})
    cloud.work(3)
    cloud.look(times=5)
    assert cloud.states() == []


def test_a_provider_that_moved_abroad_is_asked_for_nothing(cloud: Cloud) -> None:
    cloud.provider.jurisdiction = "US"
    cloud.work(3)
    cloud.look(times=5)
    assert cloud.states() == []


def test_a_paused_pool_asks_for_nothing(cloud: Cloud) -> None:
    cloud.set(schema.pools, cloud.region.pool, state="paused")
    cloud.work(3)
    cloud.look(times=5)
    assert cloud.states() == []


@pytest.mark.parametrize("error", [ProviderRefused("no such image"), ProviderFull("none left")])
def test_what_a_provider_refuses_ends_and_is_tried_ever_later(cloud: Cloud, error: Exception) -> None:
    ensure = cloud.provider.machine_ensure

    def refuse(spec: MachineSpec) -> Any:
        raise error

    cloud.provider.machine_ensure = refuse
    cloud.work(1)
    cloud.look(after_s=5, times=60)
    asked = len(cloud.rows())
    assert set(cloud.states()) <= {"failed", "requested"}
    assert 2 <= asked <= 6, "in five minutes"
    assert cloud.autoscale().detail == str(error)
    assert cloud.autoscale().failures >= 2
    cloud.provider.machine_ensure = ensure
    cloud.look(after_s=600)
    cloud.look(times=2)
    cloud.boot()
    cloud.look(times=2)
    assert cloud.states()[-1] == "ready"
    assert (cloud.autoscale().failures, cloud.autoscale().detail) == (0, "")


def test_a_provider_out_of_reach_changes_nothing_and_is_asked_again(cloud: Cloud) -> None:
    cloud.work(1)
    cloud.look()
    cloud.provider.fail = ProviderUnavailable("no answer")
    cloud.look(times=5)
    assert cloud.states() == ["requested"]
    cloud.provider.fail = None
    cloud.look()
    assert cloud.states() == ["booting"]


def test_a_lost_answer_makes_no_second_machine(cloud: Cloud) -> None:
    cloud.work(1)
    cloud.look()
    real = cloud.provider.machine_ensure

    def lose(spec: MachineSpec) -> Any:
        real(spec)
        raise ProviderUnavailable("the answer was lost")

    cloud.provider.machine_ensure = lose
    cloud.look(times=3)
    cloud.provider.machine_ensure = real
    cloud.look()
    assert cloud.states() == ["booting"]
    assert list(cloud.provider.made.values()) == [1]


def test_a_machine_that_never_reports_is_given_back(cloud: Cloud) -> None:
    cloud.work(1)
    cloud.look(times=2)
    first = cloud.rows()[0]
    cloud.provider.boot()
    cloud.look(after_s=120, times=6)
    cloud.provider.end()
    cloud.look(times=2)
    row = next(row for row in cloud.rows() if row.id == first.id)
    assert row.state == "released"
    assert "did not report" in row.detail
    assert cloud.autoscale().failures >= 1
    assert first.id not in cloud.provider.living()


def test_a_machine_that_its_provider_lost_is_replaced(cloud: Cloud) -> None:
    cloud.work(1)
    cloud.look(times=2)
    first = cloud.rows()[0]
    cloud.provider.end(first.id)
    cloud.look(after_s=70, times=3)
    assert cloud.states()[0] == "failed"
    cloud.look(after_s=70, times=2)
    assert cloud.states()[-1] == "booting"


def test_what_a_provider_holds_of_an_ended_machine_is_ended(cloud: Cloud) -> None:
    cloud.work(1)
    cloud.look(times=2)
    (row,) = cloud.rows()
    cloud.set(schema.machines, row.id, state="failed", ended_us=cloud.clock())
    unknown = MachineTag("region-1", "incarnation-1", "mac_unknown")
    foreign = MachineTag("region-1", "incarnation-0", row.id)
    for tag in (unknown, foreign):
        cloud.provider.machine_ensure(MachineSpec(tag, "m", "i", "s"))
    cloud.look()
    cloud.provider.end()
    phases = {tag: machine.phase for tag, machine in cloud.provider._machines.items()}
    assert phases.pop(MachineTag("region-1", "incarnation-1", row.id)) == "gone"
    assert {phases[unknown], phases[foreign]} == {"pending"}, "what no row of this store knows is left alone"


def test_machines_are_forgotten_as_long_after_their_end_as_jobs(cloud: Cloud) -> None:
    cloud.work(1)
    cloud.look(times=2)
    (row,) = cloud.rows()
    cloud.set(schema.machines, row.id, state="failed", ended_us=cloud.clock())
    cloud.retention = replace(cloud.retention, job_s=3_600)
    cloud.start()
    cloud.clock.pass_s(3_599)
    cloud.activate("retention")
    assert cloud.states() == ["failed"]
    cloud.clock.pass_s(2)
    cloud.activate("retention")
    assert cloud.states() == []


def test_a_decision_is_recomputed_from_its_record(cloud: Cloud) -> None:
    cloud.work(3, cpu_milli=4_000)
    cloud.look()
    row = cloud.autoscale()
    inputs = hosts_inputs_unpack(row.inputs)
    again = hosts_decide(inputs.rules, inputs.state, inputs.seen)
    assert (again.reason, again.needed) == (row.reason, row.needed) == ("woken", 2)
    assert hosts_inputs_digest(inputs) == row.digest


class FusedProvider:
    """A provider every call of which may be the last thing that the plane does."""

    def __init__(self, provider: FakeProvider, fuse: Fuse) -> None:
        self._provider, self._fuse = provider, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._provider, name)
        if not name.startswith("machine_"):
            return found

        def counted(*args: Any) -> tuple[Any, bool]:
            before = repr(self._provider._machines)
            result = found(*args)
            return result, repr(self._provider._machines) != before

        return lambda *args: self._fuse.call(f"provider.{name}", lambda: counted(*args))


STEPS = {
    "store.decision_write",
    "store.machine_boot",
    "store.machine_ready",
    "store.machine_released",
    "provider.machine_ensure",
    "provider.machine_release",
}


@contextmanager
def opened(directory: Path) -> Iterator[Store]:
    """A new store, closed at the end."""
    store = Store(f"sqlite:///{directory / uuid.uuid4().hex}.db")
    yield store
    store.close()


def life(cloud: Cloud, fuse: Fuse) -> None:
    """A machine's whole life, under a plane that is started again whenever it is killed."""

    def plane_start() -> None:
        real = cloud.provider if isinstance(cloud.provider, FakeProvider) else cloud.provider._provider
        cloud.provider = FusedProvider(real, fuse)
        cloud.start()
        cloud.context = replace(cloud.context, store=FusedStore(cloud.store, fuse))  # type: ignore[arg-type]
        cloud._remember()

    def survive(step: Callable[[], None]) -> None:
        for _ in range(3):
            try:
                step()
                return
            except Killed:
                plane_start()

    plane_start()
    (job,) = cloud.work(1)
    for _ in range(4):
        survive(cloud.look)
    cloud.boot()
    for _ in range(6):
        survive(cloud.look)
    cloud.finish(job)
    for _ in range(6):
        survive(lambda: cloud.look(after_s=60))
        cloud.provider.end()
    for _ in range(3):
        survive(cloud.look)


def test_killed_at_any_step_there_is_one_machine_and_none_is_left(tmp_path: Path) -> None:
    counting = Fuse()
    with opened(tmp_path) as store:
        life(Cloud(store), counting)
    first = {counting.calls[at - 1]: at for at in reversed(counting.effective)}
    for name, after in product(sorted(STEPS), (False, True)):
        at = first[name]
        fuse = Fuse(at, after=after)
        with opened(tmp_path) as store:
            cloud = Cloud(store)
            life(cloud, fuse)
            where = (at, after, fuse.calls[at - 1])
            assert cloud.states() == ["released"], where
            assert list(cloud.provider.made.values()) == [1], where
            assert cloud.provider.living() == [], where
