"""Line charts as SVG: the same bytes for the same numbers, small, no script, with a text for screen readers.

Written here since a chart of a few lines is a hundred lines of text, and a plotting library would be ten more
packages to lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 44, 56
# Okabe and Ito's colours, which people of every colour vision can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_DASHES = ("", "8 3", "3 3", "10 3 3 3", "2 4 8 4", "14 4")


@dataclass(frozen=True, slots=True)
class Line:
    """A named line through points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, from where to where, and the distance of its ticks."""

    label: str
    low: float
    high: float
    step: float

    def ticks(self) -> list[float]:
        """Where the ticks are."""
        return [self.low + n * self.step for n in range(int((self.high - self.low) / self.step + 1e-9) + 1)]


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """The chart. Points outside the axes are left out. Lines differ in colour and in dashes."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(_description(x, y, lines))}</desc>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15">{escape(title)}</text>',
        *_frame(x, y),
    ]
    for index, line in enumerate(lines):
        colour, dash = COLOURS[index % len(COLOURS)], _DASHES[index % len(_DASHES)]
        points = " ".join(
            f"{_x(x, at):.1f},{_y(y, value):.1f}"
            for at, value in line.points
            if x.low <= at <= x.high and y.low <= value <= y.high
        )
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        key, right = TOP + 8 + 22 * index, WIDTH - RIGHT + 14
        parts += [
            f'<polyline points="{points}" {stroke}/>',
            f'<line x1="{right}" y1="{key}" x2="{right + 30}" y2="{key}" {stroke}/>',
            f'<text x="{right + 36}" y="{key + 4}">{escape(line.name)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _frame(x: Axis, y: Axis) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in x.ticks():
        at = _x(x, tick)
        parts += [
            f'<line x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{bottom}" stroke="#dddddd"/>',
            f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>',
        ]
    for tick in y.ticks():
        at = _y(y, tick)
        parts += [
            f'<line x1="{LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}" stroke="#dddddd"/>',
            f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tick:g}</text>',
        ]
    middle = (TOP + bottom) / 2
    return [
        *parts,
        f'<text x="{(LEFT + right) / 2:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x.label)}</text>',
        f'<text transform="translate(18 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.label)}</text>",
    ]


def _description(x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    ends = "; ".join(f"{line.name} ends at {line.points[-1][1]:.2f}" for line in lines if len(line.points))
    return f"{y.label} against {x.label}. {ends}."


def _x(axis: Axis, value: float) -> float:
    return LEFT + (value - axis.low) / (axis.high - axis.low) * (WIDTH - RIGHT - LEFT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (value - axis.low) / (axis.high - axis.low) * (HEIGHT - BOTTOM - TOP)
