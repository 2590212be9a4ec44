"""A day of a region of 75 EFLOPS: what the plane costs, and what becomes of the work.

10,000 hosts with 8 devices each (989.4 dense FP16 TFLOPS a device make 79 EFLOPS), 120 organizations. The
plane's loops and store are the real ones; the engine runs nothing and the clock is moved by hand, in steps of
`--step-s`, at each of which every loop that moves work runs until it has no more to do. The loops that watch
(hosts, upkeep, the log) cost the same however little happens: they run every `WATCH_S` of the day and are
charged at their real intervals.
"""

import resource
import sys
import tempfile
import time
from collections import Counter, defaultdict
from itertools import chain
from pathlib import Path
from statistics import mean

from region_mix import HOUR_S, Mix
from region_world import T0_US, RegionWorld
from report import Figure, Report, arguments_make, machine_describe, report_print, say
from sim_engine import DEVICES_PER_HOST
from sqlalchemy import select

from kumoi.store import schema
from kumoi.store.database import Connection

S_US = 1_000_000
WATCH_S = 1_800
LOOK_S = 600
INTERVALS_S = {"hosts": 10.0, "upkeep": 5.0, "ledger": 5.0}
"""How often the plane runs the loops that watch (`kumoi.main.wiring`)."""
MOVING = ("tasks", "jobs", "placement")
LOAD = 0.93
STANDING = 0.9


def main() -> int:
    """Simulate and print."""
    parser = arguments_make(__doc__ or "")
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--organizations", type=int, default=120)
    parser.add_argument("--hours", type=float, default=24.0, help="how much of the day")
    parser.add_argument("--tasks", type=int, default=40_000, help="tasks a day; durations make the load")
    parser.add_argument("--step-s", type=float, default=20.0, help="how far the clock is moved at once")
    options = parser.parse_args()
    machine = machine_describe()
    with tempfile.TemporaryDirectory(prefix="kumoi-bench-region-") as place:
        world = RegionWorld(Path(place), options.hosts, options.organizations)
        try:
            mix = Mix(
                options.seed,
                options.organizations,
                options.hosts * DEVICES_PER_HOST,
                LOAD,
                options.tasks,
                gang_most=max(2, min(256, options.hosts // 8)),
            )
            found = day_run(world, mix, options.hours, options.step_s)
        finally:
            world.close()
    report_print(Report("region", options.seed, figures_make(found)), machine, as_json=options.json)
    return 0


def day_run(world: RegionWorld, mix: Mix, hours: float, step_s: float) -> dict[str, float]:
    """Fill the region, live through the hours, and return what was found."""
    begun_s = time.perf_counter()
    world.activate("hosts")
    standing = list(mix.standing(STANDING))
    say(f"filling the region with {len(standing)} jobs")
    for first in range(0, len(standing), 1_000):
        part = standing[first : first + 1_000]
        world.submit((world.organizations[one.organization], one.spec) for one in part)
        world.settle()
    say(f"full after {time.perf_counter() - begun_s:.0f} s: {world.allocation():.1%} allocated")
    world.cpu_s.clear()
    world.activations.clear()
    world.longest_s.clear()
    placed_before = world.count(schema.attempts)
    samples, submitted = _hours_pass(world, mix, hours, step_s)
    decisions = world.count(schema.attempts) - placed_before
    found = _costs(world, decisions, hours)
    found |= _waits(world) | _fairness(world)
    found |= {
        "allocation_mean": 100 * mean(samples),
        "allocation_least": 100 * min(samples),
        "decisions": float(decisions),
        "jobs_submitted": float(submitted),
        "tasks_waiting_at_end": float(world.count(schema.tasks, schema.tasks.c.state == "queued")),
        "real_s": time.perf_counter() - begun_s,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }
    return found


def _hours_pass(world: RegionWorld, mix: Mix, hours: float, step_s: float) -> tuple[list[float], int]:
    """The allocation, looked at every so often, and how many jobs were submitted."""
    begin_us = world.now_us
    arrivals = mix.day(hours * HOUR_S)
    coming = next(arrivals, None)
    samples: list[float] = []
    submitted = 0
    begun_s = time.perf_counter()
    for step in range(1, int(hours * HOUR_S / step_s) + 1):
        at_s = step * step_s
        world.now_us = begin_us + int(at_s * S_US)
        due = []
        while coming is not None and coming.at_s <= at_s:
            due.append((world.organizations[coming.organization], coming.spec))
            coming = next(arrivals, None)
        world.submit(due)
        submitted += len(due)
        world.settle(MOVING)
        if at_s % WATCH_S < step_s:
            for name in INTERVALS_S:
                world.activate(name)
        if at_s % LOOK_S < step_s:
            samples.append(world.allocation())
        if at_s % HOUR_S < step_s:
            costs = ", ".join(f"{name} {world.cpu_s[name]:.1f}" for name in world.cpu_s)
            took_s = time.perf_counter() - begun_s
            say(f"hour {at_s / HOUR_S:.0f}: {samples[-1]:.1%} allocated, {took_s:.0f} s; cpu {costs}")
    return samples or [world.allocation()], submitted


def _costs(world: RegionWorld, decisions: int, hours: float) -> dict[str, float]:
    """Processor time of the plane, for each decision and of a core."""
    moving_s = sum(world.cpu_s[name] for name in MOVING)
    found = {
        "placement_cpu_ms_per_decision": 1e3 * world.cpu_s["placement"] / max(1, decisions),
        "plane_cpu_ms_per_decision": 1e3 * moving_s / max(1, decisions),
        "placement_longest_pass_ms": 1e3 * world.longest_s["placement"],
        "core_share_moving": 100 * moving_s / (hours * HOUR_S),
    }
    watching = 0.0
    for name, interval_s in INTERVALS_S.items():
        each_s = world.cpu_s[name] / max(1, world.activations[name])
        found[f"{name}_cpu_ms"] = 1e3 * each_s
        watching += each_s / interval_s
    found["core_share_watching"] = 100 * watching
    found["core_share"] = found["core_share_moving"] + found["core_share_watching"]
    return found


def _waits(world: RegionWorld) -> dict[str, float]:
    """How long first attempts waited since their submission, by class; what waits still counts as well."""
    jobs, tasks, attempts = schema.jobs, schema.tasks, schema.attempts
    placed = select(jobs.c.work_class, jobs.c.created_us, attempts.c.placed_us)
    placed = placed.join(jobs, jobs.c.id == attempts.c.job_id).where(attempts.c.number == 1)
    waiting = select(jobs.c.work_class, jobs.c.created_us).join(jobs, jobs.c.id == tasks.c.job_id)
    waiting = waiting.where(tasks.c.state == "queued", jobs.c.created_us > T0_US)

    def ask(connection: Connection) -> list[tuple[str, float]]:
        ended = [(row[0], (row[2] - row[1]) / S_US) for row in connection.execute(placed) if row[1] > T0_US]
        return ended + [(row[0], (world.now_us - row[1]) / S_US) for row in connection.execute(waiting)]

    by_class: dict[str, list[float]] = defaultdict(list)
    for work_class, wait_s in world.store.read_wait(ask):
        by_class[work_class].append(wait_s)
    found: dict[str, float] = {}
    everybody = sorted(chain.from_iterable(by_class.values())) or [0.0]
    found["wait_p50_s"] = everybody[len(everybody) // 2]
    found["wait_p99_s"] = everybody[len(everybody) * 99 // 100]
    found["wait_longest_s"] = everybody[-1]
    for work_class, waits in by_class.items():
        found[f"wait_mean_s_{work_class}"] = mean(waits)
        found[f"wait_longest_s_{work_class}"] = max(waits)
    return found


def _fairness(world: RegionWorld) -> dict[str, float]:
    """Jain's index over the organizations' parts of their tasks that were placed: 1 where all are alike."""
    jobs, tasks = schema.jobs, schema.tasks
    statement = select(jobs.c.organization_id, tasks.c.state).join(jobs, jobs.c.id == tasks.c.job_id)
    total: Counter[str] = Counter()
    served: Counter[str] = Counter()
    for organization, state in world.store.read_wait(lambda c: c.execute(statement).all()):
        total[organization] += 1
        served[organization] += state != "queued"
    parts = [served[name] / count for name, count in total.items()]
    if not any(parts):
        return {"fairness": 0.0}
    return {"fairness": sum(parts) ** 2 / (len(parts) * sum(part * part for part in parts))}


def figures_make(found: dict[str, float]) -> tuple[Figure, ...]:
    """The figures in the order in which they are told."""
    units = {
        "_ms": "ms",
        "_ms_per_decision": "ms",
        "_mib": "MiB",
        "_s": "s",
    }
    figures = []
    for name, value in found.items():
        unit = next((unit for ending, unit in units.items() if name.endswith(ending)), "")
        if name.startswith(("core_share", "allocation")):
            unit = "%"
        elif name.startswith("wait_"):
            unit = "s"
        better = "higher" if name.startswith(("allocation", "fairness", "decisions")) else "lower"
        figures.append(Figure(name, value, unit, better))  # type: ignore[arg-type]
    return tuple(figures)


if __name__ == "__main__":
    sys.exit(main())
