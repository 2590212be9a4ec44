"""Chooses hosts one task at a time: scores of each shape on every host, kept current by what changed.

For each shape asked for there is a row of integer costs over all hosts. A choice first brings the row up to
date (the hosts that changed since it was last asked are checked and scored again, in one vectorised step) and
then takes its smallest cost, on equal costs the lowest row. So a choice costs by what changed since the same
shape was last asked, and nothing is computed for shapes that nobody asks for.

The smallest cost is found by a lower bound for each block of hosts: a cost that falls lowers its block's
bound at once, one that rises leaves it too low until a choice looks into the block. So a choice reads a few
blocks, not the costs of a whole region, which would have to come from memory each time.
"""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kumoi.core.placement.host_table import Bools, HostTable, Rows
from kumoi.core.placement.policies import Policy, Scorer
from kumoi.core.placement.shapes import Shape

Costs = NDArray[np.int32]

NEVER = int(np.iinfo(np.int32).max)
"""The cost of a host on which the shape does not fit."""

SHAPES_BYTES = 512 << 20
"""Memory for costs; the shapes that were not asked for the longest are forgotten beyond it."""

STEP_ROWS = 1 << 12
"""Hosts scored in one step: well below a millisecond, and what it needs stays in the processor's cache."""

_ALIKE_FROM = 4
_BLOCK_BITS = 9


class _CostRow:
    """The costs of one shape on every host, as of `seen` changes of the table, by one state of the policy.

    No cost in a block is below the block's bound.
    """

    __slots__ = ("bounds", "costs", "done", "heir", "scorer", "seen")

    def __init__(self, scorer: Scorer, size: int, seen: int) -> None:
        self.scorer = scorer
        self.costs: Costs = np.full(size, NEVER, np.int32)
        self.bounds: Costs = np.full(_blocks(size), NEVER, np.int32)
        self.seen = seen
        self.done = 0
        self.heir: _CostRow | None = None

    def put(self, rows: Rows, costs: Costs) -> None:
        """Set the costs of rows."""
        self.costs[rows] = costs
        np.minimum.at(self.bounds, rows >> _BLOCK_BITS, costs)

    def grow(self, size: int) -> None:
        """Make room for the costs of `size` hosts."""
        costs, bounds = self.costs, self.bounds
        self.costs, self.bounds = np.full(size, NEVER, np.int32), np.full(_blocks(size), NEVER, np.int32)
        self.costs[: costs.size], self.bounds[: bounds.size] = costs, bounds

    def least(self) -> int | None:
        """The lowest row of the least cost, if any is below `NEVER`. Raises the bounds that were too low."""
        while self.bounds.size:
            block = int(self.bounds.argmin())
            bound = self.bounds[block]
            if bound == NEVER:
                return None
            start = block << _BLOCK_BITS
            costs = self.costs[start : start + (1 << _BLOCK_BITS)]
            row = int(costs.argmin())
            if costs[row] == bound:
                return start + row
            self.bounds[block] = costs[row]
        return None


def _blocks(size: int) -> int:
    return (size >> _BLOCK_BITS) + 1


class Placer:
    """Places tasks on the hosts of a table by a policy. Deterministic: the same calls give the same answers.

    A task goes to the host of the least cost, on equal costs to the lowest row; it is refused only if it fits
    on no host. After `refresh` a shape's hosts are scored anew when it is next asked for: at once on up to
    `step_rows` hosts, else so many hosts with each choice, and the choice follows the policy as it was before
    until all are done. So no choice waits for a refresh; only a shape's first one looks at all hosts.
    """

    def __init__(
        self,
        table: HostTable,
        policy: Policy,
        *,
        shapes_bytes: int = SHAPES_BYTES,
        step_rows: int = STEP_ROWS,
    ) -> None:
        self.table = table
        self.policy = policy
        self._scorer = policy.scorer()
        self._rows: OrderedDict[Shape, _CostRow] = OrderedDict()
        self._shapes_bytes = shapes_bytes
        self._step_rows = step_rows

    def choose(self, shape: Shape, allowed: Bools | None = None) -> int | None:
        """The best row among those `allowed` (bool[N]; None: all); None only when the shape fits on none."""
        if allowed is None:
            return self._cost_row(shape).least()
        costs = self.costs(shape, allowed)
        if not costs.size:
            return None
        row = int(costs.argmin())
        return row if costs[row] != NEVER else None

    def best(self, shape: Shape, count: int, allowed: Bools | None = None) -> list[tuple[int, int]]:
        """Up to `count` (0: all) rows on which the shape fits and their costs, the best first."""
        costs = self.costs(shape, allowed)
        if not 0 < count <= costs.size:
            count = costs.size
        if not count:
            return []
        last = min(int(np.partition(costs, count - 1)[count - 1]), NEVER - 1)
        rows = (costs <= last).nonzero()[0]
        rows = rows[costs[rows].argsort(kind="stable")[:count]]
        return list(zip(rows.tolist(), costs[rows].tolist(), strict=True))

    def candidates(self, shape: Shape, allowed: Bools | None = None) -> int:
        """On how many of the `allowed` rows the shape fits."""
        return int(np.count_nonzero(self.costs(shape, allowed) != NEVER))

    def costs(self, shape: Shape, allowed: Bools | None = None) -> Costs:
        """The cost of every row, int32[N], `NEVER` where the shape does not fit or is not `allowed`.

        Not to be written to, and valid until the table changes.
        """
        costs = self._cost_row(shape).costs
        return costs if allowed is None else np.where(allowed, costs, NEVER)

    def _cost_row(self, shape: Shape) -> _CostRow:
        row = self._rows.get(shape)
        if row is None:
            row = self._row_make(shape)
        else:
            self._rows.move_to_end(shape)
            if row.scorer is not self._scorer:
                row = self._inherit(row, shape)
            if row.seen != self.table.changes:
                self._follow(row, shape)
        return row

    def take(self, row: int, shape: Shape) -> tuple[int, ...]:
        """Give the task its place on a row; returns its slots, ascending. ValueError if it does not fit."""
        slots: tuple[int, ...] = ()
        if shape.gpu_count:
            open_slots = self.table.slots_open(row, shape)
            if shape.is_shared and len(open_slots) > 1:
                slots = (self._scorer.slot(shape, row, open_slots),)
            else:
                slots = tuple(open_slots[: shape.gpu_count])
        self.table.take(row, shape, slots)
        return slots

    def give_back(self, row: int, shape: Shape, slots: Sequence[int]) -> None:
        """Take a task off a row."""
        self.table.give_back(row, shape, slots)

    def learn(self, shape: Shape) -> None:
        """Tell the policy that such a task arrived."""
        self.policy.learn(shape)

    def leave(self, shape: Shape) -> None:
        """Tell the policy that such a task departed."""
        self.policy.leave(shape)

    def refresh_due(self) -> bool:
        """Whether the policy has learned enough to be worth a `refresh`."""
        return self.policy.refresh_due()

    def refresh(self) -> None:
        """Let the policy draw its conclusions from what it learned. May take long; no choice does."""
        self.policy.refresh()
        self._scorer = self.policy.scorer()

    def _row_make(self, shape: Shape) -> _CostRow:
        size = len(self.table)
        row = _CostRow(self._scorer, size, self.table.changes)
        self._score_steps(row, shape, size)
        self._rows[shape] = row
        while len(self._rows) > max(1, self._shapes_bytes // max(1, row.costs.nbytes)):
            self._rows.popitem(last=False)
        return row

    def _follow(self, row: _CostRow, shape: Shape) -> None:
        """Bring a row up to the table as it is now."""
        if row.costs.size != len(self.table):
            row.grow(len(self.table))
        changed = self.table.changed_since(row.seen)
        row.seen = self.table.changes
        if changed is None or changed.size > row.costs.size:
            row.done = 0
            self._score_steps(row, shape, row.costs.size)
        else:
            self._score(row, shape, changed)

    def _inherit(self, row: _CostRow, shape: Shape) -> _CostRow:
        """Score a step of the hosts by the policy as it is now; returns the row that answers until then."""
        heir = row.heir
        if heir is None or heir.scorer is not self._scorer:
            heir = row.heir = _CostRow(self._scorer, len(self.table), self.table.changes)
        self._score_steps(heir, shape, self._step_rows)
        if heir.done < heir.costs.size:
            return row
        self._rows[shape] = heir
        return heir

    def _score_steps(self, row: _CostRow, shape: Shape, count: int) -> None:
        """Score the next `count` hosts of a row."""
        end = min(row.done + count, row.costs.size)
        for start in range(row.done, end, self._step_rows):
            self._score_alike(row, shape, np.arange(start, min(start + self._step_rows, end)))
        row.done = end

    def _score_alike(self, row: _CostRow, shape: Shape, rows: Rows) -> None:
        """Score rows, of idle hosts one of each class: most of a region is either idle or full."""
        table = self.table
        is_idle = table.idle.take(rows)
        idle = rows[is_idle]
        if idle.size < _ALIKE_FROM:
            self._score(row, shape, rows)
            return
        classes = table.host_class.take(idle)
        of_class: Rows = np.full(len(table.classes), -1)
        of_class[classes] = idle
        self._score(row, shape, np.concatenate((rows[~is_idle], of_class[of_class >= 0])))
        row.put(idle, row.costs.take(of_class.take(classes)))

    def _score(self, row: _CostRow, shape: Shape, rows: Rows) -> None:
        fits = self.table.fits(shape, rows)
        row.costs[rows] = NEVER
        rows = rows[fits]
        if rows.size:
            row.put(rows, row.scorer.costs(shape, rows).astype(np.int32))
