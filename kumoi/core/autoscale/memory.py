"""What each policy remembers from look to look: plain numbers that can be kept and replayed."""

import msgspec

from kumoi.core.autoscale.demand import Counted
from kumoi.core.autoscale.forecasts import Signal
from kumoi.core.autoscale.margins import LOSSES_START, MARGINS_START

Samples = tuple[tuple[int, float], ...]
"""Values by the time they were seen (microseconds), oldest first."""


class TargetMemory(msgspec.Struct, frozen=True, tag="target"):
    """Requests in the service (`inside_sum` over `looks`) since the last sync, and what was recommended."""

    synced_us: int | None = None
    inside_sum: int = 0
    looks: int = 0
    advised: Samples = ()


class PanicMemory(msgspec.Struct, frozen=True, tag="panic"):
    """Concurrency over the stable window, the panic if there is one, and since when nothing is asked for."""

    synced_us: int | None = None
    seen: Samples = ()
    panic_us: int | None = None
    panic_replicas: int = 0
    idle_us: int | None = None


class QueueMemory(msgspec.Struct, frozen=True, tag="queue"):
    """Concurrency over the look-back, and since when there should be more (or fewer) replicas."""

    seen: Samples = ()
    above_us: int | None = None
    below_us: int | None = None


class KumoiMemory(msgspec.Struct, frozen=True, tag="kumoi"):
    """What the default policy has learned (`kumoi_policy`).

    `counted` are cumulated arrivals, `made` forecasts that are not due yet. `margins`, `losses` and `offset`
    are the calibration, `advised` is what is still held.
    """

    counted: Counted = ()
    signal: Signal | None = None
    made: tuple[tuple[int, tuple[float, ...]], ...] = ()
    margins: tuple[float, ...] = MARGINS_START
    losses: tuple[float, ...] = LOSSES_START
    offset: float = 0.0
    advised: Samples = ()


Memory = TargetMemory | PanicMemory | QueueMemory | KumoiMemory


def peak_keep(kept: Samples, at_us: int, value: float, window_us: int) -> Samples:
    """What can still be the highest of a sliding window: falling values, the first is the peak."""
    oldest_us = at_us - window_us
    first = 0
    while first < len(kept) and kept[first][0] <= oldest_us:
        first += 1
    last = len(kept)
    while last > first and kept[last - 1][1] <= value:
        last -= 1
    return (*kept[first:last], (at_us, value))


def window_keep(kept: Samples, at_us: int, value: float, window_us: int) -> Samples:
    """All samples of the window that ends now."""
    oldest_us = at_us - window_us
    first = 0
    while first < len(kept) and kept[first][0] <= oldest_us:
        first += 1
    return (*kept[first:], (at_us, value))
