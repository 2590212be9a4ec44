"""Conservative backfill: when a group that does not fit will, and on which hosts.

Every group that gets a date here keeps it: whatever passes it on these hosts must end before (Mu'alem and
Feitelson, "Utilization, Predictability, Workloads, and User Runtime Estimates in Scheduling the IBM SP2 with
Backfilling", IEEE TPDS 12(6), 2001). Work ends by its wall time at the latest, so a date only comes nearer,
but for work of a higher class: no date binds that.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge

from kumoi.core.placement.snapshot import HostView, PoolView, TaskView, Window
from kumoi.core.queue.space import Space, host_open, neighbours_agree
from kumoi.model.jobs import GangScope, SpreadOver

DATED_MAX = 8
"""Groups of a pool that have a date at once, in the order of the queue; lower classes do not count."""
DATED_PER_ORGANIZATION_MAX = 2
"""How many of them may be one organization's."""


@dataclass(frozen=True, slots=True)
class Dated:
    """A group's date: the hosts are kept free for it from `start_us` on."""

    group_id: str
    start_us: int
    end_us: int
    host_ids: tuple[str, ...]

    def window(self) -> Window:
        """The date as a window that is nobody's: only work that ends before `start_us` may use the host."""
        return Window(f"gang {self.group_id}", "", self.start_us, self.end_us)


def group_date(
    group: Sequence[TaskView], pool: PoolView, hosts: Sequence[HostView], now_us: int
) -> Dated | None:
    """The earliest time at which all tasks of the group fit, if nothing else is started on its hosts.

    `group` is a gang, whose tasks are alike, or one task. `hosts` are the pool's as they are now, with
    everything that this pass placed among their holdings, and with the windows of dates given before. None
    where the group would not fit the empty pool. Ties: the host that takes the most, then the lower id.
    """
    task, wanted = group[0], len(group)
    capacity = _Capacity(task, wanted, hosts)
    steps = merge(*(_steps(host, pool, task, wanted, now_us) for host in hosts))
    by_id = {host.id: host for host in hosts}
    pending_us = now_us
    for at_us, host_id, count in steps:
        if at_us > pending_us:
            found = capacity.choose()
            if found:
                return _dated(task, pending_us, found)
            pending_us = at_us
        capacity.set(by_id[host_id], count)
    found = capacity.choose()
    return _dated(task, pending_us, found) if found else None


def hosts_hold(hosts: Iterable[HostView], dated: Dated) -> list[HostView]:
    """The hosts, those of the date with its window. What asks next sees them as they will be."""
    mine = frozenset(dated.host_ids)
    window = dated.window()
    return [replace(h, windows=(*h.windows, window)) if h.id in mine else h for h in hosts]


def _dated(task: TaskView, start_us: int, host_ids: tuple[str, ...]) -> Dated:
    return Dated(task.gang or task.id, start_us, start_us + task.hold_us, host_ids)


def _steps(
    host: HostView, pool: PoolView, task: TaskView, wanted: int, now_us: int
) -> Iterator[tuple[int, str, int]]:
    """(time, host, how many tasks it takes from then on), whenever that changes."""
    wall_us = task.hold_us
    staying = sorted(host.holdings, key=lambda holding: holding.ends_us, reverse=True)
    times = {max(now_us, holding.ends_us) for holding in staying} | {now_us}
    for window in host.windows:
        # At `start - wall` the task still ends in time.
        times |= {max(now_us, t) for t in (window.start_us - wall_us + 1, window.start_us, window.end_us)}
    space = Space(host)
    before = 0
    for at_us in sorted(times):
        while staying and staying[-1].ends_us <= at_us:
            space.release(staying.pop())
        possible = host_open(host, task, at_us) and neighbours_agree(staying, task, pool)
        count = space.count(task, wanted) if possible else 0
        if task.spread_over is SpreadOver.HOST:
            of_job = sum(holding.job_id == task.job_id for holding in staying)
            count = min(count, max(0, task.spread_most - of_job))
        if count != before:
            yield at_us, host.id, count
            before = count


class _Capacity:
    """How many tasks of the group fit now, within one domain of nearness and the limits of spread."""

    def __init__(self, task: TaskView, wanted: int, hosts: Iterable[HostView]) -> None:
        self._task = task
        self._wanted = wanted
        self._most: dict[str, int] = defaultdict(lambda: wanted)
        if task.spread_over is SpreadOver.FAILURE_DOMAIN:
            self._most = defaultdict(lambda: task.spread_most)
            for host in hosts:
                # What runs of the job is taken to stay: its end would only bring the date nearer.
                of_job = sum(holding.job_id == task.job_id for holding in host.holdings)
                self._most[failure_domain(host)] -= of_job
        self._counts: dict[str, dict[str, int]] = defaultdict(dict)
        self._of_failure_domain: dict[tuple[str, str], int] = defaultdict(int)
        self._totals: dict[str, int] = defaultdict(int)
        self._failure_domains: dict[str, str] = {}

    def set(self, host: HostView, count: int) -> None:
        """The host takes `count` tasks from now on."""
        domain = _domain(host, self._task)
        counts = self._counts[domain]
        key = domain, failure_domain(host)
        before = self._of_failure_domain[key]
        after = before + count - counts.get(host.id, 0)
        counts[host.id] = count
        self._failure_domains[host.id] = key[1]
        self._of_failure_domain[key] = after
        most = max(0, self._most[key[1]])
        self._totals[domain] += min(after, most) - min(before, most)

    def choose(self) -> tuple[str, ...]:
        """Hosts that together take all tasks, of the first domain that does; empty where none does."""
        ready = [domain for domain, total in self._totals.items() if total >= self._wanted]
        return self._choose_in(min(ready)) if ready else ()

    def _choose_in(self, domain: str) -> tuple[str, ...]:
        left = self._wanted
        room = self._most.copy()
        chosen: list[str] = []
        for host_id, count in sorted(self._counts[domain].items(), key=lambda item: (-item[1], item[0])):
            of_host = self._failure_domains[host_id]
            took = min(count, room[of_host], left)
            if took > 0:
                chosen.append(host_id)
                room[of_host] -= took
                left -= took
        return tuple(chosen)


def failure_domain(host: HostView) -> str:
    """What fails together; a host that names none fails by itself."""
    return host.failure_domain or host.id


def _domain(host: HostView, task: TaskView) -> str:
    """What all tasks of a gang must share. A host of no island is its own."""
    if task.gang_within is GangScope.HOST:
        return host.id
    if task.gang_within is GangScope.FABRIC_ISLAND:
        return host.fabric_island or host.id
    return ""
