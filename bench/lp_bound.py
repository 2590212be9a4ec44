"""No policy can allocate more than this: a linear programme that knows all tasks beforehand.

It may split tasks and hosts. Per class of hosts (alike in CPU, memory, GPUs and model) all CPU and all memory
are one heap; GPUs are not: a shared GPU follows a pattern, a set of tasks whose thousandths fit on one. There
are too many patterns to list, so they are made when they pay (column generation, Gilmore and Gomory 1961): a
knapsack by the prices of the last solution finds the best one of each class, until none improves. Solved by
HiGHS. At most as much is placed of each type as arrived.
"""

from collections import Counter
from collections.abc import Sequence
from math import gcd

import highspy
import numpy as np
from numpy.typing import NDArray
from openb import WHOLE_MILLI, Host, Task, capacity_milli

Floats = NDArray[np.float64]
Kind = tuple[int, int, int, str]

ROUNDS_MAX = 1_000
_GAIN_MIN = 1e-6


def lp_bound(hosts: Sequence[Host], tasks: Sequence[Task]) -> float:
    """The most GPU capacity, in per cent of all, that these tasks can occupy on these hosts."""
    return 100 * _Programme(hosts, tasks).solve() / capacity_milli(list(hosts))


def tasks_until(arrivals: Sequence[Task], capacity: int) -> list[Task]:
    """The arrivals up to the one with which all of the capacity has been asked for."""
    asked = 0
    for count, task in enumerate(arrivals, start=1):
        asked += task.milli
        if asked >= capacity:
            return list(arrivals[:count])
    return list(arrivals)


class _Programme:
    """Rows: one a type (at most as many as arrived), then for each class its cores, GiB and GPUs."""

    def __init__(self, hosts: Sequence[Host], tasks: Sequence[Task]) -> None:
        kinds: Counter[Kind] = Counter((h.cpu_milli, h.memory_mib, h.gpus, h.model) for h in hosts)
        wanted = Counter(task for task in tasks if task.gpus)
        self._kinds = list(kinds)
        self._types = list(wanted)
        self._cores = np.array([task.cpu_milli / 1_000 for task in self._types])
        self._gib = np.array([task.memory_mib / 1_024 for task in self._types])
        self._milli = np.array([task.milli for task in self._types])
        shared = [task.gpu_milli for task in self._types if task.gpu_milli < WHOLE_MILLI]
        self._unit = gcd(WHOLE_MILLI, *shared)
        self._highs = highspy.Highs()  # type: ignore[no-untyped-call]
        self._highs.setOptionValue("output_flag", False)
        self._highs.changeObjectiveSense(highspy.ObjSense.kMaximize)
        limits = [float(wanted[task]) for task in self._types]
        for (cpu_milli, memory_mib, gpus, _), count in kinds.items():
            limits += [count * cpu_milli / 1_000, count * memory_mib / 1_024, float(count * gpus)]
        for limit in limits:
            self._highs.addRow(-highspy.kHighsInf, limit, 0, np.array([], np.int32), np.array([]))
        for kind in range(len(self._kinds)):
            for index in self._eligible(kind, is_shared=False):
                self._add(kind, {index: 1}, self._types[index].gpus)

    def solve(self) -> float:
        """The thousandths of GPUs of the best solution. RuntimeError if patterns never stop to improve it."""
        for _ in range(ROUNDS_MAX):
            self._highs.run()
            prices = np.array(self._highs.getSolution().row_dual)
            if not sum(self._improve(kind, prices) for kind in range(len(self._kinds))):
                return float(self._highs.getInfo().objective_function_value)
        raise RuntimeError(f"the bound is not found within {ROUNDS_MAX} rounds")

    def _eligible(self, kind: int, *, is_shared: bool) -> list[int]:
        cpu_milli, memory_mib, gpus, model = self._kinds[kind]
        return [
            index
            for index, task in enumerate(self._types)
            if (task.gpu_milli < WHOLE_MILLI) is is_shared
            and task.cpu_milli <= cpu_milli
            and task.memory_mib <= memory_mib
            and task.gpus <= gpus
            and (task.models is None or model in task.models)
        ]

    def _add(self, kind: int, counts: dict[int, int], gpus: int) -> None:
        """A column: so many tasks of some types on so many GPUs of a class."""
        first = len(self._types) + 3 * kind
        rows = np.array([*counts, first, first + 1, first + 2], np.int32)
        cores = sum(count * self._cores[index] for index, count in counts.items())
        gib = sum(count * self._gib[index] for index, count in counts.items())
        milli = sum(count * self._milli[index] for index, count in counts.items())
        values = np.array([*counts.values(), cores, gib, gpus], np.float64)
        self._highs.addCol(float(milli), 0, highspy.kHighsInf, len(rows), rows, values)

    def _improve(self, kind: int, prices: Floats) -> bool:
        """Add the best pattern of a class by these prices; whether it is worth a GPU."""
        first = len(self._types) + 3 * kind
        indices = np.array(self._eligible(kind, is_shared=True), np.intp)
        worth = (
            self._milli[indices]
            - prices[indices]
            - prices[first] * self._cores[indices]
            - prices[first + 1] * self._gib[indices]
        )
        indices, worth = indices[worth > _GAIN_MIN], worth[worth > _GAIN_MIN]
        if not indices.size:
            return False
        value, counts = _knapsack(self._milli[indices] // self._unit, worth, WHOLE_MILLI // self._unit)
        if value <= prices[first + 2] + _GAIN_MIN:
            return False
        self._add(kind, {int(indices[item]): count for item, count in counts.items()}, 1)
        return True


def _knapsack(sizes: NDArray[np.int64], worth: Floats, room: int) -> tuple[float, Counter[int]]:
    """The most that fits into `room`, each item as often as wanted: its worth, and how many of each."""
    best = np.zeros(room + 1)
    last = np.full(room + 1, -1)
    for size in range(1, room + 1):
        values = np.where(sizes <= size, best[np.maximum(size - sizes, 0)] + worth, -1.0)
        item = int(values.argmax())
        best[size] = best[size - 1]
        if values[item] > best[size]:
            best[size], last[size] = values[item], item
    counts: Counter[int] = Counter()
    size = room
    while size > 0:
        item = int(last[size])
        if item < 0:
            size -= 1
        else:
            counts[item] += 1
            size -= int(sizes[item])
    return float(best[room]), counts
