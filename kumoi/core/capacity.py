"""The account of capacity: theoretical peaks by day, their least over a period, and the two criteria.

Source: policy chapter 3 section 2 (2): 0.75 EFLOPS from services that start by the first half of fiscal 2025,
or 7.5 EFLOPS from those that start from then to the end of fiscal 2027, kept throughout. All arithmetic is in
whole GFLOPS. Days are days in Japan. ADR 0011 names what the text leaves open.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from kumoi.model.capacity import Finding

JAPAN: Final = timezone(timedelta(hours=9))
COUNT_FROM: Final = date(2025, 10, 1)
"""From which start on services count for the second criterion, read narrowly (C-16)."""
_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Peak:
    """GFLOPS by whether the figure behind them is attested."""

    attested: int = 0
    unattested: int = 0

    def __add__(self, other: "Peak") -> "Peak":
        return Peak(self.attested + other.attested, self.unattested + other.unattested)

    def __neg__(self) -> "Peak":
        return Peak(-self.attested, -self.unattested)

    @property
    def total(self) -> int:
        """Both together."""
        return self.attested + self.unattested


@dataclass(frozen=True, slots=True)
class Figure:
    """The peak of one device of a model."""

    gflops: int
    attested: bool

    def peak(self, count: int) -> Peak:
        """The peak of `count` devices."""
        gflops = self.gflops * count
        return Peak(gflops) if self.attested else Peak(0, gflops)


@dataclass(frozen=True, slots=True)
class Planned:
    """Devices that are to serve from `start` to the end of `end` (None: without end)."""

    model: str
    count: int
    start: date
    end: date | None


@dataclass(frozen=True, slots=True)
class Measured:
    """Devices that were there on a day, at the least. `gflops` is what the catalogue said of one then."""

    day: date
    model: str
    start: date
    count: int
    gflops: int


@dataclass(frozen=True, slots=True)
class Step:
    """The same peak from `since` to `until`, both included; None where nobody measured."""

    since: date
    until: date
    peak: Peak | None

    @property
    def days(self) -> int:
        """How many days it is long."""
        return (self.until - self.since).days + 1


@dataclass(frozen=True, slots=True)
class Criterion:
    """A total of services that start from `start_since` (None: ever) to `due`, kept from `due` on."""

    number: int
    threshold_gflops: int
    start_since: date | None
    due: date

    def counts(self, start: date) -> bool:
        """Whether a service with this start counts."""
        return start <= self.due and (self.start_since is None or start >= self.start_since)

    def finding(self, peak: Peak) -> Finding:
        """What a peak says of it."""
        if peak.attested >= self.threshold_gflops:
            return Finding.MET
        return Finding.UNCLEAR if peak.total >= self.threshold_gflops else Finding.UNMET


@dataclass(frozen=True, slots=True)
class Measure:
    """A criterion against a series: when due (or on the last day measured before), and the least since."""

    at: Step | None
    least: Step | None
    unmeasured_days: int
    finding: Finding


def criteria_of(count_from: date = COUNT_FROM) -> tuple[Criterion, Criterion]:
    """The two criteria; services count for the second one if they start on `count_from` or later."""
    return (
        Criterion(1, 750_000_000, None, date(2025, 9, 30)),
        Criterion(2, 7_500_000_000, count_from, date(2028, 3, 31)),
    )


def japan_day(at_us: int) -> date:
    """The day in Japan of a time in microseconds UTC."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(JAPAN).date()


def fiscal_year(day: date) -> tuple[date, date]:
    """First and last day of the Japanese fiscal year that a day is in."""
    first = date(day.year - (day.month < 4), 4, 1)
    return first, date(first.year + 1, 3, 31)


def planned_series(
    plans: Iterable[Planned], figures: Mapping[str, Figure], since: date, until: date
) -> tuple[Step, ...]:
    """The peak of the plans on every day from `since` to `until`."""
    changes: dict[date, Peak] = defaultdict(Peak)
    for plan in plans:
        figure = figures.get(plan.model)
        first = max(plan.start, since)
        if figure is None or first > until or (plan.end is not None and plan.end < first):
            continue
        peak = figure.peak(plan.count)
        changes[first] += peak
        if plan.end is not None and plan.end < until:
            changes[plan.end + _DAY] += -peak
    days = sorted({since, *changes})
    steps = []
    peak = Peak()
    for day, following in zip(days, [*days[1:], until + _DAY], strict=True):
        peak += changes.get(day, Peak())
        steps.append(Step(day, following - _DAY, peak))
    return tuple(_joined(steps))


def live_series(
    rows: Iterable[Measured], figures: Mapping[str, Figure], since: date, until: date
) -> tuple[Step, ...]:
    """The peak that was there on every day from `since` to `until`.

    A device counts with what the catalogue says now, or said then where that is less: a figure that was
    raised later does not raise the past.
    """
    peaks: dict[date, Peak] = {}
    for row in rows:
        figure = figures.get(row.model, Figure(0, attested=False))
        if row.gflops:
            figure = replace(figure, gflops=min(figure.gflops, row.gflops))
        peaks[row.day] = peaks.get(row.day, Peak()) + figure.peak(row.count)
    days = (since + offset * _DAY for offset in range((until - since).days + 1))
    return tuple(_joined(Step(day, day, peaks.get(day)) for day in days))


def least_of(steps: Iterable[Step]) -> Step | None:
    """The first of the steps with the least in all, then attested; None if nothing was measured."""
    measured = [step for step in steps if step.peak is not None]
    return min(measured, key=_rank, default=None)


def unmeasured_days(steps: Iterable[Step]) -> int:
    """On how many days nobody measured."""
    return sum(step.days for step in steps if step.peak is None)


def planned_measure(
    criterion: Criterion,
    plans: Sequence[Planned],
    figures: Mapping[str, Figure],
    since: date,
    until: date,
) -> Measure:
    """What the plans amount to on the due day, and from then to the end of the period."""
    counted = [plan for plan in plans if criterion.counts(plan.start)]
    (at,) = planned_series(counted, figures, criterion.due, criterion.due)
    first = max(since, criterion.due)
    kept = planned_series(counted, figures, first, until) if first <= until else ()
    return Measure(at, least_of(kept), 0, _worst(criterion, (at, *kept)))


def live_measure(
    criterion: Criterion,
    rows: Iterable[Measured],
    figures: Mapping[str, Figure],
    since: date,
    until: date,
    today: date,
) -> Measure:
    """What was there: last, and at the least from the due day on. Today counts once it was looked at."""
    all_rows = [row for row in rows if row.day <= until]
    last = min(until, today)
    if last == today and all(row.day != today for row in all_rows):
        last -= _DAY
    if last < since:
        return Measure(None, None, 0, Finding.OPEN)
    # A day on which other devices were looked at was measured: those that count were none.
    counted = [replace(row, count=row.count if criterion.counts(row.start) else 0) for row in all_rows]
    steps = live_series(counted, figures, since, last)
    at = next((step for step in reversed(steps) if step.peak is not None), None)
    if at is not None:
        at = replace(at, since=at.until)
    kept = tuple(_within(steps, max(since, criterion.due), last))
    if not kept:
        return Measure(at, None, 0, Finding.OPEN)
    least, missing = least_of(kept), unmeasured_days(kept)
    finding = _worst(criterion, kept)
    if finding is Finding.MET and missing:
        finding = Finding.UNCLEAR
    return Measure(at, least, missing, finding)


def _within(steps: Iterable[Step], since: date, until: date) -> Iterator[Step]:
    for step in steps:
        first, last = max(step.since, since), min(step.until, until)
        if first <= last:
            yield Step(first, last, step.peak)


def _joined(steps: Iterable[Step]) -> Iterator[Step]:
    """Neighbours of the same peak as one."""
    pending: Step | None = None
    for step in steps:
        if pending is not None and pending.peak == step.peak:
            pending = Step(pending.since, step.until, step.peak)
            continue
        if pending is not None:
            yield pending
        pending = step
    if pending is not None:
        yield pending


def _rank(step: Step) -> tuple[int, int]:
    peak = step.peak or Peak()
    return peak.total, peak.attested


def _worst(criterion: Criterion, steps: Iterable[Step]) -> Finding:
    """What the worst of the measured steps says."""
    findings = {criterion.finding(step.peak) for step in steps if step.peak is not None}
    return next((f for f in (Finding.UNMET, Finding.UNCLEAR) if f in findings), Finding.MET)
