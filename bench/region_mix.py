"""What 100 and more organizations submit to a GPU region over a day: drawn from a seed, scaled to a load.

The shape follows what operators of GPU clusters published: most jobs are small and short while most device
time goes to few large ones, durations are about log-normal over five decades, and arrivals follow the day
(Jeon et al., "Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads", ATC 2019; Hu et
al., "Characterization and Prediction of Deep Learning Workloads in Large-Scale GPU Datacenters", SC 2021;
Weng et al., "MLaaS in the Wild", NSDI 2022). The numbers are ours: no trace of such a region is public.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from kumoi.model.jobs import DeviceRequest, GangScope, JobSpec, PlacementRules, Resources, WorkClass

HOUR_S = 3_600
DAY_S = 24 * HOUR_S
GIB = 1 << 30
DEVICES_PER_HOST = 8
DURATION_LEAST_S = 60.0
DURATION_MOST_S = 3 * DAY_S
RHYTHM = 0.15
"""Arrivals at the height of the day lie so far above the mean, at night below."""
PEAK_H = 15
CLASS_WEIGHTS = {WorkClass.GUARANTEED: 15, WorkClass.STANDARD: 65, WorkClass.PREEMPTIBLE: 20}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job. `weight` is its part of all jobs, `median_s` and `sigma` its log-normal duration."""

    name: str
    weight: float
    count: int
    milli: int
    median_s: float
    sigma: float
    gangs: tuple[int, ...] = ()


KINDS = (
    Kind("share", 0.30, 1, 250, 1_200, 1.2),
    Kind("half", 0.10, 1, 500, 1_800, 1.2),
    Kind("one", 0.33, 1, 1_000, 3_600, 1.3),
    Kind("some", 0.12, 4, 1_000, 5_400, 1.2),
    Kind("host", 0.11, 8, 1_000, 7_200, 1.1),
    Kind("gang", 0.04, 8, 1_000, 10_800, 0.9, (2, 4, 8, 16, 32, 64, 128, 256)),
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A job with when and by whom (a number) it is submitted."""

    at_s: float
    organization: int
    spec: JobSpec
    device_s: float
    """Devices times seconds that it takes."""


@dataclass(slots=True)
class Mix:
    """Jobs of so many organizations that ask for `load` of `devices` devices, about `tasks_per_day` tasks.

    Durations are stretched so that so many tasks make that load. `gang_most` bounds gangs to the region.
    """

    seed: int
    organizations: int
    devices: int
    load: float
    tasks_per_day: int
    gang_most: int = 256
    _random: random.Random = field(init=False)
    _stretch: float = field(init=False)
    _weights: list[float] = field(init=False)
    jobs_per_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        # Few large and many small organizations.
        self._weights = [1 / (rank + 3) for rank in range(self.organizations)]
        trial = random.Random(self.seed + 1)
        drawn = [self._draw(trial, 1.0) for _ in range(20_000)]
        tasks = sum(size for _, size, _ in drawn) / len(drawn)
        self.jobs_per_s = self.tasks_per_day / tasks / DAY_S
        wanted_device_s = self.load * self.devices / self.jobs_per_s
        low, high = 0.01, 1_000.0
        for _ in range(40):
            middle = math.sqrt(low * high)
            mean = sum(_device_s(kind, size, _clip(run_s * middle)) for kind, size, run_s in drawn) / len(
                drawn
            )
            low, high = (middle, high) if mean < wanted_device_s else (low, middle)
        self._stretch = low

    def standing(self, part: float) -> Iterator[Arrival]:
        """Jobs that fill `part` of the devices as if the region had been at work for long."""
        held = 0.0
        while held < part * self.devices:
            # Length-biased by rejection: of what runs at a moment, long jobs are the most.
            kind, size, run_s = self._draw(self._random, self._stretch)
            if self._random.random() * DURATION_MOST_S > run_s:
                continue
            yield self._arrival(0.0, kind, size, max(DURATION_LEAST_S, run_s * self._random.random()))
            held += size * kind.count * kind.milli / 1_000

    def day(self, until_s: float) -> Iterator[Arrival]:
        """Arrivals in order of time, thinned from the rate of the peak."""
        peak = self.jobs_per_s * (1 + RHYTHM)
        at_s = 0.0
        while (at_s := at_s + self._random.expovariate(peak)) < until_s:
            rate = 1 + RHYTHM * math.cos(2 * math.pi * (at_s / HOUR_S - PEAK_H) / 24)
            if self._random.random() * (1 + RHYTHM) < rate:
                yield self._arrival(at_s, *self._draw(self._random, self._stretch))

    def _draw(self, source: random.Random, stretch: float) -> tuple[Kind, int, float]:
        """A kind, how many tasks, and how long they run."""
        (kind,) = source.choices(KINDS, [kind.weight for kind in KINDS])
        sizes = [size for size in kind.gangs if size <= self.gang_most] or [1]
        (size,) = source.choices(sizes, [1 / size for size in sizes])
        run_s = source.lognormvariate(math.log(kind.median_s), kind.sigma)
        return kind, size, _clip(run_s * stretch) if stretch != 1.0 else run_s

    def _arrival(self, at_s: float, kind: Kind, size: int, run_s: float) -> Arrival:
        source = self._random
        (organization,) = source.choices(range(self.organizations), self._weights)
        (work_class,) = source.choices(list(CLASS_WEIGHTS), list(CLASS_WEIGHTS.values()))
        wall_s = int(run_s * source.choice((1.2, 1.5, 2.0, 4.0))) + 60
        whole = kind.count * kind.milli / 1_000
        spec = JobSpec(
            command=("run", f"{run_s:.0f}"),
            name=kind.name,
            array_size=size,
            gang=size > 1,
            work_class=work_class,
            priority=source.randrange(-2, 3),
            resources=Resources(
                cpu_milli=max(1_000, int(whole * source.choice((8_000, 12_000, 20_000)))),
                memory_bytes=max(8, int(whole * source.choice((64, 128, 200)))) * GIB,
                wall_time_s=wall_s,
                devices=(DeviceRequest(kind="gpu", count=kind.count, milli=kind.milli),),
            ),
            rules=PlacementRules(gang_within=GangScope.FABRIC_ISLAND) if 1 < size <= 16 else PlacementRules(),
        )
        return Arrival(at_s, organization, spec, _device_s(kind, size, run_s))


def _clip(run_s: float) -> float:
    return min(max(run_s, DURATION_LEAST_S), DURATION_MOST_S)


def _device_s(kind: Kind, size: int, run_s: float) -> float:
    return size * kind.count * kind.milli / 1_000 * run_s
