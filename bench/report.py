"""The form in which every bench reports: one JSON object, or a table for people.

A figure stands beside its reference, the peer or the limit that was measured in the same run, because
machines are shared and a number alone says more about the neighbours than about the program.
"""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. `goal` and `reference` are in the same unit, None where there is none."""

    name: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    goal: float | None = None
    reference: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of one bench found."""

    bench: str
    seed: int
    figures: tuple[Figure, ...]


def report_json(report: Report, machine: dict[str, object]) -> str:
    """The report as one JSON object on one line."""
    return json.dumps(
        {
            "bench": report.bench,
            "machine": machine,
            "seed": report.seed,
            "figures": [asdict(figure) for figure in report.figures],
        },
        ensure_ascii=False,
    )


def report_parse(text: str) -> tuple[Report, dict[str, object]]:
    """The report and the machine of `report_json`. KeyError or ValueError if it is something else."""
    value = json.loads(text)
    figures = tuple(Figure(**figure) for figure in value["figures"])
    return Report(value["bench"], value["seed"], figures), value["machine"]


def report_table(report: Report, machine: dict[str, object]) -> str:
    """The report for people: aligned columns, one line a figure."""
    head = ("figure", "value", "unit", "goal", "reference", "reached")
    rows = [head, *(_row(figure) for figure in report.figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [f"{report.bench}, seed {report.seed}", ", ".join(f"{k} {v}" for k, v in machine.items()), ""]
    for row in rows:
        cells = (
            cell.ljust(width) if column in (0, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def report_markdown(report: Report) -> str:
    """The report as a table for a document."""
    lines = ["| Figure | Value | Unit | Goal | Reference |", "|---|---:|---|---:|---:|"]
    for figure in report.figures:
        name, value, unit, goal, reference, _ = _row(figure)
        lines.append(f"| `{name}` | {value} | {unit} | {goal} | {reference} |")
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, ...]:
    sign = ">= " if figure.better == "higher" else "<= "
    goal = "-" if figure.goal is None else sign + number_text(figure.goal)
    reference = "-" if figure.reference is None else number_text(figure.reference)
    reached = {None: "-", True: "yes", False: "NO"}[figure.reached]
    value = f"{figure.value:.2f}" if figure.unit == "%" else number_text(figure.value)
    return figure.name, value, figure.unit, goal, reference, reached


def number_text(value: float) -> str:
    """Three or four significant digits, thousands apart, whole numbers whole."""
    if value == int(value) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.1f}"


def machine_describe() -> dict[str, object]:
    """What was measured on, without names."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / (1 << 30), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 1),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def arguments_make(description: str) -> argparse.ArgumentParser:
    """The arguments that every bench takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seed", type=int, default=1, help="what random choices start from")
    return parser


def report_print(report: Report, machine: dict[str, object], *, as_json: bool) -> None:
    """Print a report to standard output."""
    print(report_json(report, machine) if as_json else report_table(report, machine), flush=True)


def say(text: str) -> None:
    """Tell people how far a bench is, on standard error."""
    print(text, file=sys.stderr, flush=True)
