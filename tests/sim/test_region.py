"""A small region for some hours: real loops and store, an engine in memory; what must hold, holds always."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from loop_world import MEMORY, MINUTE_US, S_US, World, report
from region_rows import GIB, RegionRows

from kumoi.core.placement.replay import replay
from kumoi.core.placement.snapshot import Hold
from kumoi.engines.base import DeviceReport, HostReport
from kumoi.loops import placement_memory
from kumoi.model.ids import IdKind
from kumoi.model.jobs import DeviceRequest, GangScope, JobSpec, PlacementRules, Resources, WorkClass
from kumoi.model.shares import QuotaResource
from kumoi.store import plans, schema
from kumoi.store.database import Store
from kumoi.store.ids import id_new
from kumoi.store.shares import quota_put

HOSTS = 60
DEVICES = 8
ORGANIZATIONS = 12
HOURS = 1
STEP_S = 60
STEPS = HOURS * 3_600 // STEP_S
QUOTA_DEVICES = 24
RESERVED = 4
STARVED_S = 2_700
"""Nothing of the mix is so large that it could not start long before."""


class Region:
    """What tenants, operators and hosts do in a region, drawn from a seed, with what must hold of it."""

    def __init__(self, store: Store, seed: int) -> None:
        self.random = Random(seed)
        rows = RegionRows(store, shared=False)
        self.names = [f"org-{number}" for number in range(ORGANIZATIONS)]
        for number, name in enumerate(self.names):
            rows._organization(name, 10 + number)
        hosts = [_host(number) for number in range(HOSTS)]
        self.world = World(store, hosts=hosts, region=rows)
        self.world.activate("hosts")
        self.ends_us: dict[str, int] = {}
        self.runs_s: dict[str, int] = {}
        self.first_dates: dict[str, int] = {}
        self.promised = 0
        self.lost_us = 0
        self.away: dict[str, str] = {}
        self._quota()
        self.reserved = self._reserve()

    def step(self) -> None:
        """A minute passes."""
        world, draw = self.world, self.random
        world.clock.pass_s(STEP_S)
        now_us = world.clock()
        for ref in [ref for ref, end_us in self.ends_us.items() if end_us <= now_us]:
            del self.ends_us[ref]
            if ref in world.engine.running():
                world.engine.finish(ref)
        for _ in range(draw.choice((2, 3, 4, 5))):
            self.submit()
        if draw.random() < 0.05:
            self._trouble()
        # What is asked to end has ended, and what waited for it has started, well within a minute.
        world.activate("hosts", "tasks", "jobs", *("placement", "tasks", "tasks") * 2)
        self._promises_note()
        self._runs_note()
        self.check()

    def submit(self) -> None:
        """A job of one of the sorts that its organization has."""
        draw = self.random
        number = draw.randrange(ORGANIZATIONS)
        sort = draw.choice(("share", "one", "one", "host", "gang", "cpu") if number % 2 else ("one", "host"))
        size = draw.choice((2, 4, 8)) if sort == "gang" else draw.choice((1, 1, 3))
        devices = {
            "share": (DeviceRequest("gpu", milli=draw.choice((250, 500))),),
            "one": (DeviceRequest("gpu", draw.choice((1, 2))),),
            "host": (DeviceRequest("gpu", DEVICES),),
            "gang": (DeviceRequest("gpu", DEVICES),),
            "cpu": (),
        }[sort]
        run_s = draw.choice((300, 900, 1_800))
        is_reserved = number == 0 and self.reserved and draw.random() < 0.5
        spec = JobSpec(
            command=("true",),
            array_size=size,
            gang=sort == "gang",
            priority=draw.randint(-2, 2),
            work_class=draw.choice(list(WorkClass)),
            resources=Resources(
                cpu_milli=draw.choice((1_000, 4_000)),
                memory_bytes=draw.choice((GIB, 8 * GIB)),
                devices=devices,
                wall_time_s=2 * run_s,
            ),
            rules=PlacementRules(
                reservation="held" if is_reserved else None,
                gang_within=draw.choice((None, GangScope.FABRIC_ISLAND)) if sort == "gang" else None,
            ),
        )
        more = {"created_us": self.world.clock()}
        job = self.world.region.job_add(spec, organization=self.names[number], **more)
        self.runs_s[job] = run_s

    def check(self) -> None:
        """Everything that must hold at any time."""
        live = [row for row in self.world.attempts() if row.state != "ended"]
        self._check_room(live)
        self._check_tenants(live)
        self._check_gangs(live)
        self._check_reserved(live)
        used: Counter[str] = Counter()
        for row in self.world.region.rows(schema.quotas):
            assert row.used <= row.most, "a quota was passed"
            used[row.resource] += 1
        assert used

    def _check_room(self, live: list[Any]) -> None:
        rows = self.world.region.rows
        hosts = {row.id: row for row in rows(schema.hosts)}
        cpu: Counter[str] = Counter()
        memory: Counter[str] = Counter()
        for row in live:
            cpu[row.host_id] += row.cpu_milli
            memory[row.host_id] += row.memory_bytes
        assert all(cpu[host] <= hosts[host].cpu_milli for host in cpu)
        assert all(memory[host] <= hosts[host].memory_bytes for host in memory)
        held: Counter[str] = Counter()
        for row in rows(schema.attempt_devices, released=False):
            held[row.device_id] += row.milli
        for device in rows(schema.devices):
            assert held[device.id] == device.milli_used <= 1_000

    def _check_tenants(self, live: list[Any]) -> None:
        of_host = defaultdict(set)
        for row in live:
            of_host[row.host_id].add(row.organization_id)
        assert all(len(names) == 1 for names in of_host.values()), "two organizations met on a host"

    def _check_gangs(self, live: list[Any]) -> None:
        """A gang runs whole or not at all; what its members were preempted of, all were."""
        gangs = {row.id: row for row in self.world.region.rows(schema.jobs) if row.gang}
        running: defaultdict[str, list[Any]] = defaultdict(list)
        for row in live:
            if row.job_id in gangs and row.state != "stopping":
                running[row.job_id].append(row)
        for job_id, members in running.items():
            states = Counter(row.state for row in self.world.region.rows(schema.tasks, job_id=job_id))
            assert not states["queued"] or self.lost_us, "a gang is placed in part"
            assert len({row.plan_id for row in members}) == 1 or self.lost_us

    def _check_reserved(self, live: list[Any]) -> None:
        """On reserved hosts is nobody else's work during the reservation."""
        row = self.reserved
        if row is None or not row["start_us"] <= self.world.clock() < row["end_us"]:
            return
        inside = [one for one in live if one.host_id in row["hosts"] and one.placed_us >= row["start_us"]]
        assert all(one.organization_id == row["organization_id"] for one in inside)

    def _promises_note(self) -> None:
        """A date of the highest class, which alone nobody comes before, is kept unless hosts went away."""
        now_us = self.world.clock()
        for pool in MEMORY[id(self.world.context)].pools.values():
            for hold in pool.promises.values():
                if hold.start_us > now_us and hold.class_rank == 0:
                    self._date_note(hold)
        placed = {row.job_id: row.placed_us for row in reversed(self.world.attempts())}
        placed |= {row.task_id: row.placed_us for row in reversed(self.world.attempts())}
        for name in [name for name in self.first_dates if name in placed]:
            first_us = self.first_dates.pop(name)
            assert placed[name] <= first_us + STEP_S * S_US, "a group started later than its first date"
            self.promised += 1

    def _date_note(self, hold: Hold) -> None:
        first_us = self.first_dates.setdefault(hold.group_id, hold.start_us)
        assert hold.start_us <= first_us, "a date moved away"

    def _runs_note(self) -> None:
        running = set(self.world.engine.running())
        for row in self.world.attempts():
            if row.id in running and row.id not in self.ends_us and row.state == "running":
                self.ends_us[row.id] = row.started_us + self.runs_s[row.job_id] * S_US

    def _trouble(self) -> None:
        """A device fails or recovers, a host is drained or comes back. Dates given before are void."""
        name = f"host-{self.random.randrange(HOSTS):02d}"
        self.first_dates.clear()
        if name in self.away:
            (row,) = self.world.region.rows(schema.hosts, name=name)
            if self.away.pop(name) == "device":
                self.world.engine.host_change(name, devices=_host(int(name[-2:])).devices)
            if row.state in ("draining", "maintenance"):
                self.world.set(schema.hosts, row.id, state="schedulable", generation=row.generation + 1)
        elif self.random.random() < 0.5:
            self.away[name] = "device"
            first, *others = _host(int(name[-2:])).devices
            sick = replace(first, healthy=False, detail="XID 79")
            self.world.engine.host_change(name, devices=(sick, *others))
        else:
            self.away[name] = "drained"
            (row,) = self.world.region.rows(schema.hosts, name=name)
            if row.state == "schedulable":
                self.world.set(schema.hosts, row.id, state="draining", generation=row.generation + 1)

    def _quota(self) -> None:
        now_us = self.world.clock()
        for name in self.names[:3]:
            organization = self.world.region.organizations[name]
            self.world.store.transact_wait(
                None, quota_put, organization, QuotaResource.DEVICE_MILLI, 1_000 * QUOTA_DEVICES, now_us
            )

    def _reserve(self) -> dict[str, Any]:
        """Some hosts are the first organization's for an hour."""
        now_us = self.world.clock()
        hosts = [row.id for row in self.world.region.rows(schema.hosts)][:RESERVED]
        row = {
            "id": id_new(IdKind.RESERVATION),
            "organization_id": self.world.region.organizations[self.names[0]],
            "pool_id": self.world.region.pool,
            "name": "held",
            "host_count": RESERVED,
            "start_us": now_us + 15 * MINUTE_US,
            "end_us": now_us + 45 * MINUTE_US,
            "created_us": now_us,
        }
        self.world.region.write(schema.reservations, row)
        self.world.region.write(
            schema.reservation_hosts, *({"reservation_id": row["id"], "host_id": host} for host in hosts)
        )
        for host in hosts:
            self.world.region.touch(host)
        return row | {"hosts": hosts}


def _host(number: int) -> HostReport:
    return replace(
        report(f"host-{number:02d}", cpu_milli=64_000, memory_bytes=512 * GIB),
        failure_domain=f"rack-{number // 4}",
        fabric_island=f"island-{number // 15}",
        devices=tuple(
            DeviceReport(f"GPU-{number:02d}-{slot}", "gpu", "h200", 141 * GIB, (f"/dev/nvidia{slot}",))
            for slot in range(DEVICES)
        ),
    )


@pytest.fixture
def store(tmp_path: Any) -> Iterator[Store]:
    opened = Store(f"sqlite:///{tmp_path / 'sim.db'}")
    yield opened
    opened.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1])
def test_hours_of_a_region_break_no_rule(store: Store, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(placement_memory, "BASE_EVERY", 20)
    region = Region(store, seed)
    for _ in range(STEPS):
        region.step()
    attempts = region.world.attempts()
    assert len(attempts) > 200, "the region was at work"
    assert region.promised > 0, "somebody was given a date"
    assert any(row.outcome == "preempted" for row in attempts), "somebody made room"
    _check_nobody_starved(region)
    _check_plans(region.world)


def _check_nobody_starved(region: Region) -> None:
    """All that waited long for something that its organization may have has started."""
    waiting = region.world.region.rows(schema.tasks, state="queued")
    jobs = {row.id: row for row in region.world.region.rows(schema.jobs)}
    limited = {region.world.region.organizations[name] for name in region.names[:3]}
    now_us = region.world.clock()
    late = [
        row
        for row in waiting
        if row.organization_id not in limited
        and jobs[row.job_id].work_class != WorkClass.PREEMPTIBLE
        and now_us - jobs[row.job_id].created_us > STARVED_S * S_US
    ]
    assert late == []


def _check_plans(world: World) -> None:
    """Every plan is decided again alike from what was recorded with it."""
    rows = world.region.rows(schema.plans)
    assert rows
    for row in rows:
        again, digest = replay(world.store.read_wait(plans.plan_chain, row.id))
        said = plans.plan_body(row.body)
        assert (again.placed, again.refused, digest) == (said.placed, said.refused, row.snapshot_digest)
