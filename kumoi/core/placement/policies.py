"""What a policy is, and the plain ones: `pack`, `spread`, `best_fit`.

A policy says what it would cost to place a task of a shape on a host, in whole numbers, less is better. Costs
are compared only between hosts, for one shape. Ties go to the lowest row.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from kumoi.core.placement.host_table import HostTable, Ints, Rows
from kumoi.core.placement.shapes import WHOLE_MILLI, Shape

_PARTS = 1_000_000


class Scorer(Protocol):
    """A policy at one moment. It looks at the table as it is, and at nothing else that changes."""

    def costs(self, shape: Shape, rows: Rows) -> Ints:
        """The cost of the shape on each of `rows`, below 2**31 - 1 in size; it fits on all of them.

        Hosts of one class in one state cost the same.
        """

    def slot(self, shape: Shape, row: int, slots: Sequence[int], /) -> int:
        """Which of `slots` (at least two, ascending; it fits in each) a shared device is taken from."""


class Policy(Protocol):
    """A named policy on one table, with what it learned."""

    name: str

    def scorer(self) -> Scorer:
        """The scorer of now. A new one after each refresh, so that the old one can still answer."""

    def learn(self, shape: Shape) -> None:
        """A task of this shape arrived."""

    def leave(self, shape: Shape) -> None:
        """A task of this shape departed."""

    def refresh_due(self) -> bool:
        """Whether what was learned is worth a refresh."""

    def refresh(self) -> None:
        """Draw conclusions from what was learned. Deterministic in the sequence of what was learned."""

    def state(self) -> bytes:
        """The conclusions alone: all that the scorer depends on besides the table. Recorded with plans."""

    def state_put(self, state: bytes) -> None:
        """Take over conclusions: the next scorer decides exactly as the one whose `state` this was."""


def capacity_most(table: HostTable) -> tuple[int, int]:
    """The most CPU and the most device capacity, in thousandths, that any open host has; 1 at least."""
    is_open = table.active
    return (
        max(1, int(table.cpu_milli.max(initial=0, where=is_open))),
        max(1, int(table.gpu_milli.max(initial=0, where=is_open))),
    )


class PlainScorer:
    """A scorer without parameters but the size of the largest host, as it was when this was made."""

    def __init__(self, table: HostTable) -> None:
        self.table = table
        self.cpu_max, self.gpu_max = capacity_most(table)

    def costs(self, shape: Shape, rows: Rows) -> Ints:
        """See `Scorer`."""
        raise NotImplementedError

    def slot(self, _shape: Shape, row: int, slots: Sequence[int], /) -> int:
        """The fullest slot; of equally full ones the first."""
        free = self.table.slot_free[row]
        return min(slots, key=lambda slot: (int(free[slot]), slot))


class PlainPolicy:
    """A policy that learns nothing."""

    def __init__(self, name: str, table: HostTable, scorer: type[PlainScorer]) -> None:
        self.name = name
        self._table = table
        self._scorer = scorer

    def scorer(self) -> Scorer:
        """See `Policy`; takes note of larger hosts."""
        return self._scorer(self._table)

    def learn(self, shape: Shape) -> None:
        """Nothing to learn."""

    def leave(self, shape: Shape) -> None:
        """Nothing to learn."""

    def refresh_due(self) -> bool:
        """Never."""
        return False

    def refresh(self) -> None:
        """Nothing to conclude."""

    def state(self) -> bytes:
        """Nothing was concluded."""
        return b""

    def state_put(self, state: bytes) -> None:
        """Nothing to take over."""


class PackScorer(PlainScorer):
    """Fill what is begun: a device in use before a free one, a host in use before an idle one.

    Within a rank the host with the least device capacity left, then the one with the least CPU left. The
    ranks are those of "Packing" in the FGD paper.
    """

    def costs(self, shape: Shape, rows: Rows) -> Ints:
        """See `Scorer`."""
        table = self.table
        cpu_free, gpu_free = table.cpu_free.take(rows), table.gpu_free.take(rows)
        idle = (cpu_free == table.cpu_milli.take(rows)) & (gpu_free == table.gpu_milli.take(rows))
        rank = 1 + idle
        if shape.is_shared:
            free = table.slots_of(shape, rows)
            rank[((free >= shape.gpu_milli) & (free < WHOLE_MILLI)).any(axis=0)] = 0
        cpu_left = (cpu_free - shape.cpu_milli) * 1_000 // self.cpu_max
        costs: Ints = (rank * (self.gpu_max + 1) + gpu_free) * 1_001 + cpu_left
        return costs


class SpreadScorer(PlainScorer):
    """Even use: the host of which the least would be in use: its shares of CPU, memory, devices, summed."""

    def costs(self, shape: Shape, rows: Rows) -> Ints:
        """See `Scorer`."""
        table = self.table
        return (
            _used_parts(table.cpu_free.take(rows) - shape.cpu_milli, table.cpu_milli.take(rows))
            + _used_parts(table.memory_free.take(rows) - shape.memory_bytes, table.memory_bytes.take(rows))
            + _used_parts(table.gpu_free.take(rows) - shape.gpu_total_milli, table.gpu_milli.take(rows))
        )

    def slot(self, _shape: Shape, row: int, slots: Sequence[int], /) -> int:
        """The freest slot; of equally free ones the first."""
        free = self.table.slot_free[row]
        return min(slots, key=lambda slot: (-int(free[slot]), slot))


class BestFitScorer(PlainScorer):
    """The host with the least left of CPU and devices together, each as a share of the largest host's.

    "BestFit" of the FGD paper. What a host has beyond the largest one known does not count, so that no cost
    is too large when larger hosts join.
    """

    def costs(self, shape: Shape, rows: Rows) -> Ints:
        """See `Scorer`."""
        cpu_left = self.table.cpu_free.take(rows) - shape.cpu_milli
        gpu_left = self.table.gpu_free.take(rows) - shape.gpu_total_milli
        costs: Ints = (
            np.minimum(cpu_left, self.cpu_max) * _PARTS // self.cpu_max
            + np.minimum(gpu_left, self.gpu_max) * _PARTS // self.gpu_max
        )
        return costs


def _used_parts(left: Ints, capacity: Ints) -> Ints:
    """The share in use in millionths; nothing is in use where there is nothing."""
    return np.where(
        capacity > 0, _PARTS - (left.astype(np.float64) / np.maximum(capacity, 1) * _PARTS), 0
    ).astype(np.int64)


_PLAIN: dict[str, type[PlainScorer]] = {"pack": PackScorer, "spread": SpreadScorer, "best_fit": BestFitScorer}

PLAIN_NAMES = tuple(_PLAIN)


def plain_policy(name: str, table: HostTable) -> Policy:
    """The policy of this name, one of `PLAIN_NAMES`. KeyError for another."""
    return PlainPolicy(name, table, _PLAIN[name])
