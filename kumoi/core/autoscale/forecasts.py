"""Cheap forecasts of demand, several side by side: averages of several lengths, and clocks.

A clock adds to the present what demand gained at the same phase of the periods before: a burst that comes
every two hours, or every morning, is met before it begins, and soon forgotten if it fails to come.
"""

from functools import lru_cache
from math import exp

import msgspec

AVERAGES_S = (5, 20, 90, 600, 86_400)
BASE = 1
"""The average that clocks add to (of 20 s)."""
USUAL = 4
"""The average of a day: the scale of the service, not a forecast."""
CLOCKS_S = ((7_200, 3), (86_400, 1))
"""Periods, and how many of them are looked back."""

LOOK_US = 1_000_000
"""What lies before the first look, by assumption."""
BIN_US = 30_000_000
BINS_MAX = (86_400 + 1_200) * 1_000_000 // BIN_US
BINS_BEFORE, BINS_AFTER = 4, 2
CLOCK_LOOK_US = 5_000_000
HUNDREDTHS = 100


class Signal(msgspec.Struct, frozen=True):
    """Demand as it was: averages, and peaks of the shortest one (in hundredths) in bins of half a minute.

    `history` holds the bins before `bin_now`, whose own peak is `bin_peak`. `gains` of the clocks were read
    at `gains_us`.
    """

    started_us: int
    averages: tuple[float, ...]
    bin_now: int
    bin_peak: float
    history: tuple[int, ...] = ()
    gains: tuple[float, ...] = (0.0,) * len(CLOCKS_S)
    gains_us: int = 0


def signal_follow(signal: Signal | None, demand: float, now_us: int, since_us: int, ahead_us: int) -> Signal:
    """The signal after a look `since_us` after the one before; clocks are read for `ahead_us` from now."""
    bin_now = now_us // BIN_US
    if signal is None:
        return Signal(now_us - LOOK_US, (demand,) * len(AVERAGES_S), bin_now, demand)
    least = since_us / (now_us - signal.started_us)
    averages = tuple(
        [
            value + (weight if weight > least else least) * (demand - value)
            for value, weight in zip(signal.averages, _weights(since_us), strict=True)
        ]
    )
    history, peak = signal.history, averages[0]
    if bin_now != signal.bin_now:
        ended = (round(signal.bin_peak * HUNDREDTHS),) * min(bin_now - signal.bin_now, BINS_MAX)
        history = (*history, *ended)[-BINS_MAX:]
    elif signal.bin_peak > peak:
        peak = signal.bin_peak
    gains, gains_us = signal.gains, signal.gains_us
    if now_us - gains_us >= CLOCK_LOOK_US:
        gains, gains_us = _clocks_read(history, bin_now, (now_us + ahead_us) // BIN_US), now_us
    return Signal(signal.started_us, averages, bin_now, peak, history, gains, gains_us)


def forecasts_make(demand: float, signal: Signal) -> tuple[float, ...]:
    """All forecasts: averages of 5 to 600 s, the present, each clock, and the higher of the clocks."""
    base = signal.averages[BASE]
    two_hours, day = signal.gains
    return (*signal.averages[:USUAL], demand, base + two_hours, base + day, base + max(two_hours, day))


@lru_cache(maxsize=64)
def _weights(since_us: int) -> tuple[float, ...]:
    return tuple(1 - exp(-since_us / (length_s * 1e6)) for length_s in AVERAGES_S)


def _clocks_read(history: tuple[int, ...], bin_now: int, bin_ahead: int) -> tuple[float, ...]:
    """What demand gained around the phase of `bin_ahead` in earlier periods, for each clock, at least 0."""
    oldest = bin_now - len(history)
    gains = []
    for period_s, times in CLOCKS_S:
        gain = 0
        for back in range(1, times + 1):
            at = bin_ahead - back * (period_s * 1_000_000 // BIN_US) - oldest
            if at < BINS_BEFORE or at + BINS_AFTER > len(history):
                continue
            gain = max(gain, max(history[at : at + BINS_AFTER]) - min(history[at - BINS_BEFORE : at]))
        gains.append(gain / HUNDREDTHS)
    return tuple(gains)
