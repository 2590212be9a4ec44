"""Fair shares: what an organization holds and lately held, as a share of its pool.

The dominant share is the largest of an organization's shares of the single resources (Ghodsi et al.,
"Dominant Resource Fairness", NSDI 2011, section 4). Past use is remembered in share-seconds and fades by half
every `HALF_LIFE_S`: who used much yesterday stands behind who used little, and is forgiven with time.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from kumoi.core.placement.snapshot import Holding, TaskView

HALF_LIFE_S = 86_400
MEMORY_S = HALF_LIFE_S / math.log(2)
"""Share-seconds that a constant share of 1 amounts to in the long run."""


class Amounts(NamedTuple):
    """What work holds or a pool has. `device_milli` counts thousandths of devices of every model."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    device_milli: int = 0
    tasks: int = 0

    def plus(self, other: "Amounts") -> "Amounts":
        """The sum."""
        return Amounts(
            self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3], self[4] + other[4]
        )

    def times(self, count: int) -> "Amounts":
        """As much `count` times."""
        return Amounts(self[0] * count, self[1] * count, self[2] * count, self[3] * count, self[4] * count)


NOTHING = Amounts()


def amounts_of(work: TaskView | Holding) -> Amounts:
    """What a task asks for, or live work holds."""
    if isinstance(work, TaskView):
        device_milli = sum(wish.count * wish.milli for wish in work.devices)
    else:
        device_milli = sum(milli for _, milli in work.devices)
    return Amounts(work.cpu_milli, work.memory_bytes, work.disk_bytes, device_milli, 1)


def amounts_sum(work: Iterable[TaskView | Holding]) -> Amounts:
    """What all of it amounts to."""
    total = NOTHING
    for one in work:
        total = total.plus(amounts_of(one))
    return total


def dominant_share(held: Amounts, capacity: Amounts) -> float:
    """The largest share of a resource, 0 to 1. What the pool has none of counts nothing, nor do tasks."""
    return max(
        (mine / whole for mine, whole in zip(held[:-1], capacity[:-1], strict=True) if whole > 0),
        default=0.0,
    )


def usage_decay(usage_s: float, share: float, elapsed_s: float) -> float:
    """Share-seconds after `elapsed_s` more, during which a constant `share` was held.

    Exact for a constant share, whatever the steps: two steps give what one of their length gives.
    """
    kept: float = 2.0 ** (-max(elapsed_s, 0.0) / HALF_LIFE_S)
    return usage_s * kept + share * MEMORY_S * (1.0 - kept)


def past_share(usage_s: float) -> float:
    """The mean share lately held, 0 to 1, to which `usage_s` decayed share-seconds amount."""
    return usage_s / MEMORY_S


def level(held: Amounts, capacity: Amounts, usage_s: float, weight: int) -> float:
    """Where an organization stands: the lower, the sooner its turn.

    The share that it holds and the mean share that it lately held, together, divided by its weight.
    """
    return (dominant_share(held, capacity) + past_share(usage_s)) / weight
