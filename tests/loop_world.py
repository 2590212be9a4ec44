"""A plane's loops over a store and an engine in memory, under a clock that a test moves by hand."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from region_rows import GIB, PLATFORM_KEYS, T0_US, RegionRows

from kumoi.engines.base import AttemptSpec, EngineError, HostReport, Limits
from kumoi.engines.fake import FakeEngine
from kumoi.ledger.note import Signer
from kumoi.loops.context import LoopContext, Retention
from kumoi.loops.hosts import hosts_activate
from kumoi.loops.jobs import jobs_activate
from kumoi.loops.ledger import ledger_activate
from kumoi.loops.orphans import orphans_activate
from kumoi.loops.placement import placement_activate
from kumoi.loops.placement_memory import PlacementMemory
from kumoi.loops.retention import retention_activate
from kumoi.loops.tasks import tasks_activate
from kumoi.loops.upkeep import upkeep_activate
from kumoi.model.ids import IdKind
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.ids import id_new
from kumoi.store.jobs import job_cancel
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.errors import KeyWithdrawn
from kumoi.store.keys.ring import KeyRing
from kumoi.store.leases import leases_hold
from kumoi.store.writer import Fence


class NoVolumes:
    """Volumes of engines that write no files. Tests name organizations in `failures`."""

    root = Path("/nonexistent")

    def __init__(self) -> None:
        self.failures: dict[str, Exception] = {}
        self.ensured: list[str] = []

    def ensure(self, organization_id: str, /) -> None:
        self.ensured.append(organization_id)
        if organization_id in self.failures:
            raise self.failures[organization_id]

    def withdrawn(self, organization_id: str, /) -> bool:
        return isinstance(self.failures.get(organization_id), KeyWithdrawn)

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


S_US = 1_000_000
MINUTE_US = 60 * S_US
HOUR_US = 60 * MINUTE_US
INCARNATION = "incarnation-1"
ENDED = ("succeeded", "failed", "cancelled")
ORDER = ("hosts", "jobs", "placement", "tasks", "upkeep", "orphans", "ledger", "retention")
Activate = Callable[[LoopContext, Fence], bool]
MEMORY: dict[int, PlacementMemory] = {}
"""What placement remembers, by the world's context: lost with every start."""
LOOPS: dict[str, Activate] = {
    "hosts": hosts_activate,
    "jobs": jobs_activate,
    "placement": lambda context, fence: placement_activate(MEMORY[id(context)], context, fence),
    "tasks": tasks_activate,
    "upkeep": upkeep_activate,
    "orphans": orphans_activate,
    "ledger": lambda context, fence: ledger_activate(context, Signer("kumoi.local/test", bytes(32)), fence),
    "retention": retention_activate,
}


class Clock:
    """Microseconds UTC; stands still between moves."""

    def __init__(self) -> None:
        self.now_us = T0_US

    def __call__(self) -> int:
        return self.now_us

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += int(seconds * S_US)


def report(name: str = "fake-1", *, cpu_milli: int = 8_000, memory_bytes: int = 16 * GIB) -> HostReport:
    """A healthy host."""
    return HostReport(name, cpu_milli, memory_bytes, "boot-1", healthy=True)


class World:
    """The loops with what they work on. `start` is a (re)start of the plane: new leases, new context."""

    def __init__(
        self,
        store: Store,
        *,
        hosts: Sequence[HostReport] = (report(),),
        region: RegionRows | None = None,
        engine: FakeEngine | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.store = store
        self.clock = clock or Clock()
        self.engine = engine or FakeEngine(self.clock, hosts)
        self.region = region or RegionRows(store)
        self.nudged: Counter[str] = Counter()
        self.retention = Retention()
        self.start()

    def start(
        self, *, store: Any = None, engines: Mapping[str, Any] | None = None, holder: str = "plane"
    ) -> None:
        """Take the leases anew and forget everything that only memory held."""
        names = tuple(LOOPS)
        epochs = self.store.transact_wait(None, leases_hold, names, f"{holder}-{id(object())}", None)
        row = self.store.read_wait(lambda c: c.execute(schema.leases.select()).first())
        assert row is not None
        self.fences = {name: Fence(name, row.holder, epoch) for name, epoch in epochs.items()}
        self.context = LoopContext(
            store=store or self.store,
            engines=engines or {self.engine.name: self.engine},
            keys=KeyRing(self.store, KeyEncryptions(PLATFORM_KEYS)),
            volumes=NoVolumes(),
            clock_us=self.clock,
            nudge=lambda *names: self.nudged.update(names),
            incarnation=INCARNATION,
            platform_organization_id=self.region.platform,
            retention=self.retention,
        )
        MEMORY[id(self.context)] = PlacementMemory()

    def activate(self, *names: str) -> None:
        """Run loops in this order, each until it says that there is no more to do."""
        for name in names:
            for _ in range(50):
                if not LOOPS[name](self.context, self.fences[name]):
                    break
            else:
                raise AssertionError(f"the loop {name} always has more to do")

    def round(self, *, tolerate: tuple[type[BaseException], ...] = (EngineError,)) -> None:
        """Run every loop; like the runner, a loop that meets an engine's error is left for the next time."""
        for name in ORDER:
            try:
                self.activate(name)
            except tolerate:
                continue

    def rounds(self, count: int = 3) -> None:
        """Run every loop several times without a move of the clock."""
        for _ in range(count):
            self.round()

    def job(self, job_id: str) -> Any:
        """The row of a job."""
        return self.region.rows(schema.jobs, id=job_id)[0]

    def state(self, job_id: str) -> str:
        """The state of a job."""
        return str(self.job(job_id).state)

    def tasks(self, job_id: str) -> list[Any]:
        """The rows of a job's tasks in order."""
        return sorted(self.region.rows(schema.tasks, job_id=job_id), key=lambda row: row.ordinal)

    def attempts(self, job_id: str | None = None) -> list[Any]:
        """The rows of attempts, oldest first."""
        where = {} if job_id is None else {"job_id": job_id}
        return self.region.rows(schema.attempts, **where)

    def cancel(self, job_id: str) -> str | None:
        """Cancel as a user does."""
        return self.store.transact_wait(None, job_cancel, job_id, self.clock(), "cancelled by a test")

    def running(self, job_id: str) -> list[str]:
        """The attempts of a job that the engine runs."""
        mine = {row.id for row in self.attempts(job_id)}
        return [ref for ref in self.engine.running() if ref in mine]

    def finish(self, job_id: str, **how: Any) -> None:
        """End every running attempt of a job at the engine."""
        for ref in self.running(job_id):
            self.engine.finish(ref, **how)

    def set(self, table: Any, row_id: str, **values: Any) -> None:
        """Change a row behind everybody's back, as an operator's request does."""
        statement = table.update().where(table.c.id == row_id)
        self.store.transact_wait(None, lambda connection: connection.execute(statement, values))
        if table is schema.hosts:
            self.region.touch(row_id)


def check_consistent(world: World) -> None:
    """What holds at any time, however often the plane was killed."""
    attempts = {row.id: row for row in world.attempts()}
    assert all(count == 1 for count in world.engine.starts.values()), "an attempt was started twice"
    assert world.engine.starts.keys() <= attempts.keys(), "the engine started what no row knows"
    _check_capacity(world, attempts.values())
    _check_usage(world, attempts)
    plans = {row.id for row in world.region.rows(schema.plans)}
    assert {row.plan_id for row in attempts.values()} <= plans
    live = [row.task_id for row in attempts.values() if row.state != "ended"]
    assert len(live) == len(set(live))
    active = {row.id for row in world.region.rows(schema.tasks, state="active")}
    assert active == set(live)


def check_ended(world: World) -> None:
    """What holds besides when everything has ended: nothing is lost, held or left over."""
    check_consistent(world)
    assert {row.state for row in world.region.rows(schema.jobs)} <= set(ENDED)
    assert {row.state for row in world.region.rows(schema.tasks)} <= set(ENDED)
    assert all(row.state == "ended" for row in world.attempts())
    assert world.engine.running() == []
    assert all(row.released for row in world.region.rows(schema.attempt_devices))
    events = Counter(
        (action, resource) for action, resource in _events(world) if action.startswith("attempt_")
    )
    expected = Counter(
        (action, row.id) for row in world.attempts() for action in ("attempt_place", "attempt_end")
    )
    assert events == expected, "every attempt has one event of its placement and one of its end"


def _check_capacity(world: World, attempts: Any) -> None:
    hosts = {row.id: row for row in world.region.rows(schema.hosts)}
    used: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    for row in attempts:
        if row.state != "ended":
            used[row.host_id] += row.cpu_milli
            memory[row.host_id] += row.memory_bytes
    assert all(used[host_id] <= hosts[host_id].cpu_milli for host_id in used)
    assert all(memory[host_id] <= hosts[host_id].memory_bytes for host_id in memory)


def _check_usage(world: World, attempts: Mapping[str, Any]) -> None:
    by_attempt: dict[str, list[Any]] = {}
    for row in world.region.rows(schema.usage_intervals):
        by_attempt.setdefault(row.attempt_id, []).append(row)
    for attempt_id, row in attempts.items():
        intervals = by_attempt.get(attempt_id, [])
        edges = [row.started_us, *(interval.end_us for interval in intervals)]
        assert [interval.start_us for interval in intervals] == edges[:-1], "usage has a gap or an overlap"
        if row.state == "ended" and row.started_us is not None:
            assert edges[-1] == row.ended_us, "usage is metered up to the end"
            assert sum(interval.cpu_us for interval in intervals) in (0, row.cpu_us)


def _events(world: World) -> list[tuple[str, str]]:
    decoded = [msgspec.json.decode(row.canonical) for row in world.region.rows(schema.events)]
    return [(event["action"], event["resource"]) for event in decoded]


class Killed(BaseException):
    """The plane was killed here."""


class Fuse:
    """Kills at the `at`-th call of a store or engine: before it took effect, or after. 0 never does."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self.at = at
        self.after = after
        self.calls: list[str] = []
        self.effective: list[int] = []
        """Those of the calls, counted from 1, that changed something."""

    def call(self, name: str, work: Callable[[], tuple[Any, bool]]) -> Any:
        """Do `work` (its result, and whether it changed anything), if the plane is not killed before."""
        self.calls.append(name)
        burns = len(self.calls) == self.at
        if burns and not self.after:
            raise Killed(name)
        result, changed = work()
        if changed:
            self.effective.append(len(self.calls))
        if burns:
            raise Killed(name)
        return result


class FusedStore:
    """A SQLite store every write of which may be the last thing that the plane does."""

    def __init__(self, store: Store, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def transact_wait(self, fence: Fence | None, work: Any, *args: Any, **kwargs: Any) -> Any:
        """`Store.transact_wait`, fused."""

        def counted(connection: Any) -> tuple[Any, bool]:
            before = connection.exec_driver_sql("SELECT total_changes()").scalar_one()
            result = work(connection, *args, **kwargs)
            after = connection.exec_driver_sql("SELECT total_changes()").scalar_one()
            return result, after != before

        write = partial(self._store.transact_wait, fence, counted)
        return self._fuse.call(f"store.{work.__name__}", write)


class FusedEngine:
    """An engine every call of which may be the last thing that the plane does."""

    METHODS = ("ensure", "stop", "ended", "observe", "forget", "purge", "renew", "hosts")

    def __init__(self, engine: FakeEngine, fuse: Fuse) -> None:
        self._engine = engine
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        if name not in self.METHODS:
            return found

        def counted(*args: Any) -> tuple[Any, bool]:
            before = repr(self._engine._attempts)
            result = found(*args)
            return result, repr(self._engine._attempts) != before

        return lambda *args: self._fuse.call(f"engine.{name}", partial(counted, *args))


def attempt_spec(job_id: str) -> AttemptSpec:
    """An attempt of somebody else."""
    return AttemptSpec(
        ref=id_new(IdKind.ATTEMPT),
        organization_id="org_other",
        project_id="prj_other",
        project_number=9,
        command=("true",),
        environment={"KUMOI_JOB_ID": job_id},
        limits=Limits(cpu_milli=1, memory_bytes=1, processes=1, wall_time_s=86_400),
        start_before_us=T0_US + HOUR_US,
    )
