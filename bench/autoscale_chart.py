"""The charts of the autoscaling benchmark."""

from collections.abc import Mapping, Sequence

from autoscale_model import Outcome, Terms
from svg import Axis, Line, chart

POINTS = 360
HOUR_S = 3_600
TICKS = 6
CROSS_X, CROSS_Y = 0.12, 0.04


def outcomes_chart(title: str, outcomes: Mapping[str, Outcome], terms: Terms) -> str:
    """Slots over time per policy, beside the requests in the service, after the warm-up."""
    trails = {name: [row for row in it.trail if row[0] >= terms.warm_up_s] for name, it in outcomes.items()}
    first = next(iter(trails.values()))
    start_s = first[0][0]
    hours = (first[-1][0] - start_s) / HOUR_S
    lines = [Line("requests", _peaks([(at - start_s, inside) for at, inside, _, _ in first]))]
    lines += [
        Line(name, _peaks([(at - start_s, up * terms.slots) for at, _, up, _ in rows]))
        for name, rows in trails.items()
    ]
    most = max(value for line in lines[1:] for _, value in line.points)
    x = Axis("hours", 0, hours, _step(hours))
    return chart(title, x, Axis("requests at once, slots", 0, most, _step(most)), lines)


def violations_chart(title: str, outcomes: Mapping[str, Outcome], terms: Terms) -> str:
    """Requests that waited too long, added up over time, per policy (in thousands)."""
    lines = []
    for name, outcome in outcomes.items():
        rows = [row for row in outcome.trail if row[0] >= terms.warm_up_s]
        start_s, before = rows[0][0], rows[0][3]
        lines.append(Line(name, _peaks([(at - start_s, (late - before) / 1_000) for at, _, _, late in rows])))
    most = max(1e-3, max(value for line in lines for _, value in line.points))
    hours = max(at for at, _ in lines[0].points)
    x = Axis("hours", 0, hours, _step(hours))
    return chart(title, x, Axis("thousands of requests", 0, most, _step(most)), lines)


def cost_chart(title: str, rows: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Cost against violations (%): a line per policy, which may be one point (drawn as a small cross)."""
    lines = []
    for name, points in rows:
        crossed = []
        for share, cost in points:
            crossed += [
                (share, cost),
                (share - CROSS_X, cost),
                (share + CROSS_X, cost),
                (share, cost),
                (share, cost - CROSS_Y),
                (share, cost + CROSS_Y),
                (share, cost),
            ]
        lines.append(Line(name, crossed))
    widest = max(share for _, points in rows for share, _ in points)
    dearest = max(cost for _, points in rows for _, cost in points)
    x = Axis("requests that waited too long, % (mean)", 0, widest * 1.05, _step(widest))
    return chart(title, x, Axis("cost over the reference", 1, dearest * 1.05, _step(dearest - 1)), lines)


def _peaks(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS` points, each the highest of its stretch, by hours."""
    stride = max(1, len(points) // POINTS)
    parts = (points[at : at + stride] for at in range(0, len(points), stride))
    return [(part[0][0] / HOUR_S, max(value for _, value in part)) for part in parts]


def _step(length: float) -> float:
    """A round distance of ticks, about `TICKS` of them."""
    size = 1e-4
    while True:
        for factor in (1, 2, 5):
            if length <= size * factor * TICKS:
                return size * factor
        size *= 10
