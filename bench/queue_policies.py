"""The queues that are compared: ours, strict FIFO, and FIFO with EASY backfill."""

from bisect import insort
from collections.abc import Collection
from itertools import islice
from typing import Protocol

from queue_cluster import Cluster
from queue_mix import Group

from kumoi.core.placement.snapshot import Hold, PoolView, TaskView
from kumoi.core.queue.backfill import group_date
from kumoi.core.queue.fairness import NOTHING, dominant_share, usage_decay
from kumoi.core.queue.order import AGING_S, Waiting, order
from kumoi.core.queue.outlook import Scene
from kumoi.core.queue.promises import group_id, promises_make
from kumoi.core.queue.standing import Standing
from kumoi.model.time import US_PER_S

POOL = PoolView("pool")
WINDOW = 256
WINDOW_PER_ORGANIZATION = 64
LOOKED_AT = 512
"""Groups behind the head that EASY backfill tries in a pass."""


class Queue(Protocol):
    """What waits, and what is started next."""

    def add(self, group: Group) -> None:
        """A group comes, or comes back."""

    def start(self, cluster: Cluster, now_us: int) -> tuple[list[Group], tuple[str, ...]]:
        """Place what may start now; the groups, and the tasks that have to end for others."""

    def waiting(self) -> Collection[str]:
        """The organizations that wait."""


class Fifo:
    """Strictly in the order of arrival: what does not fit keeps all behind it waiting."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, str, Group]] = []

    def add(self, group: Group) -> None:
        """Where it came, however often it comes back."""
        insort(self._queue, (group.submitted_s, group.first.id, group))

    def waiting(self) -> Collection[str]:
        """The organizations that wait."""
        return {group.first.organization_id for _, _, group in self._queue}

    def start(self, cluster: Cluster, now_us: int) -> tuple[list[Group], tuple[str, ...]]:
        """The head, as long as it fits."""
        started = []
        while self._queue and cluster.place(self._queue[0][2], now_us):
            started.append(self._queue.pop(0)[2])
        return started, ()


class FifoBackfill(Fifo):
    """FIFO, but what does not delay the head may pass it: EASY.

    D. Lifka, "The ANL/IBM SP Scheduling System", Job Scheduling Strategies for Parallel Processing, 1995.
    """

    def start(self, cluster: Cluster, now_us: int) -> tuple[list[Group], tuple[str, ...]]:
        """The head as long as it fits; then what ends before the head's date, or runs beside its hosts."""
        started, _ = super().start(cluster, now_us)
        if len(self._queue) < 2:
            return started, ()
        head = self._queue[0][2]
        dated = group_date(head.tasks, POOL, cluster.views, now_us)
        assert dated is not None, "every group fits the empty pool"
        tried = _Refusals()
        passed = []
        for entry in islice(self._queue, 1, LOOKED_AT):
            group = entry[2]
            ends_us = now_us + group.first.wall_time_s * US_PER_S
            closed = () if ends_us <= dated.start_us else dated.host_ids
            if not tried.hopeless(group) and cluster.place(group, now_us, closed):
                passed.append(entry)
            else:
                tried.note(group)
        gone = {entry[1] for entry in passed}
        self._queue = [entry for entry in self._queue if entry[1] not in gone]
        return started + [entry[2] for entry in passed], ()


class Kumoi:
    """The plane's queue: its order, its dates, its preemption."""

    def __init__(self) -> None:
        self._queues: dict[str, list[tuple[int, float, str]]] = {}
        self._groups: dict[str, Group] = {}
        self._kept: dict[str, Hold] = {}
        self._uses: dict[str, tuple[float, float, int]] = {}

    def add(self, group: Group) -> None:
        """Into the queue of its organization."""
        name = group_id(group.tasks)
        self._groups[name] = group
        insort(self._queues.setdefault(group.first.organization_id, []), _turn(group))

    def waiting(self) -> Collection[str]:
        """The organizations that wait."""
        return [name for name, queue in self._queues.items() if queue]

    def start(self, cluster: Cluster, now_us: int) -> tuple[list[Group], tuple[str, ...]]:
        """One pass as the placement loop makes it."""
        window = {
            name: [
                Waiting(task, self._groups[key].submitted_us)
                for _, _, key in queue[:WINDOW_PER_ORGANIZATION]
                for task in self._groups[key].tasks
            ]
            for name, queue in self._queues.items()
            if queue
        }
        for key in self._kept:
            group = self._groups[key]
            theirs = window[group.first.organization_id]
            known = {one.task.id for one in theirs}
            theirs += [Waiting(task, group.submitted_us) for task in group.tasks if task.id not in known]
        answer = order(
            window,
            self._standings(cluster, now_us),
            cluster.use,
            now_us,
            WINDOW,
            dated=sorted(self._kept, key=lambda key: self._kept[key].start_us),
        )
        started, refused = self._place(cluster, answer.tasks, now_us)
        # A promise that ran out held for this pass too: made anew, it can only come nearer.
        promises = promises_make(
            [group.tasks for group in refused], POOL, Scene.of(cluster.views), cluster.use, now_us, self._kept
        )
        self._kept = {hold.group_id: hold for hold in promises.holds}
        return started, promises.evicted

    def _place(
        self, cluster: Cluster, tasks: Collection[TaskView], now_us: int
    ) -> tuple[list[Group], list[Group]]:
        """What fits and breaks no promise is started."""
        started: list[Group] = []
        refused: list[Group] = []
        tried = _Refusals()
        for key in dict.fromkeys(task.gang or task.id for task in tasks):
            group = self._groups[key]
            ends_us = now_us + group.first.wall_time_s * US_PER_S
            closed = {
                host
                for name, hold in self._kept.items()
                if name != key and ends_us > hold.start_us
                for host in hold.host_ids
            }
            promised = key in self._kept
            if (promised or not tried.hopeless(group)) and cluster.place(group, now_us, closed):
                started.append(group)
                self._remove(key)
                continue
            refused.append(group)
            if not promised:
                tried.note(group)
        return started, refused

    def _remove(self, key: str) -> None:
        group = self._groups.pop(key)
        self._queues[group.first.organization_id].remove(_turn(group))
        self._kept.pop(key, None)

    def _standings(self, cluster: Cluster, now_us: int) -> dict[str, Standing]:
        """Every organization's, its past use kept as the upkeep loop keeps it."""
        for name in self._queues:
            usage_s, share, at_us = self._uses.get(name, (0.0, 0.0, now_us))
            usage_s = usage_decay(usage_s, share, (now_us - at_us) / US_PER_S)
            held = cluster.use.by_organization.get(name, NOTHING)
            self._uses[name] = usage_s, dominant_share(held, cluster.use.capacity), now_us
        return {name: Standing(usage_s=use[0]) for name, use in self._uses.items()}


def _turn(group: Group) -> tuple[int, float, str]:
    first = group.first
    return first.class_rank, group.submitted_s - first.priority * AGING_S, group_id(group.tasks)


class _Refusals:
    """What found no place in this pass: what asks for as much, for as long, finds none either."""

    def __init__(self) -> None:
        self._least: dict[tuple[int, int, int], int] = {}

    def hopeless(self, group: Group) -> bool:
        return self._least.get(_size(group), group.first.wall_time_s + 1) <= group.first.wall_time_s

    def note(self, group: Group) -> None:
        least = self._least.get(_size(group), group.first.wall_time_s)
        self._least[_size(group)] = min(least, group.first.wall_time_s)


def _size(group: Group) -> tuple[int, int, int]:
    return len(group.tasks), group.devices, group.first.cpu_milli


QUEUES: dict[str, type[Queue]] = {"kumoi": Kumoi, "fifo": Fifo, "fifo_backfill": FifoBackfill}
