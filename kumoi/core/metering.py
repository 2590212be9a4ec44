"""Metering: what an attempt held, in intervals that neither overlap nor leave a gap."""

from dataclasses import dataclass

from kumoi.model.time import US_PER_S

PERIOD_US = 3_600 * US_PER_S
INTERVALS_MAX = 24 * 32


@dataclass(frozen=True, slots=True)
class Interval:
    """[start, end) in microseconds UTC."""

    start_us: int
    end_us: int


def intervals_due(metered_us: int, until_us: int, *, ended: bool) -> tuple[Interval, ...]:
    """The intervals to write for an attempt that was metered up to `metered_us`.

    A running attempt is cut at full hours that have passed, an ended one up to its end. The next call
    continues where the last interval ended, so what is written is the same whenever and however often the
    meter runs. At most INTERVALS_MAX are returned; the rest follows with the next call.
    """
    cuts: list[Interval] = []
    start_us = metered_us
    while start_us < until_us and len(cuts) < INTERVALS_MAX:
        end_us = (start_us // PERIOD_US + 1) * PERIOD_US
        if end_us > until_us:
            if not ended:
                break
            end_us = until_us
        cuts.append(Interval(start_us, end_us))
        start_us = end_us
    return tuple(cuts)
