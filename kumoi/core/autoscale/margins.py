"""How far demand may exceed a forecast: quantiles learned online, and which forecast is best.

The error of a forecast F is measured in sqrt(F + 1/4), the deviation of as many independent requests.
Its quantile is followed by steps along the pinball loss (Koenker and Bassett, "Regression
Quantiles", 1978), per forecast and per level of F, since errors at one level say little about another. The
forecast of the lowest decayed loss is used.
"""

from collections.abc import Sequence
from math import sqrt

FORECASTS = 8
LEVELS = 8
MARGIN_START = 2.0
STEP = 0.01
LOSS_DECAY_S = 86_400
MARGIN_LEAST = -1.0
"""Below it, more forecast demand at the lowest level would ask for less."""

KNOTS = tuple(2 ** (level - 0.5) - 0.5 for level in range(LEVELS))
_ROOTS = tuple(sqrt(knot + 0.25) for knot in KNOTS)
MARGINS_START = (MARGIN_START,) * (FORECASTS * LEVELS)
LOSSES_START = (0.0,) * FORECASTS


def margins_learn(
    margins: tuple[float, ...],
    losses: tuple[float, ...],
    forecasts: Sequence[float],
    demand: float,
    tau: float,
    since_us: int,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Margins and losses after `demand` came where `forecasts` were made; `tau` is the quantile followed."""
    learned, lost = list(margins), list(losses)
    weight = since_us / (LOSS_DECAY_S * 1e6)
    for number, forecast in enumerate(forecasts):
        root = sqrt(forecast + 0.25)
        level = int(2 * forecast + 1).bit_length() - 1
        cell = number * LEVELS + (level if level < LEVELS else LEVELS - 1)
        margin = learned[cell]
        above = (demand - forecast) / root - margin
        if above > 0:
            loss = tau * above * root
            learned[cell] = margin + STEP * tau
        else:
            loss = (tau - 1) * above * root
            learned[cell] = margin - STEP * (1 - tau)
        lost[number] += weight * (loss - lost[number])
    return tuple(learned), tuple(lost)


def slots_needed(margins: Sequence[float], forecast: float, offset: float) -> float:
    """Slots for a forecast with its margin (one per level), and `offset` more deviations.

    Interpolated between levels, and made to rise with the forecast: a wild level below must not ask for more
    than the calm one above it.
    """
    lowest = max(margins[0] + offset, MARGIN_LEAST)
    if forecast <= KNOTS[0]:
        return forecast + lowest * sqrt(forecast + 0.25)
    before = KNOTS[0] + lowest * _ROOTS[0]
    for level in range(1, LEVELS):
        value = max(before, KNOTS[level] + (margins[level] + offset) * _ROOTS[level])
        if forecast <= KNOTS[level]:
            part = (forecast - KNOTS[level - 1]) / (KNOTS[level] - KNOTS[level - 1])
            return before + part * (value - before)
        before = value
    return max(before, forecast + (margins[-1] + offset) * sqrt(forecast + 0.25))
