"""What becomes of groups that found no place: others make room for them, or they get a date that is kept.

A promise keeps hosts for its group (`Hold`): later work may use them only if it ends before. It is made anew
when it runs out, so that it follows what really happens.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from kumoi.core.placement.snapshot import Hold, Holding, HostView, Placed, PoolView, TaskView
from kumoi.core.queue.backfill import DATED_MAX, DATED_PER_ORGANIZATION_MAX, Dated, group_date
from kumoi.core.queue.defragment import moves_propose
from kumoi.core.queue.outlook import PREEMPTIBLE, Scene
from kumoi.core.queue.preempt import floor_protects, victims_choose
from kumoi.core.queue.standing import PoolUse
from kumoi.model.jobs import GangScope, SpreadOver
from kumoi.model.time import US_PER_S

PROMISE_S = 60
"""How long a promise stands before it is made anew."""
EVICTION_S = 30
"""How long room made by preemption is kept for the group that it was made for."""
EVICTED_MAX = 64
"""Attempts that one pass ends at most."""
MOVED_MAX = 8
"""Attempts that one pass moves at most."""
TRIED_MAX = 16
"""Groups that one pass makes promises for at most."""
HOSTS_FIRST = 64
"""Hosts that are looked at first to date a group, besides four for each of its tasks."""
HOSTS_YIELDING_MAX = 256
"""Hosts on which room may be made for a group, besides two for each of its tasks."""


@dataclass(frozen=True, slots=True)
class Promises:
    """The hosts that are kept, and the attempts to end."""

    holds: tuple[Hold, ...]
    evicted: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    """Attempts that are ended, too, but for which there is room elsewhere."""
    vain: tuple[str, ...] = ()
    """Groups for which nothing can be done now."""


@dataclass(frozen=True, slots=True)
class _Room:
    """Attempts that leave so that a group fits, and all hosts on which it then does."""

    attempt_ids: tuple[str, ...] = ()
    host_ids: tuple[str, ...] = ()


def promises_make(
    refused: Sequence[Sequence[TaskView]],
    pool: PoolView,
    scene: Scene,
    use: PoolUse,
    now_us: int,
    kept: Mapping[str, Hold],
    vain: AbstractSet[str] = frozenset(),
) -> Promises:
    """Promises for groups that found no place, in the order of the queue; `kept` ones stay as they are.

    Those of them that ran out are made anew one by one while the others count: a date only comes nearer,
    unless work of a higher class came before it.

    Room is made for every class above preemptible, by ending preemptible work. A date is given to gangs and
    to tasks that need half of the largest host or more: others find room by themselves as work ends. What is
    kept for a group counts for those of its class and below; those above neither see nor mind it. `vain`
    groups are left out: nothing could be done for them a short while ago.
    """
    holds = [hold for hold in kept.values() if now_us < hold.until_us]
    settled = {hold.group_id for hold in holds} | vain
    open_groups = [group for group in refused if group_id(group) not in settled][:TRIED_MAX]
    if not open_groups:
        return Promises(tuple(holds))
    ran_out = [kept[group_id(group)] for group in open_groups if group_id(group) in kept]
    for known in (*holds, *ran_out):
        scene.hold(known, now_us)
    evicted: list[str] = []
    moved: list[str] = []
    in_vain: list[str] = []
    had_date = [known for known in (*holds, *ran_out) if known.start_us > now_us]
    dates = _Dates(had_date, {group_id(group): group[0].organization_id for group in refused})
    for group in open_groups:
        if group_id(group) in kept:
            scene.release(kept[group_id(group)])
        is_large = group[0].gang is not None or scene.outlook.is_large(group[0])
        most = EVICTED_MAX - len(evicted)
        room = _moves(group, pool, scene, now_us) if is_large and not moved else _Room()
        moved += room.attempt_ids
        if not room.attempt_ids:
            room = _evict(group, pool, scene, use, now_us, most)
            evicted += room.attempt_ids
        hold: Hold | None = None
        if room.attempt_ids:
            until_us = now_us + EVICTION_S * US_PER_S
            wall_s = EVICTION_S + group[0].hold_us // US_PER_S
            hold = Hold(group_id(group), room.host_ids, now_us, until_us, wall_s, group[0].class_rank)
        elif is_large and dates.has_left(group):
            hold = _date(group, pool, scene, now_us)
            if hold is not None:
                dates.give(hold, group[0].organization_id)
        if hold is None:
            in_vain += [group_id(group)] if most > 0 else []
            continue
        holds.append(hold)
        scene.hold(hold, now_us)
    return Promises(tuple(holds), tuple(evicted), tuple(moved), tuple(in_vain))


def hosts_after(
    hosts: Mapping[str, HostView], placed: Iterable[Placed], tasks: Mapping[str, TaskView], now_us: int
) -> list[HostView]:
    """The hosts on which a pass placed anything, as if it lived there already."""
    added: defaultdict[str, list[Holding]] = defaultdict(list)
    for one in placed:
        task = tasks[one.task_id]
        added[one.host_id].append(
            Holding(
                attempt_id=task.id,
                job_id=task.job_id,
                organization_id=task.organization_id,
                cpu_milli=task.cpu_milli,
                memory_bytes=task.memory_bytes,
                disk_bytes=task.disk_bytes,
                devices=one.devices,
                placed_us=now_us,
                ends_us=now_us + task.hold_us,
                class_rank=task.class_rank,
                priority=task.priority,
                gang=task.gang is not None,
            )
        )
    return [
        replace(hosts[host_id], holdings=(*hosts[host_id].holdings, *holdings))
        for host_id, holdings in added.items()
    ]


def group_id(group: Sequence[TaskView]) -> str:
    """What a hold knows a group by."""
    return group[0].gang or group[0].id


class _Dates:
    """The dates that stand: each by its group, with the class and the organization."""

    def __init__(self, known: Iterable[Hold], organizations: Mapping[str, str]) -> None:
        self._given: dict[str, tuple[int, str]] = {}
        for hold in known:
            self.give(hold, organizations.get(hold.group_id, ""))

    def give(self, hold: Hold, organization_id: str) -> None:
        """The group has a date."""
        self._given[hold.group_id] = hold.class_rank, organization_id

    def has_left(self, group: Sequence[TaskView]) -> bool:
        """Whether the group may have one: it keeps that which it has, and lower classes take none from it."""
        task = group[0]
        given = [organization_id for rank, organization_id in self._given.values() if rank <= task.class_rank]
        return group_id(group) in self._given or (
            len(given) < DATED_MAX and given.count(task.organization_id) < DATED_PER_ORGANIZATION_MAX
        )


def _moves(group: Sequence[TaskView], pool: PoolView, scene: Scene, now_us: int) -> _Room:
    """Room made by moves for the whole group, where the pool allows it; for one group in a pass."""
    near = group[0].gang_within in (GangScope.HOST, GangScope.FABRIC_ISLAND)
    if not pool.defragment or near or group[0].spread_over is not None:
        return _Room()
    hosts = scene.views(scene.outlook.hosts, group[0].class_rank)
    found = moves_propose(group[0], pool, hosts, now_us, MOVED_MAX, len(group))
    if found.places_after < len(group):
        return _Room()
    return _Room(tuple(move.attempt_id for move in found.moves), found.host_ids)


def _evict(
    group: Sequence[TaskView], pool: PoolView, scene: Scene, use: PoolUse, now_us: int, most: int
) -> _Room:
    if group[0].class_rank >= PREEMPTIBLE or not use.by_class[PREEMPTIBLE].tasks or most <= 0:
        return _Room()
    if group[0].spread_over is SpreadOver.FAILURE_DOMAIN:
        hosts = scene.views(scene.outlook.hosts, group[0].class_rank)
    else:
        hosts = scene.yielding(group, now_us, HOSTS_YIELDING_MAX + 2 * len(group))
    # What this pass placed is no attempt yet, and nothing that could be asked to end.
    others = {
        holding.attempt_id
        for host in hosts
        for holding in host.holdings
        if holding.class_rank < PREEMPTIBLE or holding.placed_us >= now_us
    }
    protected = others | floor_protects(scene.preemptible(), use.capacity)
    # The victims take a while to end: what comes after them must still end before others' dates.
    start_us, near = now_us + EVICTION_S * US_PER_S, scene.near(group[0])
    eviction = victims_choose(group, pool, hosts, start_us, most, protected, near)
    return _Room(eviction.attempt_ids, eviction.host_ids) if eviction is not None else _Room()


def _date(group: Sequence[TaskView], pool: PoolView, scene: Scene, now_us: int) -> Hold | None:
    """The hosts and the time; None where the pool has no place for the group."""
    dated = _dated(group, pool, scene, now_us)
    if dated is None:
        return None
    until_us = now_us + PROMISE_S * US_PER_S
    wall_s, class_rank = group[0].hold_us // US_PER_S, group[0].class_rank
    return Hold(group_id(group), dated.host_ids, dated.start_us, until_us, wall_s, class_rank)


def _dated(group: Sequence[TaskView], pool: PoolView, scene: Scene, now_us: int) -> Dated | None:
    """The date, as of all hosts: those that come free only after it are not looked at."""
    ready = scene.ready(group[0])
    size = HOSTS_FIRST + 4 * len(group)
    if group[0].spread_over is SpreadOver.FAILURE_DOMAIN:
        size = len(ready)
    while True:
        hosts = scene.views((host_id for _, host_id in ready[:size]), group[0].class_rank)
        dated = group_date(group, pool, hosts, now_us)
        if size >= len(ready) or (dated is not None and dated.start_us < ready[size][0]):
            return dated
        size *= 4
