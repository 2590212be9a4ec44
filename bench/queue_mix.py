"""A seeded mix of work: organizations of very different demand, small tasks, arrays, gangs, three classes."""

import math
import random
from dataclasses import dataclass

from kumoi.core.placement.snapshot import TaskView
from kumoi.model.jobs import DeviceRequest
from kumoi.model.time import US_PER_S

HOST_CPU_MILLI = 128_000
HOST_MEMORY_BYTES = 1 << 40
HOST_DEVICES = 8
RUN_S_MAX = 8 * 3_600
_DAY_S = 86_400
# Name, how often, tasks (least, most), devices of a task, cores of a task, median run time.
_KINDS = (
    ("single", 0.50, (1, 1), 1, 8, 900),
    ("cpu", 0.20, (1, 4), 0, 8, 600),
    ("array", 0.12, (16, 96), 1, 8, 1_200),
    ("node", 0.08, (1, 1), HOST_DEVICES, 96, 3_600),
    ("gang", 0.10, (2, 8), HOST_DEVICES, 96, 3_600),
)
_CLASSES = (0.10, 0.75, 0.15)


@dataclass(frozen=True, slots=True)
class Group:
    """What starts together: a task, or all of a gang. It runs for `run_s`, of which it says only a limit."""

    tasks: tuple[TaskView, ...]
    submitted_s: float
    run_s: float

    @property
    def first(self) -> TaskView:
        """One of the tasks, which are alike."""
        return self.tasks[0]

    @property
    def devices(self) -> int:
        """Devices of all tasks."""
        return len(self.tasks) * sum(wish.count for wish in self.first.devices)

    @property
    def submitted_us(self) -> int:
        """When it came."""
        return round(self.submitted_s * US_PER_S)


@dataclass(frozen=True, slots=True)
class Mix:
    """How much work comes for how long: `load` is devices asked for over devices there are."""

    hosts: int = 32
    organizations: int = 24
    days: float = 1.0
    load: float = 0.9


def groups_make(mix: Mix, seed: int) -> list[Group]:
    """The work of a run, in the order in which it comes."""
    rng = random.Random(seed)
    # Zipf: the first organization asks for ten times what the tenth does.
    weights = [1 / (rank + 1) for rank in range(mix.organizations)]
    budget_s = mix.load * mix.hosts * HOST_DEVICES * mix.days * _DAY_S
    made: list[Group] = []
    job = 0
    while budget_s > 0:
        at_s = _arrival_s(rng, mix.days)
        organization = rng.choices(range(mix.organizations), weights)[0]
        groups = _job(rng, f"org_{organization:02}", job, at_s)
        made += groups
        budget_s -= sum(group.devices * group.run_s for group in groups)
        job += 1
    return sorted(made, key=lambda group: (group.submitted_s, group.first.id))


def _arrival_s(rng: random.Random, days: float) -> float:
    """A time, three times as likely at the height of the day as at night."""
    while True:
        at_s = rng.uniform(0, days * _DAY_S)
        if rng.uniform(0, 1.5) <= 1 + 0.5 * math.sin(2 * math.pi * at_s / _DAY_S):
            return at_s


def _job(rng: random.Random, organization_id: str, number: int, at_s: float) -> list[Group]:
    name, _, sizes, devices, cores, median_s = rng.choices(_KINDS, [kind[1] for kind in _KINDS])[0]
    rank = rng.choices(range(3), _CLASSES)[0]
    size = rng.randint(*sizes)
    limit_factor = rng.uniform(1.1, 4.0)
    job_id = f"job_{number:05}"
    gang = job_id if name == "gang" else None
    priority = rng.choice((0, 0, 0, 10, 100))

    def run_s() -> float:
        return min(RUN_S_MAX, max(30.0, rng.lognormvariate(math.log(median_s), 1.0)))

    def task(index: int, wall_time_s: int) -> TaskView:
        return TaskView(
            f"{job_id}/{index:03}",
            job_id,
            organization_id,
            cores * 1_000,
            cores << 33,
            devices=(DeviceRequest("gpu", devices),) if devices else (),
            wall_time_s=wall_time_s,
            class_rank=rank,
            priority=priority,
            gang=gang,
        )

    if gang is not None:
        whole_s = run_s()
        limit_s = math.ceil(whole_s * limit_factor)
        return [Group(tuple(task(index, limit_s) for index in range(size)), at_s, whole_s)]
    runs_s = [run_s() for _ in range(size)]
    limit_s = math.ceil(max(runs_s) * limit_factor)
    return [Group((task(index, limit_s),), at_s, run) for index, run in enumerate(runs_s)]
