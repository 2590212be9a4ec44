"""A pool as groups that found no place look at it: when hosts come free, and whose work would make room.

What is asked here leaves out the hosts that cannot matter, so that those that may are few enough to be looked
at one by one. What is known of a host is kept until the host changes.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest

from kumoi.core.placement.snapshot import Hold, Holding, HostView, TaskView, Window
from kumoi.core.queue.preempt import DEVICE_CORES
from kumoi.model.jobs import CLASS_RANKS, DEVICE_MILLI, GangScope, WorkClass
from kumoi.model.time import US_PER_S

PREEMPTIBLE = CLASS_RANKS[WorkClass.PREEMPTIBLE]


@dataclass(frozen=True, slots=True)
class _Facts:
    """Of a host: when its sound devices are free of all work, ascending, 0 for those that are free
    now; the same if preemptible work ended at once; and the preemptible work."""

    free_us: tuple[int, ...]
    yielding_us: tuple[int, ...]
    preemptible: tuple[Holding, ...]


class Outlook:
    """The hosts of a pool, kept current by what changed."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostView] = {}
        self._facts: dict[str, _Facts] = {}
        self._unknown: set[str] = set()
        self._sizes: Counter[tuple[int, int, int]] = Counter()
        self._gangs: defaultdict[str, set[str]] = defaultdict(set)

    def host_put(self, host: HostView) -> None:
        """A host as it is now."""
        self.host_remove(host.id)
        self.hosts[host.id] = host
        self._unknown.add(host.id)
        self._sizes[_size(host)] += 1
        for holding in host.holdings:
            if holding.gang:
                self._gangs[holding.job_id].add(host.id)

    def host_remove(self, host_id: str) -> None:
        """A host that takes no work any more."""
        host = self.hosts.pop(host_id, None)
        if host is None:
            return
        self._unknown.discard(host_id)
        self._sizes -= Counter([_size(host)])
        self._facts.pop(host_id, None)
        for job_id in {holding.job_id for holding in host.holdings if holding.gang}:
            self._gangs[job_id].discard(host_id)
            if not self._gangs[job_id]:
                del self._gangs[job_id]

    def facts(self) -> dict[str, _Facts]:
        """What is known of every host."""
        for host_id in sorted(self._unknown):
            self._facts[host_id] = _facts(self.hosts[host_id])
        self._unknown.clear()
        return self._facts

    def gang_hosts(self, job_id: str) -> Iterable[str]:
        """The hosts with members of a gang."""
        return self._gangs.get(job_id, ())

    def is_large(self, task: TaskView) -> bool:
        """Whether the task needs half of the largest host or more."""
        if not self._sizes:
            return False
        cpu_milli, memory_bytes, devices = (max(amounts) for amounts in zip(*self._sizes, strict=True))
        wanted = devices_whole(task)
        return (
            2 * task.cpu_milli >= cpu_milli
            or 2 * task.memory_bytes >= memory_bytes
            or (wanted > 0 and 2 * wanted >= devices)
        )


class Scene:
    """The hosts as a pass leaves them, with what is kept for whom. Its outlook stays as it is."""

    def __init__(self, outlook: Outlook, changed: Iterable[HostView] = ()) -> None:
        self.outlook = outlook
        self._views = {host.id: host for host in changed}
        self._facts = {host.id: _facts(host) for host in self._views.values()}
        self._kept: defaultdict[str, dict[str, tuple[int, Window]]] = defaultdict(dict)
        """By host and group: the class of the group, and when the host is kept for it."""

    @classmethod
    def of(cls, hosts: Iterable[HostView]) -> "Scene":
        """A pool that is looked at once."""
        outlook = Outlook()
        for host in hosts:
            outlook.host_put(host)
        return cls(outlook)

    def views(self, host_ids: Iterable[str], class_rank: int) -> list[HostView]:
        """Hosts by id, as a group of this class should see them: kept for those of its class or above."""
        return [self._view(host_id, class_rank) for host_id in sorted(host_ids)]

    def _view(self, host_id: str, class_rank: int) -> HostView:
        view = self._views.get(host_id) or self.outlook.hosts[host_id]
        kept = self._kept.get(host_id, {}).values()
        windows = tuple(window for rank, window in kept if rank <= class_rank)
        return replace(view, windows=view.windows + windows) if windows else view

    def hold(self, hold: Hold, now_us: int) -> None:
        """Keep hosts for a group, from its date until it will have ended."""
        end_us = max(hold.start_us, now_us) + hold.wall_s * US_PER_S
        window = Window(f"group {hold.group_id}", "", hold.start_us, end_us)
        for host_id in hold.host_ids:
            self._kept[host_id][hold.group_id] = hold.class_rank, window

    def release(self, hold: Hold) -> None:
        """Undo `hold`."""
        for host_id in hold.host_ids:
            self._kept[host_id].pop(hold.group_id, None)

    def near(self, task: TaskView) -> frozenset[str] | None:
        """The hosts that the running members of a task's gang bind it to; None where they do not."""
        if task.gang is None or task.gang_within not in (GangScope.HOST, GangScope.FABRIC_ISLAND):
            return None
        running = frozenset(self.outlook.gang_hosts(task.job_id))
        if not running or task.gang_within is GangScope.HOST:
            return running or None
        hosts = self.outlook.hosts
        islands = {_island(hosts[host_id]) for host_id in running}
        return frozenset(host_id for host_id, host in hosts.items() if _island(host) in islands)

    def ready(self, task: TaskView) -> list[tuple[int, str]]:
        """Every host where it may run, with a time before which it has no room there, the earliest first."""
        wanted, near = devices_whole(task), self.near(task)
        if not wanted:
            return [(0, host_id) for host_id in sorted(self.outlook.hosts if near is None else near)]
        return sorted(
            (facts.free_us[wanted - 1], host_id)
            for host_id, facts in self._all()
            if len(facts.free_us) >= wanted and (near is None or host_id in near)
        )

    def yielding(self, group: Sequence[TaskView], now_us: int, most: int) -> list[HostView]:
        """Hosts on which the group may find room now if preemptible work ends, by id.

        At most `most` of them, those where the least work is lost, and besides the hosts of gangs that end
        with them.
        """
        wanted, near = devices_whole(group[0]), self.near(group[0])
        costs = []
        for host_id, facts in self._all():
            if near is not None and host_id not in near:
                continue
            if wanted and (len(facts.yielding_us) < wanted or facts.yielding_us[wanted - 1] > now_us):
                continue
            if facts.preemptible or group[0].gang is not None:
                costs.append((_cost(facts, wanted, now_us), host_id))
        chosen = {host_id for _, host_id in nsmallest(most, costs)}
        gangs = {
            holding.job_id
            for host_id in chosen
            for holding in self._facts_of(host_id).preemptible
            if holding.gang
        }
        for job_id in gangs:
            chosen |= set(self.outlook.gang_hosts(job_id))
        return self.views(chosen, group[0].class_rank)

    def preemptible(self) -> list[Holding]:
        """All preemptible work."""
        return [holding for _, facts in self._all() for holding in facts.preemptible]

    def _all(self) -> Iterable[tuple[str, _Facts]]:
        known = self.outlook.facts()
        if not self._facts:
            return known.items()
        return (known | self._facts).items()

    def _facts_of(self, host_id: str) -> _Facts:
        return self._facts.get(host_id) or self.outlook.facts()[host_id]


def devices_whole(task: TaskView) -> int:
    """How many whole devices the task needs."""
    return sum(wish.count for wish in task.devices if wish.milli == DEVICE_MILLI)


def _island(host: HostView) -> str:
    """A host of no island is its own."""
    return host.fabric_island or host.id


def _size(host: HostView) -> tuple[int, int, int]:
    return host.cpu_milli, host.memory_bytes, len(host.devices)


def _facts(host: HostView) -> _Facts:
    free_us = dict.fromkeys((device.id for device in host.devices if device.healthy), 0)
    yielding_us = free_us.copy()
    preemptible = []
    for holding in host.holdings:
        yields = holding.class_rank == PREEMPTIBLE
        if yields:
            preemptible.append(holding)
        for device_id, _ in holding.devices:
            if device_id in free_us:
                free_us[device_id] = max(free_us[device_id], holding.ends_us)
                if not yields:
                    yielding_us[device_id] = max(yielding_us[device_id], holding.ends_us)
    return _Facts(
        tuple(sorted(free_us.values())),
        tuple(sorted(yielding_us.values())),
        tuple(preemptible),
    )


def _cost(facts: _Facts, wanted: int, now_us: int) -> int:
    """About how much work one more task costs here: that of as few devices as it lacks."""
    lacking = DEVICE_MILLI * (wanted - bisect_right(facts.free_us, now_us)) if wanted else 1
    cost = 0
    for lost, device_milli in sorted(_loss(holding, now_us) for holding in facts.preemptible):
        if lacking <= 0:
            break
        cost += lost
        lacking -= device_milli if wanted else 1
    return cost


def _loss(holding: Holding, now_us: int) -> tuple[int, int]:
    device_milli = sum(milli for _, milli in holding.devices)
    return (holding.cpu_milli + DEVICE_CORES * device_milli) * (now_us - holding.placed_us), device_milli
