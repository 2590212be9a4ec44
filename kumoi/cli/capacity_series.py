"""Peaks day by day, as charts need them."""

from collections.abc import Sequence
from datetime import date, timedelta

from kumoi.model.capacity import Capacity, CapacityLeast, CapacitySeries

THRESHOLDS_GFLOPS = (750_000_000, 7_500_000_000)
_HEADROOM_PERCENT = 110


def day_values(series: CapacitySeries, since: str, until: str) -> list[int | None]:
    """GFLOPS on each day of the period, None on days of which nothing is known."""
    first = date.fromisoformat(since)
    values: list[int | None] = [None] * ((date.fromisoformat(until) - first).days + 1)
    for step in series.steps:
        if step.attested_gflops is None or step.unattested_gflops is None:
            continue
        start = (date.fromisoformat(step.since) - first).days
        end = (date.fromisoformat(step.until) - first).days
        total = step.attested_gflops + step.unattested_gflops
        values[start : end + 1] = [total] * (end - start + 1)
    return values


def least_by_column(values: Sequence[int | None], columns: int) -> list[int | None]:
    """The least of the days that each column stands for; None where nothing is known of any."""
    found: list[int | None] = []
    for column in range(columns):
        start = column * len(values) // columns
        end = max((column + 1) * len(values) // columns, start + 1)
        known = [value for value in values[start:end] if value is not None]
        found.append(min(known) if known else None)
    return found


def top_gflops(capacity: Capacity) -> int:
    """What a chart reaches up to: beyond every value, and beyond the first threshold."""
    highest = THRESHOLDS_GFLOPS[0]
    for series in (capacity.planned, capacity.live):
        for step in series.steps:
            highest = max(highest, (step.attested_gflops or 0) + (step.unattested_gflops or 0))
    return highest * _HEADROOM_PERCENT // 100


def day_at(capacity: Capacity, part: int, parts: int) -> str:
    """The day at `part` of `parts` of the period."""
    first, last = date.fromisoformat(capacity.since), date.fromisoformat(capacity.until)
    return (first + timedelta(days=(last - first).days * part // parts)).isoformat()


def columns_begun(capacity: Capacity, columns: int) -> list[bool]:
    """Which columns of a chart stand for days that have begun."""
    first = date.fromisoformat(capacity.since)
    days = (date.fromisoformat(capacity.until) - first).days + 1
    passed = (date.fromisoformat(capacity.today) - first).days
    return [column * days // columns <= passed for column in range(columns)]


def total_of(least: CapacityLeast) -> int:
    """Attested and unattested together."""
    return least.attested_gflops + least.unattested_gflops
