"""Capacity as an SVG: a step chart of what is planned and what was there, with the thresholds as lines."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from kumoi.cli.capacity_series import THRESHOLDS_GFLOPS, day_at, day_values, top_gflops
from kumoi.cli.language import _, language
from kumoi.model.capacity import Capacity, eflops_format

WIDTH, HEIGHT = 880, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 50, 60
_GRID = 5
_INK, _LIVE, _PLANNED, _LINE = "#1a1a1a", "#0b6e4f", "#1f4e99", "#b00020"


def svg_of(capacity: Capacity) -> str:
    """The chart as one document. It carries a title and a description for those who cannot see it."""
    title = _("Theoretical peak in EFLOPS, {since} to {until}").format(
        since=capacity.since, until=capacity.until
    )
    body = [*_axes(capacity), *_thresholds(capacity), *_live(capacity), *_planned(capacity), *_legend()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
            f' aria-labelledby="title desc" xml:lang="{language()}"'
            f' font-family="sans-serif" font-size="12" fill="{_INK}">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="desc">{escape(_description(capacity))}</desc>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text x="{_LEFT}" y="24" font-size="16">{escape(title)}</text>',
            *body,
            "</svg>\n",
        ]
    )


def _description(capacity: Capacity) -> str:
    texts = []
    for name, series in ((_("planned"), capacity.planned), (_("live"), capacity.live)):
        least = series.least
        if least is None:
            texts.append(_("{name}: nothing known").format(name=name))
        else:
            amount = eflops_format(least.attested_gflops + least.unattested_gflops)
            texts.append(
                _("{name}: at least {amount} EFLOPS, on {day}").format(
                    name=name, amount=amount, day=least.day
                )
            )
    return "; ".join(texts)


def _x(position: int, days: int) -> float:
    return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * position / days, 1)


def _y(gflops: int, top: int) -> float:
    return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * gflops / top, 1)


def _axes(capacity: Capacity) -> Iterator[str]:
    top = top_gflops(capacity)
    for part in range(_GRID + 1):
        y = _y(top * part // _GRID, top)
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}" stroke="#dddddd"/>'
        label = eflops_format(top * part // _GRID)
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>'
        x = _x(part, _GRID)
        anchor = {0: "start", _GRID: "end"}.get(part, "middle")
        day = day_at(capacity, part, _GRID)
        yield f'<text x="{x}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="{anchor}">{day}</text>'


def _thresholds(capacity: Capacity) -> Iterator[str]:
    top = top_gflops(capacity)
    for threshold in THRESHOLDS_GFLOPS:
        if threshold <= top:
            y = _y(threshold, top)
            yield (
                f'<line x1="{_LEFT}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}" stroke="{_LINE}"'
                ' stroke-dasharray="2 3"/>'
            )
            yield (
                f'<text x="{WIDTH - _RIGHT}" y="{y - 4}" text-anchor="end" fill="{_LINE}">'
                f"{eflops_format(threshold)}</text>"
            )


def _live(capacity: Capacity) -> Iterator[str]:
    """An area for each run of days that were measured."""
    values = day_values(capacity.live, capacity.since, capacity.until)
    top = top_gflops(capacity)
    for start, run in _runs(values):
        corners = _corners(run, start, len(values), top)
        ground = _y(0, top)
        first, last = _x(start, len(values)), _x(start + len(run), len(values))
        points = " ".join([f"{first},{ground}", *corners, f"{last},{ground}"])
        yield f'<polygon points="{points}" fill="{_LIVE}" fill-opacity="0.35" stroke="{_LIVE}"/>'


def _planned(capacity: Capacity) -> Iterator[str]:
    values = day_values(capacity.planned, capacity.since, capacity.until)
    for start, run in _runs(values):
        points = " ".join(_corners(run, start, len(values), top_gflops(capacity)))
        yield (
            f'<polyline points="{points}" fill="none" stroke="{_PLANNED}" stroke-width="2"'
            ' stroke-dasharray="7 3"/>'
        )


def _runs(values: Sequence[int | None]) -> Iterator[tuple[int, list[int]]]:
    """Runs of days of which something is known, with where they start."""
    position = 0
    for known, group in groupby(values, lambda value: value is not None):
        run = [value for value in group if value is not None]
        if known:
            yield position, run
            position += len(run)
        else:
            position = next(
                (at for at in range(position, len(values)) if values[at] is not None), len(values)
            )


def _corners(run: Sequence[int], start: int, days: int, top: int) -> list[str]:
    """Two corners for every step of a run."""
    corners = []
    position = start
    for value, group in groupby(run):
        length = sum(1 for _same in group)
        y = _y(value, top)
        corners += [f"{_x(position, days)},{y}", f"{_x(position + length, days)},{y}"]
        position += length
    return corners


def _legend() -> Iterator[str]:
    y = HEIGHT - 18
    yield f'<rect x="{_LEFT}" y="{y - 10}" width="24" height="10" fill="{_LIVE}" fill-opacity="0.35"/>'
    yield f'<text x="{_LEFT + 30}" y="{y}">{escape(_("live"))}</text>'
    yield (
        f'<line x1="{_LEFT + 150}" y1="{y - 5}" x2="{_LEFT + 174}" y2="{y - 5}" stroke="{_PLANNED}"'
        ' stroke-width="2" stroke-dasharray="7 3"/>'
    )
    yield f'<text x="{_LEFT + 180}" y="{y}">{escape(_("planned"))}</text>'
    yield (
        f'<line x1="{_LEFT + 300}" y1="{y - 5}" x2="{_LEFT + 324}" y2="{y - 5}" stroke="{_LINE}"'
        ' stroke-dasharray="2 3"/>'
    )
    yield f'<text x="{_LEFT + 330}" y="{y}">{escape(_("thresholds of the policy"))}</text>'
