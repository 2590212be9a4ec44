"""Discrete events: work comes, starts when its queue says so, and ends; what happened is measured."""

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from queue_cluster import Cluster
from queue_mix import Group, Mix
from queue_policies import Queue

from kumoi.core.queue.fairness import dominant_share
from kumoi.core.queue.promises import group_id
from kumoi.model.time import US_PER_S

PASS_EVERY_S = 10.0
"""A pass takes in all that happened since the last one."""
WARM_UP = 0.25
"""The part of the time at the beginning that is not measured."""


@dataclass(slots=True)
class Measured:
    """What became of the work that came after the warm-up, and of the devices meanwhile."""

    waits_s: dict[str, float] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    ended_s: dict[str, float] = field(default_factory=dict)
    device_s: float = 0.0
    capacity_device_s: float = 0.0
    lost_device_s: float = 0.0
    held_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    fair_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    passes_s: list[float] = field(default_factory=list)


class Simulation:
    """One queue over one mix of work."""

    def __init__(self, mix: Mix, groups: Sequence[Group], queue: Queue) -> None:
        self._cluster = Cluster(mix.hosts)
        self._queue = queue
        self._until_s = mix.days * 86_400
        self._from_s = WARM_UP * self._until_s
        self._events: list[tuple[float, int, str, Group]] = []
        self._order = count()
        self._running: dict[str, tuple[Group, float, int]] = {}
        self._now_s = 0.0
        self.measured = Measured()
        for group in groups:
            heappush(self._events, (group.submitted_s, next(self._order), "come", group))

    def run(self) -> Measured:
        """All work comes and ends."""
        pass_s = 0.0
        waits = False
        while self._events or waits:
            due_s = self._events[0][0] if self._events else float("inf")
            if waits and pass_s <= due_s:
                self._pass_time(pass_s)
                waits = self._pass()
                pass_s = self._now_s + PASS_EVERY_S
                # Nothing changes by itself but dates that run out: those are made anew once a minute.
                if waits:
                    pass_s = max(pass_s, min(due_s, self._now_s + 60.0))
                continue
            self._pass_time(due_s)
            self._happen(*heappop(self._events)[1:])
            if not waits:
                waits, pass_s = True, max(pass_s, due_s)
            else:
                pass_s = min(pass_s, max(self._now_s, pass_s - 60.0 + PASS_EVERY_S))
        return self.measured

    def _happen(self, number: int, what: str, group: Group) -> None:
        key = group_id(group.tasks)
        if what == "come":
            self._queue.add(group)
            if self._is_measured(group):
                self.measured.groups[key] = group
        elif self._running.get(key, (None, 0.0, -1))[2] == number:
            self._cluster.end(group.tasks)
            del self._running[key]
            self.measured.ended_s[key] = self._now_s

    def _pass(self) -> bool:
        """Start what may start. True while something waits."""
        began_s = time.perf_counter()
        started, evicted = self._queue.start(self._cluster, round(self._now_s * US_PER_S))
        self.measured.passes_s.append(time.perf_counter() - began_s)
        for group in started:
            key = group_id(group.tasks)
            number = next(self._order)
            self._running[key] = group, self._now_s, number
            heappush(self._events, (self._now_s + group.run_s, number, "end", group))
            if key in self.measured.groups:
                self.measured.waits_s.setdefault(key, self._now_s - group.submitted_s)
        self._evict(evicted)
        return bool(self._queue.waiting())

    def _evict(self, task_ids: Collection[str]) -> None:
        """What has to make room begins again from nothing."""
        wanted = set(task_ids)
        for key, (group, started_s, _) in list(self._running.items()):
            if wanted.intersection(task.id for task in group.tasks):
                self._cluster.end(group.tasks)
                del self._running[key]
                self.measured.lost_device_s += group.devices * (self._now_s - started_s)
                self._queue.add(group)

    def _pass_time(self, until_s: float) -> None:
        """Count what was held in between."""
        span_s = min(until_s, self._until_s) - max(self._now_s, self._from_s)
        if span_s > 0:
            use, measured = self._cluster.use, self.measured
            busy = sum(held.device_milli for held in use.by_class) / 1_000
            measured.device_s += busy * span_s
            measured.capacity_device_s += self._cluster.devices * span_s
            waiting = set(self._queue.waiting())
            contenders = waiting | use.by_organization.keys()
            for name in waiting:
                measured.fair_s[name] += span_s / len(contenders)
                if name in use.by_organization:
                    share = dominant_share(use.by_organization[name], use.capacity)
                    measured.held_s[name] += share * span_s
        self._now_s = until_s

    def _is_measured(self, group: Group) -> bool:
        return group.submitted_s >= self._from_s
