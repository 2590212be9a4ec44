"""Runs the queues over the seeds and says what came of it."""

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from queue_mix import Mix, groups_make
from queue_policies import QUEUES
from queue_sim import Measured, Simulation
from report import Figure, Report, arguments_make, machine_describe, report_print, say
from svg import Axis, Line, chart

CLASSES = ("guaranteed", "standard", "preemptible")
SLOWDOWN_RUN_S_MIN = 600.0
"""Shorter work counts as this long: a second's wait is no slowdown of a second's run."""
CHART_HOURS = 8
REFERENCE = "fifo_backfill"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, measure, print; 2 if the arguments make no sense."""
    parser = arguments_make("Waiting time, fairness and utilisation of three queues over the same work.")
    parser.add_argument("--seeds", type=int, default=3, help="runs, of seeds one after the other")
    parser.add_argument("--hosts", type=int, default=32, help="hosts of 8 devices and 128 cores")
    parser.add_argument("--organizations", type=int, default=24)
    parser.add_argument("--days", type=float, default=1.0)
    parser.add_argument("--load", type=float, default=0.9, help="devices asked for over devices there are")
    parser.add_argument("--chart", type=Path, help="where the chart of waiting times goes, as SVG")
    options = parser.parse_args(arguments)
    if (
        min(options.seeds, options.organizations) < 1
        or options.hosts < 8
        or min(options.days, options.load) <= 0
    ):
        print("queue: give at least one seed and organization, 8 hosts, some days and load", file=sys.stderr)
        return 2
    machine = machine_describe()
    mix = Mix(options.hosts, options.organizations, options.days, options.load)
    runs: dict[str, list[Measured]] = {name: [] for name in QUEUES}
    for seed in range(options.seed, options.seed + options.seeds):
        groups = groups_make(mix, seed)
        for name, queue in QUEUES.items():
            say(f"{name}: seed {seed}, {len(groups)} groups, {mix.hosts} hosts, {mix.days:g} days")
            runs[name].append(Simulation(mix, groups, queue()).run())
    if options.chart:
        options.chart.write_text(waits_chart(runs), encoding="utf-8")
    figures = figures_make(runs)
    report_print(Report("queue", options.seed, figures), machine, as_json=options.json)
    return 0


def figures_make(runs: dict[str, list[Measured]]) -> tuple[Figure, ...]:
    """Means over the seeds; the reference is FIFO with backfill."""
    values = {
        name: {key: _mean(runs[name], measure) for key, (measure, _, _) in MEASURES.items()} for name in runs
    }
    figures = []
    for name in runs:
        for key, (_, unit, better) in MEASURES.items():
            reference = values[REFERENCE][key] if name != REFERENCE else None
            figures.append(Figure(f"{name}.{key}", values[name][key], unit, better, None, reference))
    figures.append(Figure("kumoi.lost", _mean(runs["kumoi"], _lost), "%", "lower"))
    passes = [span_s for run in runs["kumoi"] for span_s in run.passes_s]
    figures.append(Figure("kumoi.pass_p50_ms", 1_000 * _quantile(passes, 0.5), "ms", "lower"))
    figures.append(Figure("kumoi.pass_p99_ms", 1_000 * _quantile(passes, 0.99), "ms", "lower"))
    return tuple(figures)


def waits_chart(runs: dict[str, list[Measured]]) -> str:
    """How much of the work, and of the gangs, has started within how many hours."""
    lines = []
    for name, of_queue in runs.items():
        for what, chosen in (("", _all), (", gangs", _gangs)):
            waits = sorted(wait for run in of_queue for wait in chosen(run))
            points = []
            for tenth in range(10 * CHART_HOURS + 1):
                within = sum(wait <= 360 * tenth for wait in waits)
                points.append((tenth / 10, 100 * within / max(1, len(waits))))
            lines.append(Line(f"{name}{what}", points))
    hours = Axis("hours waited", 0, CHART_HOURS, 1)
    return chart("Work that has started", hours, Axis("% of the work", 0, 100, 10), lines)


def _mean(runs: Sequence[Measured], measure: Callable[[Measured], float]) -> float:
    return statistics.fmean(measure(run) for run in runs)


def _quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that `part` of all do not pass."""
    in_order = sorted(values)
    return in_order[min(len(in_order) - 1, int(part * len(in_order)))] if in_order else 0.0


def _all(run: Measured) -> list[float]:
    return list(run.waits_s.values())


def _gangs(run: Measured) -> list[float]:
    return [wait for key, wait in run.waits_s.items() if run.groups[key].first.gang is not None]


def _of_class(rank: int) -> Callable[[Measured], list[float]]:
    def chosen(run: Measured) -> list[float]:
        return [wait for key, wait in run.waits_s.items() if run.groups[key].first.class_rank == rank]

    return chosen


def _p95(chosen: Callable[[Measured], list[float]]) -> Callable[[Measured], float]:
    return lambda run: _quantile(chosen(run), 0.95)


def _average(chosen: Callable[[Measured], list[float]]) -> Callable[[Measured], float]:
    return lambda run: statistics.fmean(chosen(run) or [0.0])


def _utilisation(run: Measured) -> float:
    return 100 * run.device_s / run.capacity_device_s


def _lost(run: Measured) -> float:
    return 100 * run.lost_device_s / max(1.0, run.device_s)


def _jain(run: Measured) -> float:
    """Jain's index of what organizations held over their fair share, while they waited.

    1 is equal, 1/n is one organization alone. R. Jain, D. Chiu, W. Hawe, DEC-TR-301, 1984.
    """
    ratios = [run.held_s[name] / fair for name, fair in run.fair_s.items() if fair > 0]
    squares = sum(ratio * ratio for ratio in ratios)
    return sum(ratios) ** 2 / (len(ratios) * squares) if squares else 1.0


def _organization_slowdowns(run: Measured) -> list[float]:
    """The mean bounded slowdown of each organization: from submission to end, over the run."""
    slowdowns: dict[str, list[float]] = {}
    for key, group in run.groups.items():
        run_s = max(group.run_s, SLOWDOWN_RUN_S_MIN)
        waited_s = run.ended_s[key] - group.submitted_s - group.run_s
        slowdowns.setdefault(group.first.organization_id, []).append((waited_s + run_s) / run_s)
    return [statistics.fmean(of_one) for of_one in slowdowns.values()]


def _slowdown_max(run: Measured) -> float:
    return max(_organization_slowdowns(run), default=1.0)


def _slowdown_median(run: Measured) -> float:
    return statistics.median(_organization_slowdowns(run) or [1.0])


MEASURES: dict[str, tuple[Callable[[Measured], float], str, Literal["higher", "lower"]]] = {
    "wait_mean_s": (_average(_all), "s", "lower"),
    "wait_p50_s": (lambda run: _quantile(_all(run), 0.5), "s", "lower"),
    "wait_p95_s": (_p95(_all), "s", "lower"),
    "gang_wait_mean_s": (_average(_gangs), "s", "lower"),
    "gang_wait_p95_s": (_p95(_gangs), "s", "lower"),
    **{f"{name}_wait_p95_s": (_p95(_of_class(rank)), "s", "lower") for rank, name in enumerate(CLASSES)},
    "jain": (_jain, "", "higher"),
    "slowdown_max": (_slowdown_max, "x", "lower"),
    "slowdown_median": (_slowdown_median, "x", "lower"),
    "utilisation": (_utilisation, "%", "higher"),
}
