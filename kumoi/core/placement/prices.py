"""What room on hosts is worth to the tasks that come: bid prices, drawn from the mix of tasks.

Bid prices (Talluri and van Ryzin, "The Theory and Practice of Revenue Management", 2004) say what a piece of
capacity is expected to earn, so that room can be given away where it would have earned least. Parts of
devices are priced by the dual of the cutting-stock problem (Gilmore and Gomory, "A Linear Programming
Approach to the Cutting-Stock Problem", Operations Research 9, 1961): devices are the stock, the shares asked
for are the pieces, and the dual value of a piece is the part of a device that it costs when all is cut well.

Values are in thousandths of a device.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import exp, log, sqrt
from statistics import NormalDist

from kumoi.core.placement.shapes import WHOLE_MILLI, Shape, is_partition

PARTS = 100
"""Parts of devices are priced in hundredths; what is asked for is rounded up, what is left down."""

RATES = 8
RATE_SHIFT = 20
WEIGHT_ONE = 1_024
RATE_MAX = 8_000 << RATE_SHIFT

_CORE_MILLI = 1_000
_PRESSURE_MAX = 8.0
_PATTERNS_MAX = 400
_DUAL_ERROR = 1e-6


@dataclass(frozen=True, slots=True)
class Tuning:
    """How prices are drawn from the mix: constants found by simulation on the public openb trace.

    `linear` and `usable`: which parts of the value of a remainder are its size, and its size times the
    chance that the next task fits in; the rest is its cutting-stock price. `whole`: weight of keeping devices
    together for tasks of several. `cpu_scale` and `cpu_spread`: how much of a device a core will serve,
    against the average task, and how widely that varies, against single tasks. `grain`: costs closer than
    this are equal. `model`: how strongly a model's price follows the demand that can only be met there.
    """

    linear: float
    usable: float
    whole: float
    cpu_scale: float
    cpu_spread: float
    grain: float
    model: float

    def towards(self, other: "Tuning", part: float) -> "Tuning":
        """The tuning so far on the way from this one to another: 0 is this one, 1 the other."""
        return Tuning(
            **{
                field.name: getattr(self, field.name)
                + part * (getattr(other, field.name) - getattr(self, field.name))
                for field in fields(self)
            }
        )


FILLING = Tuning(0.4, 0.07, 0.68, 0.715, 0.55, 14.0, 0.4)
"""For room that is filled and stays full: all that is left over is lost, so pieces must match."""

CHURNING = Tuning(0.1, 0.7, 4.0, 2.5, 0.8, 3.0, 0.1)
"""For tasks that leave as fast as they come: gaps come and go, so fill begun devices, keep hosts free."""


@dataclass(frozen=True, slots=True)
class Prices:
    """The worth of a host's room: all whole numbers, so that the same prices give the same costs anywhere.

    `parts[u]`: u hundredths of a device. `rates`: device capacity that a thousandth of a core can serve, in
    2**-20, ascending. `wholes`: (devices, cores, worth) for hosts with at least so much free. `weights`: per
    device model, in 1024ths. `grain`: costs are counted in this.
    """

    parts: tuple[int, ...]
    rates: tuple[int, ...]
    wholes: tuple[tuple[int, int, int], ...]
    weights: tuple[tuple[str, int], ...]
    grain: int


def prices_unknown(cpu_milli: int, gpu_milli: int) -> Prices:
    """Prices before any task is known: capacity by its size, CPU by what the largest hosts have of both."""
    rate = round((gpu_milli << RATE_SHIFT) / max(1, cpu_milli))
    parts = tuple(range(0, WHOLE_MILLI + 1, WHOLE_MILLI // PARTS))
    return Prices(parts, (min(rate, RATE_MAX),) * RATES, (), (), round(FILLING.grain))


def prices_make(mix: Mapping[Shape, int], turnover: float, gpu_milli: Mapping[str, int]) -> Prices | None:
    """Prices from how many tasks of each shape arrived, departures per arrival, and capacity by device model.

    None if no task asks for a device: then there is nothing to price.
    """
    tuning = FILLING.towards(CHURNING, turnover)
    shapes = {shape: count for shape, count in mix.items() if shape.gpu_count}
    if not shapes:
        return None
    parts = _parts(shapes, tuning)
    return Prices(
        parts,
        _rates(shapes, parts, tuning),
        _wholes(shapes, tuning),
        _weights(shapes, gpu_milli, tuning),
        max(1, round(tuning.grain)),
    )


def cut_prices(pieces: Mapping[int, int]) -> list[float]:
    """What u hundredths of a device are worth in devices, u from 0 to 100, if `pieces` are cut from devices.

    `pieces`: how many are asked for, by size in hundredths (1 to 100). The linear program of Gilmore and
    Gomory: the fewest devices that give all pieces; patterns are added while one earns more than a device
    costs. The value of a remainder is that of the best pattern in it, at the dual values of the pieces.
    """
    import highspy  # here, so that a plane starts without it

    sizes = sorted(pieces)
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    for size in sizes:
        solver.addRow(float(pieces[size]), highspy.kHighsInf, 0, [], [])
    for index, size in enumerate(sizes):
        solver.addCol(1.0, 0.0, highspy.kHighsInf, 1, [index], [float(PARTS // size)])
    values: list[float] = []
    for _ in range(_PATTERNS_MAX):
        solver.run()
        values, pattern = _best_pattern(sizes, list(solver.getSolution().row_dual))
        if values[-1] <= 1 + _DUAL_ERROR:
            break
        solver.addCol(
            1.0, 0.0, highspy.kHighsInf, len(pattern), list(pattern), [float(n) for n in pattern.values()]
        )
    return values


def _best_pattern(sizes: Sequence[int], values: Sequence[float]) -> tuple[list[float], dict[int, int]]:
    """The most that pieces in u hundredths can be worth, u from 0 to 100, and the pieces of the best device.

    The pattern maps the position of a size to how many of it. (A knapsack with as many of each as one likes.)
    """
    best, last = [0.0] * (PARTS + 1), [-1] * (PARTS + 1)
    for room in range(1, PARTS + 1):
        best[room] = best[room - 1]
        for index, size in enumerate(sizes):
            if size > room:
                break
            worth = best[room - size] + values[index]
            if worth > best[room] + _DUAL_ERROR / 1_000:
                best[room], last[room] = worth, index
    pattern: dict[int, int] = defaultdict(int)
    room = PARTS
    while room:
        if last[room] < 0:
            room -= 1
        else:
            pattern[last[room]] += 1
            room -= sizes[last[room]]
    return best, dict(pattern)


def _parts(shapes: Mapping[Shape, int], tuning: Tuning) -> tuple[int, ...]:
    """The worth of u hundredths of a device, never falling with u."""
    pieces: dict[int, int] = {PARTS: 0}
    fitting = [0] * (PARTS + 1)
    for shape, count in shapes.items():
        size = -(-shape.gpu_milli * PARTS // WHOLE_MILLI)
        pieces[size] = pieces.get(size, 0) + count * shape.gpu_count
        if shape.gpu_count == 1:
            fitting[size] += count * shape.gpu_milli
    cut = cut_prices(pieces)
    total, below, worth = max(1, sum(fitting)), 0, [0]
    for size in range(1, PARTS + 1):
        below += fitting[size]
        part = (1 - tuning.linear - tuning.usable) * cut[size]
        part += size / PARTS * (tuning.linear + tuning.usable * below / total)
        worth.append(max(worth[-1], round(WHOLE_MILLI * part)))
    return tuple(worth)


def _rates(shapes: Mapping[Shape, int], parts: Sequence[int], tuning: Tuning) -> tuple[int, ...]:
    """Eight guesses of the device capacity that a core will serve, ascending: quantiles of a log-normal.

    Its mean and deviation are those of the tasks, by the capacity they ask for; narrower, since a host holds
    several tasks, and scaled.
    """
    total = sum(count * shape.gpu_total_milli for shape, count in shapes.items())
    ratios = sorted(
        (log(max(1, _worth(shape, parts)) / max(1, shape.cpu_milli)), count * shape.gpu_total_milli / total)
        for shape, count in shapes.items()
    )
    mean = sum(ratio * weight for ratio, weight in ratios)
    deviation = sqrt(sum((ratio - mean) ** 2 * weight for ratio, weight in ratios))
    steps = [NormalDist().inv_cdf((rank + 0.5) / RATES) for rank in range(RATES)]
    return tuple(
        min(
            RATE_MAX,
            round(tuning.cpu_scale * exp(mean + tuning.cpu_spread * deviation * step) * (1 << RATE_SHIFT)),
        )
        for step in steps
    )


def _wholes(shapes: Mapping[Shape, int], tuning: Tuning) -> tuple[tuple[int, int, int], ...]:
    """What a host is worth that has room for a task of several devices: by its part of what is asked for."""
    total = sum(count * shape.gpu_total_milli for shape, count in shapes.items())
    worth: dict[tuple[int, int], float] = defaultdict(float)
    for shape, count in shapes.items():
        if shape.gpu_count > 1:
            devices = shape.gpu_count
            cores = -(-shape.cpu_milli // _CORE_MILLI)
            worth[devices, cores] += tuning.whole * devices * count * devices * WHOLE_MILLI**2 / total
    return tuple((devices, cores, round(value)) for (devices, cores), value in sorted(worth.items()))


def _weights(
    shapes: Mapping[Shape, int], gpu_milli: Mapping[str, int], tuning: Tuning
) -> tuple[tuple[str, int], ...]:
    """Per model, demand against capacity if each task spreads evenly over the models that it may use.

    Both are counted so that they are equal in all. The weight is a power of it.
    """
    asked = sum(count * shape.gpu_total_milli for shape, count in shapes.items())
    scale = sum(gpu_milli.values()) / asked
    pressure = dict.fromkeys(gpu_milli, 0.0)
    for shape, count in shapes.items():
        usable = [model for model in gpu_milli if _is_allowed(model, shape)]
        capacity = sum(gpu_milli[model] for model in usable)
        for model in usable if capacity else ():
            pressure[model] += count * shape.gpu_total_milli * scale / capacity
    return tuple(
        (model, round(WEIGHT_ONE * min(_PRESSURE_MAX, max(1 / _PRESSURE_MAX, value)) ** tuning.model))
        for model, value in sorted(pressure.items())
    )


def _worth(shape: Shape, parts: Sequence[int]) -> int:
    if shape.gpu_count == 1:
        return parts[shape.gpu_milli * PARTS // WHOLE_MILLI]
    return shape.gpu_count * parts[PARTS]


def _is_allowed(model: str, shape: Shape) -> bool:
    return model in shape.models if shape.models is not None else not is_partition(model)
