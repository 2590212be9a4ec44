"""Tasks arrive at a placer one at a time (and leave again, in the churn track); what happened is kept."""

import gc
import heapq
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from openb import Host, Task, capacity_milli
from placement_audit import Event

from kumoi.core.placement.fgd import Fgd
from kumoi.core.placement.host_table import HostTable
from kumoi.core.placement.placer import Placer
from kumoi.core.placement.policies import Policy
from kumoi.core.placement.registry import policy_new
from kumoi.core.placement.shapes import HostShape, Shape

BAND_PERCENT = 10
CHURN_WARM_UP = 2.0
CHURN_MEASURED = 8.0
CHURN_LOAD = 1.0

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Run:
    """One run. Per arrival: per cent asked for so far and allocated, time and processor time of the call."""

    arrived_percent: Floats
    allocated_percent: Floats
    call_us: Floats
    cpu_us: Floats
    events: list[Event]
    refresh_ms: list[float] = field(default_factory=list)

    def allocation_at(self, percent: int) -> float:
        """The mean allocation over the arrivals at which the rounded load was this.

        Where there is none since tasks are large beside the hosts: after the last arrival before.
        """
        at = np.rint(self.arrived_percent) == percent
        if not at.any():
            at = [max(0, int(self.arrived_percent.searchsorted(percent)) - 1)]
        return float(self.allocated_percent[at].mean())

    @property
    def refused(self) -> int:
        """How many tasks were refused."""
        return sum(event.task is not None and event.host is None for event in self.events)


def run_arrivals(hosts: Sequence[Host], arrivals: Sequence[Task], policy: str) -> Run:
    """Place the arrivals in order. A call is: learn of the task, choose a host, take it; one task at a time.

    `fgd` is told the tasks beforehand, as in its paper. The others know nothing but what arrived. What a
    policy concludes between calls (`refresh`) is timed apart.

    On a shared machine a call can be interrupted for longer than it takes; its processor time shows that.
    The garbage collector does not look at the arrivals, which are the benchmark's own.
    """
    placer = placer_make(hosts, policy, arrivals)
    shapes = [shape_of(task) for task in arrivals]
    capacity = capacity_milli(list(hosts))
    call_us, cpu_us = np.zeros(len(arrivals)), np.zeros(len(arrivals))
    chosen: list[tuple[int | None, tuple[int, ...]]] = []
    refresh_ms = []
    gc.collect()
    gc.freeze()
    clock, cpu_clock = time.perf_counter_ns, time.thread_time_ns
    for number, shape in enumerate(shapes):
        cpu_start = cpu_clock()
        start = clock()
        placer.learn(shape)
        host = placer.choose(shape)
        slots = placer.take(host, shape) if host is not None else ()
        call_us[number] = (clock() - start) / 1_000
        cpu_us[number] = (cpu_clock() - cpu_start) / 1_000
        chosen.append((host, slots))
        if placer.refresh_due():
            start = clock()
            placer.refresh()
            refresh_ms.append((clock() - start) / 1e6)
    gc.unfreeze()
    events = [Event(task, host, slots) for task, (host, slots) in zip(arrivals, chosen, strict=True)]
    asked = np.array([task.milli for task in arrivals], np.float64)
    placed = np.array([event.host is not None for event in events])
    return Run(
        100 * asked.cumsum() / capacity,
        100 * (asked * placed).cumsum() / capacity,
        call_us,
        cpu_us,
        events,
        refresh_ms,
    )


def run_churn(
    hosts: Sequence[Host], tasks: Sequence[Task], policy: str, seed: int, measured: float = CHURN_MEASURED
) -> tuple[float, list[Event]]:
    """Mean allocation (per cent, by time) while tasks come and go, and what happened.

    Tasks are drawn with replacement, arrive as a Poisson process and stay for exponential times of mean 1, so
    that on average as much is asked for as there is. Refused tasks do not come back.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    capacity = capacity_milli(list(hosts))
    rate = CHURN_LOAD * capacity / np.mean([task.milli for task in tasks])
    placer = placer_make(hosts, policy, tasks)
    shapes = {task: shape_of(task) for task in tasks}
    end = CHURN_WARM_UP + measured
    now, used, area = 0.0, 0, 0.0
    leaving: list[tuple[float, int]] = []
    events: list[Event] = []

    def pass_time(until: float) -> None:
        nonlocal now, area
        area += used * max(0.0, min(until, end) - max(now, CHURN_WARM_UP))
        now = until

    while now < end:
        arrival = now + random.exponential(1 / rate)
        task = tasks[int(random.integers(len(tasks)))]
        stays = random.exponential()
        while leaving and leaving[0][0] <= arrival:
            moment, number = heapq.heappop(leaving)
            pass_time(moment)
            gone = events[number]
            assert gone.task is not None
            assert gone.host is not None
            placer.give_back(gone.host, shapes[gone.task], gone.slots)
            placer.leave(shapes[gone.task])
            used -= gone.task.milli
            events.append(Event(None, leaves=number))
        pass_time(arrival)
        shape = shapes[task]
        placer.learn(shape)
        host = placer.choose(shape)
        slots = placer.take(host, shape) if host is not None else ()
        if host is not None:
            used += task.milli
            heapq.heappush(leaving, (now + stays, len(events)))
        events.append(Event(task, host, slots))
        if placer.refresh_due():
            placer.refresh()
    return 100 * area / measured / capacity, events


def worst_band(runs: Sequence[Run], times: Sequence[Floats]) -> Floats:
    """The times of the calls in the ten per cent of arrived load in which they are longest on average."""
    every = np.concatenate(times)
    bands = np.concatenate([run.arrived_percent // BAND_PERCENT for run in runs])
    return max((every[bands == band] for band in np.unique(bands)), key=lambda some: float(some.mean()))


def placer_make(hosts: Sequence[Host], policy: str, known: Sequence[Task]) -> Placer:
    """A placer on empty hosts."""
    table = HostTable(
        HostShape(host.cpu_milli, host.memory_mib << 20, 0, (host.model,) * host.gpus) for host in hosts
    )
    chosen: Policy
    if policy == Fgd.name:
        chosen = Fgd(table, Counter(shape_of(task) for task in known))
    else:
        chosen = policy_new(policy, table)
    return Placer(table, chosen)


def shape_of(task: Task) -> Shape:
    """The task as the program knows it."""
    return Shape(task.cpu_milli, task.memory_mib << 20, 0, task.gpus, task.gpu_milli, task.models)
