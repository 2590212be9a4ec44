"""The tables of the autoscaling page, from the reports of `autoscale_all.py`."""

from collections.abc import Iterable, Mapping, Sequence
from math import exp, log
from pathlib import Path
from statistics import fmean

from autoscale_chart import cost_chart
from autoscale_policies import POLICIES

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ASKED = ("0.005", "0.01", "0.02", "0.05")

Figures = Mapping[str, Mapping[str, float]]


def page_write(page: Path, figures: Figures, cells: Sequence[str]) -> None:
    """Put the tables between the marks of the page, and the chart of all policies beside it."""
    done = [name for name in POLICIES if all(f"{cell}-{name}" in figures for cell in cells)]
    text = page.read_text("utf-8")
    before, rest = text.split(BEGIN)
    tables = "\n".join(
        [
            *_summary(figures, cells, done),
            *_cells(figures, cells, done),
            *_asked(figures, cells),
            *_first_day(figures, cells),
        ]
    )
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n{END}{rest.split(END)[1]}", "utf-8")
    rows = [(name, [_point(figures, cells, name)]) for name in done]
    drawn = cost_chart("Cost against violations, means over all cells", rows)
    (page.parent / "autoscale-cost.svg").write_text(drawn, "utf-8")


def _summary(figures: Figures, cells: Sequence[str], done: Iterable[str]) -> list[str]:
    lines = [
        "### All policies",
        "",
        f"Means over {len(cells)} cells: cost geometric, the others arithmetic.",
        "",
        "| Policy | cost / reference | violations | worst cell | starts per hour |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in done:
        rows = [figures[f"{cell}-{name}"] for cell in cells]
        cost = _geometric(row["cost_over_reference"] for row in rows)
        late = [row["violations"] for row in rows]
        starts = fmean(row["starts_per_hour"] for row in rows)
        lines.append(
            f"| `{name}` | {cost:.2f} | {fmean(late) * 100:.2f} % | {max(late) * 100:.1f} % | {starts:.0f} |"
        )
    return [*lines, ""]


def _cells(figures: Figures, cells: Sequence[str], done: Sequence[str]) -> list[str]:
    lines = [
        "### Cell by cell",
        "",
        "Cost over the reference, and violations in %; after the trace the cold start in seconds.",
        "",
        f"| Cell | {' | '.join(f'`{name}`' for name in done)} |",
        f"|---|{'---:|' * len(done)}",
    ]
    for cell in cells:
        row = " | ".join(_cost_late(figures[f"{cell}-{name}"]) for name in done)
        lines.append(f"| {cell} | {row} |")
    return [*lines, ""]


def _asked(figures: Figures, cells: Sequence[str]) -> list[str]:
    shares = [share for share in ASKED if _has(figures, cells, _auto(share))]
    if not shares:
        return []
    lines = [
        "### What was asked, and what came",
        "",
        "`kumoi-auto`: violations in % for each share that was asked, and the cost over the reference.",
        "",
        f"| Cell | {' | '.join(f'{float(share) * 100:g} %' for share in shares)} |",
        f"|---|{'---:|' * len(shares)}",
    ]
    for cell in cells:
        rows = (figures[f"{cell}-{_auto(share)}"] for share in shares)
        lines.append(f"| {cell} | {' | '.join(_late_cost(row) for row in rows)} |")
    return [*lines, ""]


def _first_day(figures: Figures, cells: Sequence[str]) -> list[str]:
    pairs = [("kumoi", "kumoi-first-day"), ("target", "target-first-day")]
    if not all(_has(figures, cells, name) for _, name in pairs):
        return []
    lines = [
        "### Without history",
        "",
        "The first day from its first second (azure-conversation: its 58 minutes), nothing left out.",
        "",
        "| Cell | cost of `kumoi` / cost of `target` | violations of `kumoi` | of `target` |",
        "|---|---:|---:|---:|",
    ]
    ratios, late = [], []
    for cell in cells:
        ours, theirs = (figures[f"{cell}-{name}"] for _, name in pairs)
        ratios.append(ours["replica_hours"] / theirs["replica_hours"])
        late.append((ours["violations"], theirs["violations"]))
        shares = " | ".join(f"{share * 100:.2f} %" for share in late[-1])
        lines.append(f"| {cell} | {ratios[-1]:.2f} | {shares} |")
    means = " | ".join(f"{fmean(column) * 100:.2f} %" for column in zip(*late, strict=True))
    return [*lines, f"| all | {_geometric(ratios):.2f} | {means} |", ""]


def _auto(share: str) -> str:
    return "kumoi-auto" if share == "0.01" else f"kumoi-auto-asked-{share}"


def _has(figures: Figures, cells: Iterable[str], name: str) -> bool:
    return all(f"{cell}-{name}" in figures for cell in cells)


def _point(figures: Figures, cells: Sequence[str], name: str) -> tuple[float, float]:
    rows = [figures[f"{cell}-{name}"] for cell in cells]
    cost = _geometric(row["cost_over_reference"] for row in rows)
    return fmean(row["violations"] for row in rows) * 100, cost


def _geometric(values: Iterable[float]) -> float:
    return exp(fmean(log(value) for value in values))


def _cost_late(row: Mapping[str, float]) -> str:
    return f"{row['cost_over_reference']:.2f} / {row['violations'] * 100:.1f}"


def _late_cost(row: Mapping[str, float]) -> str:
    return f"{row['violations'] * 100:.2f} at {row['cost_over_reference']:.2f}"
