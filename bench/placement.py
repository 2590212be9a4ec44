"""How much of the hardware each placement policy can allocate, how near that is to the best, and how fast.

Tasks of a list arrive in random order until 1.3 times the GPU capacity is asked for; each is placed at once
or refused for good. What was done is replayed by a program of its own before a figure is printed. Figures are
means over the seeds.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lp_bound import lp_bound, tasks_until
from openb import Host, Task, arrivals_make, capacity_milli, hosts_make, hosts_read, tasks_read
from placement_audit import audit
from placement_run import Run, run_arrivals, run_churn, worst_band
from report import Figure, Report, machine_describe, report_print, say
from svg import Axis, Line, chart

from kumoi.core.placement.registry import POLICY_NAMES

LOADS = (95, 100, 110, 130)
SEED = 42
CHURN_SEEDS = 5
PLACEMENTS_PER_S_MIN = 10_000
P99_US_MAX = 1_000
# Weng et al., "Beware of Fragmentation", USENIX ATC 2023: FGD at 100 %, mean of ten runs.
PUBLISHED_FGD = {
    "default": 95.23,
    "cpu050": 95.00,
    "cpu100": 95.21,
    "gpushare40": 93.96,
    "gpushare60": 91.25,
    "gpuspec10": 94.66,
    "gpuspec20": 94.66,
    "multigpu20": 95.53,
    "multigpu30": 96.36,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, audit, print; 2 if the arguments make no sense."""
    options = _parser().parse_args(arguments)
    machine = machine_describe()
    try:
        hosts = (
            hosts_make(options.synthetic_hosts)
            if options.synthetic_hosts
            else hosts_read(options.hosts, options.replicate)
        )
        tasks = tasks_read(options.tasks, options.replicate)
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        arrivals = [arrivals_make(tasks, capacity_milli(hosts), seed) for seed in seeds]
    except (OSError, ValueError, KeyError) as error:
        print(f"placement: {error!r}", file=sys.stderr)
        return 2
    policies = options.policy or list(POLICY_NAMES)
    bound = None if options.without_bound else bound_mean(hosts, arrivals)
    figures = [] if bound is None else [Figure("lp_bound_at_100", bound, "%", "higher")]
    curves = []
    for policy in policies:
        say(f"{policy}: {options.tasks.name}, {len(hosts)} hosts, {len(seeds)} seeds")
        runs = [run_audited(hosts, tasks_of_seed, policy) for tasks_of_seed in arrivals]
        reference = published(options.tasks) if options.hosts else None
        figures += allocation_figures(policy, runs, reference)
        if bound is not None:
            figures.append(gap_figure(policy, runs, bound))
        figures += speed_figures(policy, runs)
        curves.append(curve(policy, runs))
        if options.churn:
            figures.append(churn_figure(hosts, tasks, policy, seeds[:CHURN_SEEDS]))
    if options.chart:
        options.chart.write_text(allocation_chart(options.tasks.name.partition(".")[0], curves, bound))
    report_print(Report("placement", options.first_seed, tuple(figures)), machine, as_json=options.json)
    return 0


def run_audited(hosts: list[Host], arrivals: list[Task], policy: str) -> Run:
    """A run that was replayed. AuditFailed if it did what it may not."""
    run = run_arrivals(hosts, arrivals, policy)
    audit(hosts, run.events)
    return run


def bound_mean(hosts: list[Host], arrivals: Sequence[list[Task]]) -> float:
    """The mean bound, at the moment at which all of the capacity has been asked for."""
    capacity = capacity_milli(hosts)
    return float(np.mean([lp_bound(hosts, tasks_until(some, capacity)) for some in arrivals]))


def allocation_figures(policy: str, runs: Sequence[Run], reference: float | None) -> list[Figure]:
    """Allocation at some loads, its spread, and refusals at the end."""
    at = {load: np.array([run.allocation_at(load) for run in runs]) for load in LOADS}
    return [
        *(
            Figure(
                f"{policy}.allocation_at_{load}",
                float(values.mean()),
                "%",
                "higher",
                None,
                reference if load == 100 else None,
            )
            for load, values in at.items()
        ),
        Figure(f"{policy}.allocation_sd_at_100", float(at[100].std()), "%", "lower"),
        Figure(f"{policy}.refused", float(np.mean([run.refused for run in runs])), "1", "lower"),
    ]


def gap_figure(policy: str, runs: Sequence[Run], bound: float) -> Figure:
    """How far the allocation at 100 % stays below the bound."""
    reached = float(np.mean([run.allocation_at(100) for run in runs]))
    return Figure(f"{policy}.gap_to_lp", bound - reached, "%", "lower")


def speed_figures(policy: str, runs: Sequence[Run]) -> list[Figure]:
    """Of the ten per cent of load in which calls take longest: calls a second, times, processor times."""
    worst = worst_band(runs, [run.call_us for run in runs])
    cpu = worst_band(runs, [run.cpu_us for run in runs])
    refresh_ms = [spent for run in runs for spent in run.refresh_ms]
    figures = [
        Figure(
            f"{policy}.placements_per_s", 1e6 / float(worst.mean()), "1/s", "higher", PLACEMENTS_PER_S_MIN
        ),
        Figure(f"{policy}.p50_us", float(np.percentile(worst, 50)), "us", "lower"),
        Figure(f"{policy}.p99_us", float(np.percentile(worst, 99)), "us", "lower", P99_US_MAX),
        Figure(f"{policy}.cpu_us", float(cpu.mean()), "us", "lower"),
        Figure(f"{policy}.cpu_p99_us", float(np.percentile(cpu, 99)), "us", "lower"),
    ]
    if refresh_ms:
        figures += [
            Figure(f"{policy}.refresh_ms", float(np.mean(refresh_ms)), "ms", "lower"),
            Figure(f"{policy}.refreshes", len(refresh_ms) / len(runs), "1", "lower"),
        ]
    return figures


def churn_figure(hosts: list[Host], tasks: list[Task], policy: str, seeds: range) -> Figure:
    """Mean allocation while tasks come and go."""
    means = []
    for seed in seeds:
        mean, events = run_churn(hosts, tasks, policy, seed)
        audit(hosts, events)
        means.append(mean)
    return Figure(f"{policy}.churn_allocation", float(np.mean(means)), "%", "higher")


def curve(policy: str, runs: Sequence[Run]) -> Line:
    """Mean allocation by per cent arrived."""
    loads = range(1, 131)
    return Line(policy, [(load, float(np.mean([run.allocation_at(load) for run in runs]))) for load in loads])


def allocation_chart(name: str, curves: Sequence[Line], bound: float | None) -> str:
    """Allocation against arrived load per policy, from where they begin to differ."""
    limit = [] if bound is None else [Line("bound at 100 %", [(100, bound), (130, bound)])]
    return chart(
        f"GPU allocation, {name}",
        Axis("GPU capacity asked for so far, %", 80, 130, 10),
        Axis("GPU capacity allocated, %", 78, 100, 2),
        [*reversed(curves), *limit],
    )


def published(tasks: Path) -> float | None:
    """What FGD's paper reports for a list of the trace, known by its name."""
    name = tasks.name.partition(".")[0].removeprefix("openb_pod_list_")
    return PUBLISHED_FGD.get(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    hosts = parser.add_mutually_exclusive_group(required=True)
    hosts.add_argument("--hosts", type=Path, help="list of hosts, CSV or CSV.gz")
    hosts.add_argument("--synthetic-hosts", metavar="HOSTSxGPUS", help="hosts of 192 cores, 2 TiB and H200")
    parser.add_argument("--tasks", type=Path, required=True, help="list of tasks, CSV or CSV.gz")
    parser.add_argument(
        "--policy", action="append", choices=POLICY_NAMES, help="may be repeated; default: all"
    )
    parser.add_argument("--seeds", type=int, default=10, help="how many, from the first on")
    parser.add_argument(
        "--first-seed", "--seed", type=int, default=SEED, help="42 to 51 are for reporting, not for tuning"
    )
    parser.add_argument("--replicate", type=int, default=1, help="take hosts and tasks so many times")
    parser.add_argument("--churn", action="store_true", help="also with tasks that leave again, five seeds")
    parser.add_argument("--without-bound", action="store_true", help="leave out the linear programme")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--chart", type=Path, help="write allocation against load to this SVG")
    return parser


if __name__ == "__main__":
    sys.exit(main())
