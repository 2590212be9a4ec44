"""A service on a terminal: bars of what is there, and a chart of what was decided, of plain characters."""

from collections.abc import Iterator, Sequence

from kumoi.cli.language import _
from kumoi.cli.text import text_pad
from kumoi.model.services import ScaleStep, Service
from kumoi.model.time import US_PER_S, time_parse

WIDTH_MIN, WIDTH_MAX = 40, 160
HEIGHT, DEMAND_HEIGHT = 8, 4
BAR_MAX = 60
_AXIS = 7
READY, STARTING, MISSING, WANTED, DEMAND = "#", "+", ".", "-", "*"


def bar_lines(service: Service, last: ScaleStep | None, width: int) -> Iterator[str]:
    """How many replicas there are of those wanted, and how full they are."""
    scale = service.spec.scale
    bar = max(min(width - 80, BAR_MAX), 10)
    most = max(scale.max_replicas, service.ready + service.starting, service.wanted)
    ready, started, wanted = (
        -(-amount * bar // most)
        for amount in (service.ready, service.ready + service.starting, service.wanted)
    )
    drawn = READY * ready + STARTING * (started - ready) + MISSING * (wanted - started)
    yield f"  {text_pad(_('replicas'), 10)}[{drawn:<{bar}}] " + _(
        "{ready} ready, {starting} starting, {draining} draining; {wanted} wanted ({least} to {most})"
    ).format(
        ready=service.ready,
        starting=service.starting,
        draining=service.draining,
        wanted=service.wanted,
        least=scale.min_replicas,
        most=scale.max_replicas,
    )
    if last is None:
        return
    slots = service.ready * service.spec.run.concurrency
    filled = min(round(last.demand * bar / slots), bar) if slots else bar * (last.demand > 0)
    yield f"  {text_pad(_('demand'), 10)}[{DEMAND * filled:<{bar}}] " + _(
        "{demand:g} requests for {slots} slots, {waiting} waiting"
    ).format(demand=round(last.demand, 1), slots=slots, waiting=last.waiting)


def chart_lines(steps: Sequence[ScaleStep], width: int) -> Iterator[str]:
    """Replicas ready and wanted, and below them the demand, over the time of the decisions."""
    if not steps:
        return
    columns = max(min(width, WIDTH_MAX), WIDTH_MIN) - _AXIS
    shown = _by_column(steps, columns)
    top = max(max(step.wanted, step.ready) for step in shown)
    height = min(HEIGHT, max(top, 1))
    for row in range(height, 0, -1):
        low, high = (row - 1) * max(top, 1), row * max(top, 1)
        cells = (
            WANTED
            if low < step.wanted * height <= high and step.wanted != step.ready
            else READY
            if step.ready * height > low
            else " "
            for step in shown
        )
        yield f"{_label(high / height):>{_AXIS - 1}}|{''.join(cells)}".rstrip()
    yield f"{'+':>{_AXIS}}{'-' * len(shown)}"
    peak = max(max(step.demand for step in shown), 1.0)
    for row in range(DEMAND_HEIGHT, 0, -1):
        marks = (DEMAND if step.demand * DEMAND_HEIGHT > (row - 1) * peak else " " for step in shown)
        label = _label(peak) if row == DEMAND_HEIGHT else ""
        yield f"{label:>{_AXIS - 1}}|{''.join(marks)}".rstrip()
    since, until = (step.at[11:19] for step in (steps[0], steps[-1]))
    yield " " * _AXIS + since + until.rjust(max(len(shown) - len(since), len(until) + 1))
    yield " " * _AXIS + _("{ready} replicas ready, {wanted} wanted; {demand} requests (UTC)").format(
        ready=READY, wanted=WANTED, demand=DEMAND
    )


def _by_column(steps: Sequence[ScaleStep], columns: int) -> list[ScaleStep]:
    """What held at the end of each column of time, a second at least: the last decision until then."""
    times_us = [time_parse(step.at) for step in steps]
    span_us = times_us[-1] - times_us[0]
    count = max(min(columns, span_us // US_PER_S + 1), 1)
    shown: list[ScaleStep] = []
    position = 0
    for column in range(1, count + 1):
        end_us = times_us[0] + span_us * column // count
        while position + 1 < len(steps) and times_us[position + 1] <= end_us:
            position += 1
        shown.append(steps[position])
    return shown


def _label(amount: float) -> str:
    return f"{amount:g}" if amount == int(amount) else f"{amount:.1f}"
