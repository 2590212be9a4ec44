"""`fgd`: fragmentation gradient descent (Weng et al., "Beware of Fragmentation", USENIX ATC 2023).

Over the typical tasks (the most frequent 95 % of types: CPU, devices, share, models) the fragmentation of a
host is the idle device capacity that a task drawn from them could not use there: all of it if the task does
not fit, else what lies in devices with less left than it asks for. A task goes where fragmentation grows
least.

The sum over types falls apart into tables: on a host with c CPU free, a device with f milli left serves the
single-device types that ask for at most c and f, and n whole devices serve the types of two and more that ask
for at most c and n. So a host is scored with one look-up a device; in integers, hence exactly.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from math import floor, log

import msgspec
import numpy as np

from kumoi.core.placement.host_table import HostTable, Ints, Rows
from kumoi.core.placement.policies import Scorer
from kumoi.core.placement.shapes import WHOLE_MILLI, Shape, is_partition

TYPICAL_PERCENT = 95
WINDOW_ARRIVALS = 1_000
REFRESH_ARRIVALS = 500

_LEVELS = WHOLE_MILLI + 1


class Fgd:
    """The policy. `tasks`: how many tasks of each shape, if that is known; else the last arrivals count."""

    name = "fgd"

    def __init__(self, table: HostTable, tasks: Mapping[Shape, int] | None = None) -> None:
        self._table = table
        self._known = tasks
        self._arrivals: deque[Shape] = deque(maxlen=WINDOW_ARRIVALS)
        self._since_refresh = 0
        self._typical = typical_types(tasks or {})
        self._scorer = FgdScorer(table, self._typical)

    def scorer(self) -> Scorer:
        """See `Policy`; takes note of models that came since."""
        if self._scorer.models != self._table.models:
            self._scorer = FgdScorer(self._table, self._typical)
        return self._scorer

    def learn(self, shape: Shape) -> None:
        """Remember an arrival."""
        self._arrivals.append(shape)
        self._since_refresh += 1

    def leave(self, shape: Shape) -> None:
        """Departures do not tell what will arrive."""

    def refresh_due(self) -> bool:
        """After `REFRESH_ARRIVALS` arrivals, unless the tasks are known."""
        return self._known is None and self._since_refresh >= REFRESH_ARRIVALS

    def refresh(self) -> None:
        """Take the typical tasks from the last `WINDOW_ARRIVALS` arrivals."""
        if self._known is None:
            self._typical = typical_types(Counter(self._arrivals))
            self._scorer = FgdScorer(self._table, self._typical)
        self._since_refresh = 0

    def state(self) -> bytes:
        """The typical tasks with their counts."""
        return msgspec.msgpack.encode(list(self._typical.items()), order="deterministic")

    def state_put(self, state: bytes) -> None:
        """Take over typical tasks."""
        self._typical = dict(msgspec.msgpack.decode(state, type=list[tuple[Shape, int]]))
        self._scorer = FgdScorer(self._table, self._typical)


def typical_types(tasks: Mapping[Shape, int]) -> dict[Shape, int]:
    """The most frequent types (shapes without memory and disk) that make up 95 % of the tasks.

    Of equally frequent types the smaller comes first (CPU, devices, share, models).
    """
    types: Counter[Shape] = Counter()
    for shape, count in tasks.items():
        types[Shape(shape.cpu_milli, 0, 0, shape.gpu_count, shape.gpu_milli, shape.models)] += count
    ranked = sorted(types.items(), key=lambda item: (-item[1], _type_key(item[0])))
    typical: dict[Shape, int] = {}
    for shape, count in ranked:
        if 100 * sum(typical.values()) >= TYPICAL_PERCENT * types.total():
            break
        typical[shape] = count
    return typical


def _type_key(shape: Shape) -> tuple[object, ...]:
    return shape.cpu_milli, shape.gpu_count, shape.gpu_milli, sorted(shape.models or ())


class FgdScorer:
    """Fragmentation by one set of typical types."""

    def __init__(self, table: HostTable, types: Mapping[Shape, int]) -> None:
        self._table = table
        self._total = max(1, sum(types.values()))
        self._cpu_levels: Ints = np.array(sorted({shape.cpu_milli for shape in types}), np.int64)
        self.models = table.models
        self._tables_make(types)
        # The score is int(100 / (1 + exp(growth / 1000))): up to these growths it is at least 99, 98 .. 1.
        scale = WHOLE_MILLI * self._total
        self._bounds: Ints = np.array(
            [floor(scale * log((100 - score) / score)) for score in range(99, 0, -1)], np.int64
        )

    def costs(self, shape: Shape, rows: Rows) -> Ints:
        """100 less the score of the paper's implementation; see `Scorer`."""
        table = self._table
        cpu = table.cpu_free.take(rows)
        model = self._model(table.host_model.take(rows))
        free = np.ascontiguousarray(table.slot_free.take(rows, axis=0).T)
        whole = table.whole_free.take(rows)
        before, after = self._base(model, cpu), self._base(model, cpu - shape.cpu_milli)
        used = self._slots.take(after + free)
        growth = (
            self._slots.take(before + free).sum(axis=0)
            + self._wholes.take(before + whole)
            - used.sum(axis=0)
            - shape.gpu_total_milli * self._total
        )
        if shape.is_shared:
            usable = table.slots_of(shape, rows) >= shape.gpu_milli
            rest = np.maximum(free - shape.gpu_milli, 0)
            lost = used - self._slots.take(after + rest)
            left = self._wholes.take(after + whole)
            lost += (free == WHOLE_MILLI) * (left - self._wholes.take(after + np.maximum(whole - 1, 0)))
            growth += np.where(usable, lost, np.iinfo(np.int64).max // 2).min(axis=0) - left
        else:
            growth += shape.gpu_count * self._slots.take(after + WHOLE_MILLI)
            growth -= self._wholes.take(after + (whole - shape.gpu_count))
        costs: Ints = self._bounds.searchsorted(growth) + 1
        return costs

    def slot(self, shape: Shape, row: int, slots: Sequence[int], /) -> int:
        """The slot with which fragmentation grows least by the score; of equal ones the first."""
        table = self._table
        model = np.array([table.host_model[row]])
        base = int(self._base(self._model(model), np.array([table.cpu_free[row] - shape.cpu_milli]))[0])
        free, whole = table.slot_free[row].tolist(), int(table.whole_free[row])
        value = self._slots[base : base + _LEVELS]
        lost_whole = int(self._wholes[base + whole] - self._wholes[base + max(whole - 1, 0)])
        lost = [
            int(value[free[slot]] - value[free[slot] - shape.gpu_milli])
            + (free[slot] == WHOLE_MILLI) * lost_whole
            for slot in slots
        ]
        return slots[lost.index(min(lost))]

    def _tables_make(self, types: Mapping[Shape, int]) -> None:
        """`_slots[model, cpu level, f]` and `_wholes[model, cpu level, n]`: milli times counts, flat."""
        size = (len(self.models) + 1, len(self._cpu_levels) + 1, _LEVELS)
        single, several = np.zeros(size, np.int64), np.zeros(size, np.int64)
        for shape, count in types.items():
            level = int(self._cpu_levels.searchsorted(shape.cpu_milli)) + 1
            for code, model in enumerate(("", *self.models)):
                if not (not is_partition(model) if shape.models is None else model in shape.models):
                    continue
                if shape.gpu_count == 1:
                    single[code, level, shape.gpu_milli] += count
                elif shape.gpu_count > 1:
                    several[code, level, shape.gpu_count] += count
        units = np.arange(_LEVELS)
        self._slots: Ints = (single.cumsum(1).cumsum(2) * units).ravel()
        self._wholes: Ints = (several.cumsum(1).cumsum(2) * units * WHOLE_MILLI).ravel()

    def _model(self, codes: Ints) -> Ints:
        """Models that came after this scorer count as mixed ones: they serve the types that ask for none."""
        return (
            np.where(codes <= len(self.models), codes, 0)
            if len(self._table.models) > len(self.models)
            else codes
        )

    def _base(self, model: Ints, cpu: Ints) -> Ints:
        """Where the tables of a model and so much CPU begin."""
        return (model * (len(self._cpu_levels) + 1) + self._cpu_levels.searchsorted(cpu, "right")) * _LEVELS
