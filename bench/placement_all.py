"""Run the benchmark of placement over every list of the trace and write its tables and charts into the page.

placement_all.py DIRECTORY-OF-THE-TRACE RESULTS [--page FILE.md] [--seeds N]

RESULTS keeps one JSON file a run. A run that is there already is not repeated, so that what was interrupted
can be completed; remove the directory to measure anew.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from placement import PUBLISHED_FGD
from report import Report, number_text, report_parse

from kumoi.core.placement.registry import POLICY_NAMES

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance" / "placement.md"
HOSTS = "openb_node_list_gpu_node.csv"
CLOSELY = tuple(policy for policy in POLICY_NAMES if policy not in ("pack", "spread"))
CHARTED = ("default", "gpushare60", "multigpu30")
TIMEOUT_S = 7_200
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_COMPARED = tuple(word for policy in CLOSELY for word in ("--policy", policy))
SPEEDS = {
    "948 hosts x 8 GPUs": ("--synthetic-hosts", "948x8", "--seeds", "2"),
    "1,213 hosts": ("--seeds", "2"),
    "9,704 hosts (x8)": ("--replicate", "8", "--seeds", "1", *_COMPARED),
    "100,679 hosts (x83)": ("--replicate", "83", "--seeds", "1", *_COMPARED),
}

Figures = dict[str, float]


def main() -> int:
    """Run what is missing, then write the page; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path, help="the directory with the lists, packed or not")
    parser.add_argument("results", type=Path, help="where the reports are kept")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    trace, results = options.trace, options.results
    listed = ("--hosts", str(_list(trace, HOSTS)))
    flags: tuple[str, ...]
    for policy, name in product(POLICY_NAMES, PUBLISHED_FGD):
        flags = (*listed, "--seeds", str(options.seeds), "--policy", policy)
        flags += ("--churn",) if policy in CLOSELY else ()
        flags += () if policy == POLICY_NAMES[0] else ("--without-bound",)
        bench_run(results / f"list-{name}-{policy}.json", trace, name, flags)
    for name in CHARTED:
        chart = options.page.parent / f"placement-{name}.svg"
        flags = (*listed, "--seeds", str(options.seeds), "--chart", str(chart))
        bench_run(results / f"chart-{name}.json", trace, name, flags)
    for number, size in enumerate(SPEEDS.values()):
        flags = size if "--synthetic-hosts" in size else (*listed, *size)
        bench_run(results / f"speed-{number}.json", trace, "default", flags)
    text = options.page.read_text("utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    options.page.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n{END}{after}", "utf-8")
    return 0


def bench_run(kept: Path, trace: Path, name: str, flags: Iterable[str]) -> None:
    """One run of the benchmark on one list, unless its report is there. CalledProcessError if it fails."""
    if kept.exists():
        return
    tasks = _list(trace, f"openb_pod_list_{name}.csv")
    command = [sys.executable, str(HERE / "placement.py"), "--tasks", str(tasks), "--json", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=True)
    kept.write_text(done.stdout)


def tables(results: Path) -> str:
    """All tables of the page."""
    lists: dict[str, Figures] = {name: {} for name in PUBLISHED_FGD}
    for policy, name in product(POLICY_NAMES, PUBLISHED_FGD):
        lists[name] |= _figures(results / f"list-{name}-{policy}.json")
    return "\n".join(
        [
            "### Allocation when 100 % has been asked for, in per cent of the GPU capacity",
            "",
            *_table(
                ("List", "Bound", "FGD, published", *_named(POLICY_NAMES)),
                (
                    [name, f"{found['lp_bound_at_100']:.2f}", f"{PUBLISHED_FGD[name]:.2f}"]
                    + [_with_deviation(found, policy) for policy in POLICY_NAMES]
                    for name, found in lists.items()
                ),
            ),
            "### Allocation while tasks come and go, mean over time",
            "",
            *_table(
                ("List", *_named(CLOSELY)),
                (
                    [name, *(f"{found[f'{policy}.churn_allocation']:.2f}" for policy in CLOSELY)]
                    for name, found in lists.items()
                ),
            ),
            *_loads_table(lists["default"]),
            *_speed_table(results),
        ]
    )


def _loads_table(found: Figures) -> list[str]:
    loads = [f"allocation_at_{load}" for load in (95, 100, 110, 130)]
    bound = found["lp_bound_at_100"]
    return [
        "### List `default` at other loads",
        "",
        *_table(
            ("Policy", "at 95 %", "at 100 %", "at 110 %", "at 130 %", "below the bound", "refused"),
            (
                [
                    f"`{policy}`",
                    *(f"{found[f'{policy}.{name}']:.2f}" for name in loads),
                    f"{bound - found[f'{policy}.allocation_at_100']:.2f}",
                    number_text(round(found[f"{policy}.refused"])),
                ]
                for policy in POLICY_NAMES
            ),
        ),
    ]


def _speed_table(results: Path) -> list[str]:
    kept = {size: results / f"speed-{number}.json" for number, size in enumerate(SPEEDS)}
    machine = _machine(kept["948 hosts x 8 GPUs"])
    loads = ", ".join(f"{_machine(path)['load_before']} ({size})" for size, path in kept.items())
    names = ("placements_per_s", "p50_us", "p99_us", "cpu_us", "cpu_p99_us")
    return [
        "### Speed: list `default`, one core, the ten per cent of load in which calls take longest",
        "",
        f"{machine['cpu']}, {machine['cpus']} processors, Python {machine['python']}.",
        f"Load of the machine before each run: {loads}.",
        "",
        *_table(
            ("Hosts", "Policy", "placements/s", "p50, us", "p99, us", "processor, us", "its p99"),
            (
                [size, f"`{policy}`", *(number_text(round(found[f"{policy}.{name}"])) for name in names)]
                for size, found in ((size, _figures(path)) for size, path in kept.items())
                for policy in POLICY_NAMES
                if f"{policy}.cpu_us" in found
            ),
        ),
    ]


def _with_deviation(found: Figures, policy: str) -> str:
    return f"{found[f'{policy}.allocation_at_100']:.2f} ± {found[f'{policy}.allocation_sd_at_100']:.2f}"


def _named(policies: Iterable[str]) -> list[str]:
    return [f"`{policy}`" for policy in policies]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    ruler = ["---", *("---:" for _ in head[1:])]
    return [f"| {' | '.join(row)} |" for row in (head, ruler, *rows)] + [""]


def _figures(path: Path) -> Figures:
    report: Report = report_parse(path.read_text())[0]
    return {figure.name: figure.value for figure in report.figures}


def _machine(path: Path) -> dict[str, object]:
    return report_parse(path.read_text())[1]


def _list(trace: Path, name: str) -> Path:
    """A list, packed or not."""
    plain = trace / name
    return plain if plain.exists() else trace / f"{name}.gz"


if __name__ == "__main__":
    sys.exit(main())
