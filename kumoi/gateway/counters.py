"""What is counted for one service, and histograms of times with fixed bounds."""

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)


class Histogram:
    """Counts of times by upper bound, in seconds; the last count is of all that took longer."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, time_s: float) -> None:
        """One more."""
        self.counts[bisect_left(BOUNDS_S, time_s)] += 1
        self.sum_s += time_s


@dataclass(slots=True)
class Counters:
    """Since the gateway started. `service_us` is the sum from slot to last byte over `completed` requests.

    `refused` requests found the queue full, `expired` ones waited too long for a slot, `abandoned` ones
    lost their client, `lost` ones were accepted and got no whole answer from a replica.
    """

    arrived: int = 0
    completed: int = 0
    violated: int = 0
    lost: int = 0
    refused: int = 0
    expired: int = 0
    abandoned: int = 0
    retried: int = 0
    service_us: int = 0
    waits: Histogram = field(default_factory=Histogram)
    times: Histogram = field(default_factory=Histogram)


@dataclass(slots=True)
class Carried:
    """What HAProxy carried without the activator.

    `waits_above` and `times_above` count what took longer than each bound; `busy_at` is what is in flight at
    each replica now.
    """

    arrived: int = 0
    completed: int = 0
    violated: int = 0
    lost: int = 0
    refused: int = 0
    retried: int = 0
    service_us: int = 0
    waiting: int = 0
    busy: int = 0
    waits_above: list[int] = field(default_factory=lambda: [0] * len(BOUNDS_S))
    times_above: list[int] = field(default_factory=lambda: [0] * len(BOUNDS_S))
    busy_at: dict[str, int] = field(default_factory=dict)

    def below(self, above: list[int]) -> list[int]:
        """Counts by bound, as `Histogram` has them."""
        totals = [self.completed, *above, 0]
        return [max(0, more - fewer) for more, fewer in pairwise(totals)]
