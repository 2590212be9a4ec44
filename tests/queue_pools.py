"""Small pools with work on them, for the properties of backfill and preemption."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from hypothesis import strategies as st

from kumoi.core.placement.snapshot import DeviceView, Holding, HostView, PoolView, TaskView, Window
from kumoi.core.queue.backfill import failure_domain
from kumoi.core.queue.space import Space, host_open, neighbours_agree
from kumoi.model.jobs import DeviceRequest, GangScope, SpreadOver
from kumoi.model.time import US_PER_S

NOW_US = 1_000 * US_PER_S
ORGANIZATIONS = ("org_a", "org_b")
POOL = PoolView("pool_1")
requests = st.sampled_from(
    (
        (),
        (DeviceRequest("gpu", 1),),
        (DeviceRequest("gpu", 2, ("h200",)),),
        (DeviceRequest("gpu", 1, (), 500),),
    )
)


@st.composite
def holdings(draw: st.DrawFn, host: HostView, number: int) -> HostView:
    """The host with one thing more on it, if that fits."""
    task = TaskView(
        "",
        draw(st.sampled_from(("job_1", "job_2", f"job_{host.id}_{number}"))),
        draw(st.sampled_from(ORGANIZATIONS)),
        draw(st.integers(1, 4_000)),
        draw(st.integers(1, 8)),
    )
    space = Space(host)
    if not space.take(task):
        return host
    devices: tuple[tuple[str, int], ...] = ()
    taken = {device_id for holding in host.holdings for device_id, _ in holding.devices}
    free = [device.id for device in host.devices if device.healthy and device.id not in taken]
    if free and draw(st.booleans()):
        devices = ((free[0], draw(st.sampled_from((250, 1_000)))),)
    gang = task.job_id in ("job_1", "job_2")
    holding = Holding(
        f"att_{host.id}_{number}",
        task.job_id,
        task.organization_id,
        task.cpu_milli,
        task.memory_bytes,
        0,
        devices,
        NOW_US - draw(st.integers(0, 500)) * US_PER_S,
        NOW_US + draw(st.integers(-10, 300)) * US_PER_S,
        class_rank={"job_1": 1, "job_2": 2}.get(task.job_id, draw(st.integers(0, 2))),
        gang=gang,
        restartable=draw(st.booleans()),
    )
    return replace(host, holdings=(*host.holdings, holding))


@st.composite
def windows(draw: st.DrawFn) -> tuple[Window, ...]:
    if draw(st.integers(0, 3)):
        return ()
    start_us = NOW_US + draw(st.integers(-50, 200)) * US_PER_S
    end_us = start_us + draw(st.integers(1, 200)) * US_PER_S
    return (Window("soon", draw(st.sampled_from(ORGANIZATIONS)), start_us, end_us),)


@st.composite
def pools(draw: st.DrawFn) -> tuple[HostView, ...]:
    made = []
    for number in range(draw(st.integers(1, 4))):
        devices = tuple(
            DeviceView(
                f"dev_{number}_{slot}", "gpu", draw(st.sampled_from(("h200", "a100"))), healthy=slot < 3
            )
            for slot in range(draw(st.integers(0, 4)))
        )
        host = HostView(
            f"host_{number}",
            f"host-{number}",
            0,
            draw(st.integers(1_000, 8_000)),
            draw(st.integers(1, 16)),
            0,
            devices,
            failure_domain=draw(st.sampled_from(("", "rack_1"))),
            fabric_island=draw(st.sampled_from(("", "island_1", "island_2"))),
            dedicated_to=draw(st.sampled_from((None, None, None, "org_b"))),
            windows=draw(windows()),
        )
        for order in range(draw(st.integers(0, 4))):
            host = draw(holdings(host, order))
        made.append(host)
    return tuple(made)


@st.composite
def groups(draw: st.DrawFn) -> tuple[TaskView, ...]:
    size = draw(st.integers(1, 3))
    task = TaskView(
        "",
        "job_new",
        "org_a",
        draw(st.integers(1, 8_000)),
        draw(st.integers(1, 16)),
        devices=draw(requests),
        wall_time_s=draw(st.integers(1, 100)),
        class_rank=draw(st.integers(0, 1)),
        gang="job_new" if size > 1 else None,
        gang_within=draw(st.sampled_from((None, *GangScope))) if size > 1 else None,
        spread_over=draw(st.sampled_from((None, None, *SpreadOver))),
        spread_most=draw(st.integers(1, 2)),
        alone=draw(st.booleans()),
    )
    return tuple(replace(task, id=f"task_{number}") for number in range(size))


def fits_at(group: Sequence[TaskView], hosts: Sequence[HostView], at_us: int, pool: PoolView = POOL) -> bool:
    """Whether some way to put the group on the hosts holds at `at_us`: every way is tried."""
    return any(_holds(group[0], chosen, at_us, pool) for chosen in product(hosts, repeat=len(group)))


def _holds(task: TaskView, chosen: Sequence[HostView], at_us: int, pool: PoolView) -> bool:
    if task.gang_within is GangScope.HOST and len({host.id for host in chosen}) > 1:
        return False
    islands = {host.fabric_island or host.id for host in chosen}
    if task.gang_within is GangScope.FABRIC_ISLAND and len(islands) > 1:
        return False
    spaces: dict[str, Space] = {}
    domains: Counter[str] = Counter()
    for host in chosen:
        staying = [holding for holding in host.holdings if holding.ends_us > at_us]
        if not (host_open(host, task, at_us) and neighbours_agree(staying, task, pool)):
            return False
        space = spaces.setdefault(host.id, Space(replace(host, holdings=tuple(staying))))
        if not space.take(task):
            return False
        domains[host.id if task.spread_over is SpreadOver.HOST else failure_domain(host)] += 1
    return task.spread_over is None or max(domains.values()) <= task.spread_most
