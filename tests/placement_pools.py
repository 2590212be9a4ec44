"""Random pools and tasks, and placement's rules in plain numbers: what `PoolPlacer` is held against."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations, groupby
from typing import Any

from hypothesis import strategies as st

from kumoi.core.placement.snapshot import (
    DeviceView,
    Hold,
    Holding,
    HostView,
    Placed,
    PoolView,
    Refused,
    TaskView,
    Window,
)
from kumoi.model.jobs import DEVICE_MILLI, DeviceRequest, GangScope, SpreadOver
from kumoi.model.time import US_PER_S

NOW_US = 1_000 * US_PER_S
ORGANIZATIONS = ("org_a", "org_b")
KINDS = ("gpu", "gpu", "gpu", "npu")
MODELS = ("a100", "h200")
PARTITIONS = ("", "", "", "1g.10gb")
JOBS = tuple(f"job_{number}" for number in range(4))
RESERVATIONS = ("spring", "autumn")
Devices = tuple[tuple[str, int], ...]


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual, and each of the others now and then."""
    return st.sampled_from((usual,) * 5 * len(others) + others)


pool_views = st.builds(
    PoolView,
    st.just("pool_1"),
    exclusive=mostly(False, True),
    devices_shared=st.booleans(),
    chooses_pool_only=mostly(False, True),
)


def organization_of(job_id: str) -> str:
    """The organization that a job belongs to."""
    return ORGANIZATIONS[JOBS.index(job_id) % len(ORGANIZATIONS)]


@st.composite
def device_views(draw: st.DrawFn, host_id: str) -> tuple[DeviceView, ...]:
    made = draw(
        st.lists(
            st.tuples(
                st.sampled_from(KINDS),
                st.sampled_from(MODELS),
                st.sampled_from(PARTITIONS),
                mostly(True, False),
            ),
            min_size=draw(st.integers(0, 3)),
            max_size=3,
        )
    )
    return tuple(DeviceView(f"{host_id}_dev_{number}", *facts) for number, facts in enumerate(made))


@st.composite
def holdings(draw: st.DrawFn, devices: Sequence[DeviceView], attempt_id: str) -> Holding:
    """Work on a host. It may hold more than there is, and devices that are gone: hosts change under it."""
    job_id = draw(st.sampled_from(JOBS))
    ids = [device.id for device in devices] + ["dev_gone"]
    held = draw(st.lists(st.sampled_from(ids), max_size=2, unique=True))
    start_s = draw(st.integers(0, 500))
    return Holding(
        attempt_id,
        job_id,
        organization_of(job_id),
        draw(st.integers(1, 3_000)),
        draw(st.integers(1, 4)),
        draw(st.integers(0, 2)),
        tuple((device_id, draw(st.sampled_from((250, 300, DEVICE_MILLI)))) for device_id in held),
        NOW_US - start_s * US_PER_S,
        NOW_US + draw(st.integers(1, 500)) * US_PER_S,
        alone=draw(mostly(False, True)),
    )


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start_us = NOW_US + draw(st.integers(-100, 100)) * US_PER_S
    return Window(
        draw(st.sampled_from(RESERVATIONS)),
        draw(st.sampled_from(ORGANIZATIONS)),
        start_us,
        start_us + draw(st.integers(1, 150)) * US_PER_S,
    )


@st.composite
def host_views(draw: st.DrawFn, number: int) -> HostView:
    """One state of the host with this number."""
    host_id = f"host_{number}"
    devices = draw(device_views(host_id))
    count = draw(st.integers(0, 2))
    return HostView(
        id=host_id,
        name=f"name-{number}",
        generation=draw(st.integers(0, 9)),
        cpu_milli=draw(st.sampled_from((0, 2_000, 4_000, 8_000, 9_001))),
        memory_bytes=draw(st.integers(2, 16)),
        disk_bytes=draw(st.integers(1, 8)),
        devices=devices,
        holdings=tuple(draw(holdings(devices, f"att_{number}_{order}")) for order in range(count)),
        failure_domain=draw(st.sampled_from(("", "rack_1", "rack_2"))),
        fabric_island=draw(st.sampled_from(("", "island_1", "island_2"))),
        dedicated_to=draw(mostly(None, *ORGANIZATIONS)),
        windows=tuple(draw(st.lists(windows(), max_size=draw(mostly(0, 1, 2))))),
    )


@st.composite
def hosts(draw: st.DrawFn) -> tuple[HostView, ...]:
    return tuple(draw(host_views(number)) for number in range(draw(mostly(3, 0, 1, 2, 4))))


@st.composite
def requests(draw: st.DrawFn) -> DeviceRequest:
    milli = draw(st.sampled_from((DEVICE_MILLI, DEVICE_MILLI, 250, 400, 600)))
    return DeviceRequest(
        kind=draw(mostly("gpu", "npu")),
        count=draw(st.integers(1, 2)) if milli == DEVICE_MILLI else 1,
        models=draw(mostly((), ("a100",), ("h200",), MODELS)),
        milli=milli,
        partition=draw(mostly(None, "1g.10gb")) if milli == DEVICE_MILLI else None,
    )


@st.composite
def groups(draw: st.DrawFn, number: int) -> tuple[TaskView, ...]:
    """The waiting tasks of one job."""
    job_id = JOBS[number]
    is_gang = draw(st.booleans())
    task = TaskView(
        id="",
        job_id=job_id,
        organization_id=organization_of(job_id),
        cpu_milli=draw(st.sampled_from((1, 500, 1_000, 2_000, 5_000))),
        memory_bytes=draw(st.integers(1, 4)),
        disk_bytes=draw(st.integers(0, 2)),
        devices=tuple(draw(st.lists(requests(), max_size=2))),
        wall_time_s=draw(st.integers(1, 200)),
        class_rank=draw(st.integers(0, 2)),
        gang=job_id if is_gang else None,
        gang_within=draw(st.sampled_from((None, *GangScope))) if is_gang else None,
        spread_over=draw(mostly(None, *SpreadOver)),
        spread_most=draw(st.integers(1, 2)),
        alone=draw(mostly(False, True)),
        dedicated=draw(mostly(False, True)),
        reservation=draw(mostly(None, *RESERVATIONS)),
    )
    return tuple(replace(task, id=f"task_{number}_{order}") for order in range(draw(st.integers(1, 3))))


@st.composite
def tasks(draw: st.DrawFn) -> tuple[TaskView, ...]:
    numbers = draw(st.lists(st.sampled_from(range(len(JOBS))), unique=True, min_size=draw(st.integers(0, 3))))
    return tuple(task for number in numbers for task in draw(groups(number)))


@st.composite
def holds(draw: st.DrawFn) -> Hold:
    """Hosts kept for a group that may be among those that wait."""
    start_us = NOW_US + draw(st.integers(-10, 150)) * US_PER_S
    kept = st.lists(st.sampled_from([f"host_{number}" for number in range(5)]), unique=True)
    return Hold(
        draw(st.sampled_from((*JOBS, "task_0_0", "task_1_0"))),
        tuple(draw(kept)),
        start_us,
        NOW_US + draw(st.integers(-10, 100)) * US_PER_S,
        class_rank=draw(st.integers(0, 2)),
    )


def serves(device: DeviceView, wish: DeviceRequest) -> bool:
    """Whether a device is what the request asks for."""
    is_model = device.model in wish.models or len(wish.models) == 0
    return device.kind == wish.kind and is_model and device.partition == (wish.partition or "")


@dataclass
class PlainHost:
    """One host in plain numbers."""

    view: HostView
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    milli: dict[str, int]
    """Thousandths left of each healthy device."""
    residents: list[Holding] = field(default_factory=list)

    @classmethod
    def of(cls, view: HostView) -> "PlainHost":
        """The host with what its holdings leave."""
        milli = {device.id: DEVICE_MILLI for device in view.devices if device.healthy}
        host = cls(view, view.cpu_milli, view.memory_bytes, view.disk_bytes, milli)
        for holding in view.holdings:
            host.enter(holding)
        return host

    def enter(self, holding: Holding) -> None:
        """Work comes."""
        self._change(holding, -1)
        self.residents.append(holding)

    def leave(self) -> None:
        """What came last goes again."""
        self._change(self.residents.pop(), 1)

    def _change(self, holding: Holding, sign: int) -> None:
        self.cpu_milli += sign * holding.cpu_milli
        self.memory_bytes += sign * holding.memory_bytes
        self.disk_bytes += sign * holding.disk_bytes
        for device_id, milli in holding.devices:
            if device_id in self.milli:
                self.milli[device_id] += sign * milli

    def has_room(self, task: TaskView) -> bool:
        """Whether CPU, memory and disk would do. Who asks for no disk does not mind too little."""
        return (
            self.cpu_milli >= task.cpu_milli
            and self.memory_bytes >= task.memory_bytes
            and (task.disk_bytes == 0 or self.disk_bytes >= task.disk_bytes)
        )

    def choices(
        self, wishes: Sequence[DeviceRequest], used: frozenset[str] = frozenset()
    ) -> Iterator[Devices]:
        """Every way to give each request devices of its own."""
        if not wishes:
            yield ()
            return
        wish = wishes[0]
        fitting = [
            device.id
            for device in self.view.devices
            if device.id not in used and serves(device, wish) and self.milli.get(device.id, 0) >= wish.milli
        ]
        for chosen in combinations(fitting, wish.count):
            for rest in self.choices(wishes[1:], used | frozenset(chosen)):
                yield (*((device_id, wish.milli) for device_id in chosen), *rest)


@dataclass
class PlainPool:
    """A pool's hosts by id, with every rule of placement written down one by one."""

    pool: PoolView
    hosts: dict[str, PlainHost]
    now_us: int
    holds: list[Hold] = field(default_factory=list)
    """Those that keep hosts now."""

    @classmethod
    def of(cls, pool: PoolView, views: Iterable[HostView]) -> "PlainPool":
        """The pool before anything is placed."""
        return cls(pool, {view.id: PlainHost.of(view) for view in views}, NOW_US)

    def hindrance(self, task: TaskView, host: PlainHost) -> str | None:
        """The first rule that keeps the task from the host, whatever room there is."""
        others = [one for one in host.residents if one.organization_id != task.organization_id]
        ends_us = self.now_us + task.hold_us
        checks = {
            "dedication": host.view.dedicated_to not in (None, task.organization_id),
            "dedication asked": task.dedicated and host.view.dedicated_to != task.organization_id,
            "tenants": bool(others) and (self.pool.exclusive or task.alone),
            "alone": any(one.alone for one in others),
            "reservation": any(self._is_kept(window, task, ends_us) for window in host.view.windows),
            "reservation asked": task.reservation is not None
            and not any(self._is_named(window, task) for window in host.view.windows),
            "spread": self._is_full(task, host),
            "near": self._is_far(task, host),
            "sharers": not self.pool.devices_shared
            and any(wish.milli < DEVICE_MILLI for wish in task.devices)
            and any(milli < DEVICE_MILLI for one in others for _, milli in one.devices),
            "hold": any(self._is_held(hold, task, host, ends_us) for hold in self.holds),
        }
        return next((name for name, hinders in checks.items() if hinders), None)

    def fits(self, task: TaskView, host: PlainHost) -> bool:
        """Whether the task may and can go to the host."""
        return (
            self.hindrance(task, host) is None
            and host.has_room(task)
            and next(host.choices(task.devices), None) is not None
        )

    def fitting(self, task: TaskView) -> list[str]:
        """The hosts that the task fits on."""
        return [host_id for host_id, host in self.hosts.items() if self.fits(task, host)]

    def take(self, task: TaskView, placed: Placed) -> None:
        """Put a task where a plan says, after checking that it may be there."""
        assert placed.task_id == task.id
        host = self.hosts[placed.host_id]
        assert self.hindrance(task, host) is None
        assert host.has_room(task)
        assert any(sorted(way) == sorted(placed.devices) for way in host.choices(task.devices))
        host.enter(_holding(task, placed.devices))
        assert min(host.cpu_milli, host.memory_bytes) >= 0
        assert host.disk_bytes >= 0 or task.disk_bytes == 0
        assert all(host.milli[device_id] >= 0 for device_id, _ in placed.devices)

    def gang_fits(self, members: Sequence[TaskView]) -> bool:
        """Whether some way to put all members is right: every way is tried."""
        first = members[0]
        places: list[set[str]] = [set(self.hosts)]
        if self._scope(first) is GangScope.HOST:
            places = [{host_id} for host_id in self.hosts]
        elif self._scope(first) is GangScope.FABRIC_ISLAND:
            by_island = partial(_island, self)
            places = [set(ids) for _, ids in groupby(sorted(self.hosts, key=by_island), key=by_island)]
        return any(self._all_fit(list(members), sorted(place)) for place in places)

    def _all_fit(self, members: list[TaskView], host_ids: Sequence[str]) -> bool:
        """Members are alike, so the hosts are filled one after the other."""
        if not members:
            return True
        for index, host_id in enumerate(host_ids):
            host = self.hosts[host_id]
            if self.hindrance(members[0], host) is not None or not host.has_room(members[0]):
                continue
            for devices in host.choices(members[0].devices):
                host.enter(_holding(members[0], devices))
                found = self._all_fit(members[1:], host_ids[index:])
                host.leave()
                if found:
                    return True
        return False

    def _scope(self, task: TaskView) -> GangScope | None:
        """How near the gang must be, where that is for the plane to see to."""
        return None if self.pool.chooses_pool_only else task.gang_within

    def _is_full(self, task: TaskView, host: PlainHost) -> bool:
        if task.spread_over is None or self.pool.chooses_pool_only:
            return False
        domain = _domain(host.view, task.spread_over)
        tasks_there = sum(
            one.job_id == task.job_id
            for other in self.hosts.values()
            if _domain(other.view, task.spread_over) == domain
            for one in other.residents
        )
        return tasks_there >= task.spread_most

    def _is_far(self, task: TaskView, host: PlainHost) -> bool:
        running = {
            other.view.id
            for other in self.hosts.values()
            if any(one.job_id == task.job_id for one in other.residents)
        }
        if task.gang is None or not running or self._scope(task) in (None, GangScope.SITE):
            return False
        if task.gang_within is GangScope.HOST:
            return host.view.id not in running
        return _island(self, host.view.id) not in {_island(self, host_id) for host_id in running}

    def _is_kept(self, window: Window, task: TaskView, ends_us: int) -> bool:
        mine = window.organization_id == task.organization_id
        return not mine and self.now_us < window.end_us and window.start_us < ends_us

    def _is_named(self, window: Window, task: TaskView) -> bool:
        whose = (window.reservation, window.organization_id)
        return whose == (task.reservation, task.organization_id) and (
            window.start_us <= self.now_us < window.end_us
        )

    def _is_held(self, hold: Hold, task: TaskView, host: PlainHost, ends_us: int) -> bool:
        return (
            host.view.id in hold.host_ids
            and self.now_us < hold.until_us
            and hold.start_us < ends_us
            and hold.group_id != (task.gang or task.id)
            and hold.class_rank <= task.class_rank
        )


def plan_check(
    plain: PlainPool,
    waiting: Sequence[TaskView],
    placed: Sequence[Placed],
    refused: Sequence[Refused],
    kept: Sequence[Hold] = (),
) -> None:
    """That an answer is right: each task once, every rule kept, gangs whole, and no refusal but forced.

    A group has what is kept for it from the start: nobody goes there who would be in its way.
    """
    plain.holds = list({hold.group_id: hold for hold in kept}.values())
    answered = Counter([one.task_id for one in placed] + [one.task_id for one in refused])
    assert answered == Counter(task.id for task in waiting)
    went = {one.task_id: one for one in placed}
    for _, group in groupby(waiting, key=lambda task: task.gang or task.id):
        members = list(group)
        chosen = [went[member.id] for member in members if member.id in went]
        assert len(chosen) in (0, len(members)), "a gang is placed whole or not at all"
        if not chosen:
            assert refusal_is_forced(plain, members)
        elif members[0].gang is None:
            assert chosen[0].candidates == len(plain.fitting(members[0]))
            assert chosen[0].host_id == chosen[0].best[0].host_id
            assert {one.host_id for one in chosen[0].best} <= set(plain.fitting(members[0]))
        for member, one in zip(members, chosen, strict=False):
            plain.take(member, one)


def refusal_is_forced(plain: PlainPool, members: Sequence[TaskView]) -> bool:
    """Whether there was no place. Gangs with several requests each may miss one: packing them is hard."""
    if members[0].gang is None:
        return not plain.fitting(members[0])
    return len(members[0].devices) > 1 or not plain.gang_fits(members)


def _holding(task: TaskView, devices: Devices) -> Holding:
    return Holding(
        task.id,
        task.job_id,
        task.organization_id,
        task.cpu_milli,
        task.memory_bytes,
        task.disk_bytes,
        devices,
        0,
        0,
        alone=task.alone,
    )


def _domain(view: HostView, over: SpreadOver) -> str:
    return view.id if over is SpreadOver.HOST else view.failure_domain or view.id


def _island(plain: PlainPool, host_id: str) -> str:
    return plain.hosts[host_id].view.fabric_island or host_id
