"""Capacity on a terminal: gauges against the thresholds, and a chart of plain characters."""

from collections.abc import Iterator, Sequence

from kumoi.cli.capacity_series import (
    THRESHOLDS_GFLOPS,
    columns_begun,
    day_at,
    day_values,
    least_by_column,
    top_gflops,
    total_of,
)
from kumoi.cli.language import _
from kumoi.cli.text import text_pad
from kumoi.model.capacity import Capacity, CapacityCriterion, CapacityMeasure, Finding, eflops_format

WIDTH_MIN, WIDTH_MAX = 40, 160
HEIGHT = 12
_AXIS = 9
ATTESTED, UNATTESTED, PLANNED, THRESHOLD = "#", "+", "-", "."


def finding_show(finding: Finding) -> str:
    """The finding in the reader's language."""
    match finding:
        case Finding.MET:
            return _("met")
        case Finding.UNMET:
            return _("not met")
        case Finding.UNCLEAR:
            return _("unclear")
        case Finding.OPEN:
            return _("not due yet")


def gauge_lines(capacity: Capacity, width: int) -> Iterator[str]:
    """Both criteria, planned and live, with what each lacks."""
    for criterion in capacity.criteria:
        yield _criterion_title(criterion)
        for name, measure in ((_("planned"), criterion.planned), (_("live"), criterion.live)):
            yield from _gauge(name, measure, criterion.threshold_gflops, width)


def chart_lines(capacity: Capacity, width: int, height: int = HEIGHT) -> Iterator[str]:
    """What is planned and what was there over the period; each column shows the least of its days."""
    columns = max(width, WIDTH_MIN) - _AXIS
    since, until = capacity.since, capacity.until
    planned = least_by_column(day_values(capacity.planned, since, until), columns)
    live = least_by_column(day_values(capacity.live, since, until), columns)
    top = top_gflops(capacity)
    marks = {
        max(threshold * height // top, 1): threshold for threshold in THRESHOLDS_GFLOPS if threshold <= top
    }
    for row in range(height - 1, -1, -1):
        threshold = marks.get(row)
        label = f"{eflops_format(threshold)} >" if threshold else eflops_format(row * top // height)
        cells = (
            _cell(here, there, row, row * top, (row + 1) * top, height, dotted=threshold is not None)
            for here, there in zip(planned, live, strict=True)
        )
        yield f"{label:>{_AXIS - 1}}|{''.join(cells)}".rstrip()
    ground = map(_ground, live, columns_begun(capacity, columns))
    yield f"{'+':>{_AXIS}}{''.join(ground)}".rstrip()
    middle = day_at(capacity, 1, 2)
    yield " " * _AXIS + since + middle.center(columns - 20) + until
    yield " " * _AXIS + _("EFLOPS by day: {live} live, {planned} planned, ? not measured").format(
        live=ATTESTED, planned=PLANNED
    )


def _criterion_title(criterion: CapacityCriterion) -> str:
    amount = eflops_format(criterion.threshold_gflops)
    if criterion.start_since is None:
        return _("({number}) {amount} EFLOPS from services that start by {due}").format(
            number=criterion.number, amount=amount, due=criterion.due
        )
    return _("({number}) {amount} EFLOPS from services that start from {since} to {due}").format(
        number=criterion.number, amount=amount, since=criterion.start_since, due=criterion.due
    )


def _gauge(name: str, measure: CapacityMeasure, threshold: int, width: int) -> Iterator[str]:
    label = f"  {text_pad(name, 8)}"
    bar = max(min(width - 40, 40), 10)
    if measure.at is None:
        yield f"{label}[{' ' * bar}] {_('nothing known')}  {finding_show(measure.finding)}"
        return
    attested = min(measure.at.attested_gflops * bar // threshold, bar)
    filled = min(total_of(measure.at) * bar // threshold, bar)
    drawn = ATTESTED * attested + UNATTESTED * (filled - attested)
    amount = eflops_format(total_of(measure.at), threshold)
    yield f"{label}[{drawn:<{bar}}] {amount} / {eflops_format(threshold)}  {finding_show(measure.finding)}"
    yield from (f"    {remark}" for remark in _remarks(measure, threshold))


def _remarks(measure: CapacityMeasure, threshold: int) -> Iterator[str]:
    if measure.at is not None and measure.at.unattested_gflops:
        yield _("{amount} of it from models whose datasheet nobody recorded").format(
            amount=eflops_format(measure.at.unattested_gflops)
        )
    if measure.least is not None:
        yield _("least: {amount} on {day}").format(
            amount=eflops_format(total_of(measure.least), threshold), day=measure.least.day
        )
    if measure.unmeasured_days:
        yield _("days that nobody measured: {days}").format(days=measure.unmeasured_days)


def _cell(
    planned: int | None, live: int | None, row: int, low: int, high: int, height: int, *, dotted: bool
) -> str:
    """One character: the row stands for peaks from `low` to below `high`, both times `height`."""
    if planned is not None and low <= planned * height < high and (planned or row == 0):
        return PLANNED
    if live is not None and live * height > low:
        return ATTESTED
    return THRESHOLD if dotted else " "


def _ground(live: int | None, begun: bool) -> str:
    """A mark below a column whose days have begun: whether anybody measured them."""
    if not begun:
        return " "
    return "?" if live is None else "-"


def table_rows(capacity: Capacity) -> Sequence[tuple[str, ...]]:
    """The criteria as rows for pipes: number, source, finding, EFLOPS exactly, the least and its day."""
    rows = []
    for criterion in capacity.criteria:
        for source, measure in (("planned", criterion.planned), ("live", criterion.live)):
            at = "" if measure.at is None else eflops_format(total_of(measure.at), digits=9)
            least = "" if measure.least is None else eflops_format(total_of(measure.least), digits=9)
            day = "" if measure.least is None else measure.least.day
            rows.append((str(criterion.number), source, measure.finding.value, at, least, day))
    return rows
