"""What becomes of groups that found no place: others make room for them, or they get a date that is kept.

A promise keeps hosts for its group (`Hold`): later work may use them only if it ends before. It is made anew
when it runs out, so that it follows what really happens.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kumoi.core.placement.snapshot import (
    Hold,
    Holding,
    HostView,
    Placed,
    PoolView,
    TaskView,
    Window,
)
from kumoi.core.queue.backfill import DATED_MAX, group_date
from kumoi.core.queue.defragment import moves_propose
from kumoi.core.queue.preempt import floors_protect, victims_choose
from kumoi.core.queue.standing import PoolUse
from kumoi.model.jobs import CLASS_RANKS, DEVICE_MILLI, GangScope, WorkClass
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
"""Groups that one pass makes promises for at most: each looks at every host."""
_FOREVER_US = 1 << 62
_PREEMPTIBLE = CLASS_RANKS[WorkClass.PREEMPTIBLE]


@dataclass(frozen=True, slots=True)
class Promises:
    """The hosts that are kept, and the attempts to end."""

    holds: tuple[Hold, ...]
    evicted: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    """Attempts that are ended, too, but for which there is room elsewhere."""


def promises_make(
    refused: Sequence[Sequence[TaskView]],
    pool: PoolView,
    hosts: Sequence[HostView],
    use: PoolUse,
    now_us: int,
    kept: Mapping[str, Hold],
) -> Promises:
    """Promises for groups that found no place, in the order of the queue; `kept` ones stay as they are.

    Room is made for every class above preemptible, by ending preemptible work. A date is given to gangs and
    to tasks that need half of the largest host or more: others find room by themselves as work ends.
    """
    holds = [hold for hold in kept.values() if now_us < hold.until_us]
    open_groups = [group for group in refused if group_id(group) not in kept][:TRIED_MAX]
    if not open_groups:
        return Promises(tuple(holds))
    views = list(hosts)
    for hold in holds:
        views = _hold_show(views, hold)
    evicted: list[str] = []
    moved: list[str] = []
    dated = sum(hold.start_us > now_us for hold in holds)
    for group in open_groups:
        is_large = _is_large(group, hosts)
        leaving = _moves(group, pool, views, now_us) if is_large and not moved else ()
        moved += leaving
        if not leaving:
            leaving = _evict(group, pool, views, use, now_us, EVICTED_MAX - len(evicted))
            evicted += leaving
        if leaving:
            until_us = now_us + EVICTION_S * US_PER_S
            hold = Hold(group_id(group), _hosts_of(views, leaving), now_us, until_us)
        elif dated < DATED_MAX and is_large:
            hold = _date(group, pool, views, now_us)
            dated += bool(hold.host_ids)
        else:
            continue
        holds.append(hold)
        views = _hold_show(views, hold)
    return Promises(tuple(holds), tuple(evicted), tuple(moved))


def hosts_after(
    hosts: Iterable[HostView], placed: Iterable[Placed], tasks: Mapping[str, TaskView], now_us: int
) -> list[HostView]:
    """The hosts with what a pass placed on them, as if it lived there already."""
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
                ends_us=now_us + task.wall_time_s * US_PER_S,
                class_rank=task.class_rank,
                priority=task.priority,
                gang=task.gang is not None,
            )
        )
    return [
        replace(host, holdings=(*host.holdings, *added[host.id])) if host.id in added else host
        for host in hosts
    ]


def group_id(group: Sequence[TaskView]) -> str:
    """What a hold knows a group by."""
    return group[0].gang or group[0].id


def _moves(
    group: Sequence[TaskView], pool: PoolView, hosts: Sequence[HostView], now_us: int
) -> tuple[str, ...]:
    """The attempts to move so that the whole group fits, where the pool allows it; one group in a pass."""
    near = group[0].gang_within in (GangScope.HOST, GangScope.FABRIC_ISLAND)
    if not pool.defragment or near or group[0].spread_over is not None:
        return ()
    found = moves_propose(group[0], pool, hosts, now_us, MOVED_MAX, len(group))
    return tuple(move.attempt_id for move in found.moves) if found.places_after >= len(group) else ()


def _evict(
    group: Sequence[TaskView], pool: PoolView, hosts: Sequence[HostView], use: PoolUse, now_us: int, most: int
) -> tuple[str, ...]:
    if group[0].class_rank >= _PREEMPTIBLE or not use.by_class[_PREEMPTIBLE].tasks or most <= 0:
        return ()
    others = {
        holding.attempt_id for host in hosts for holding in host.holdings if holding.class_rank < _PREEMPTIBLE
    }
    protected = others | floors_protect(hosts, use.capacity)
    eviction = victims_choose(group, pool, hosts, now_us, most, protected)
    return eviction.attempt_ids if eviction is not None else ()


def _date(group: Sequence[TaskView], pool: PoolView, hosts: Sequence[HostView], now_us: int) -> Hold:
    """The hosts and the time; none where the pool has no place for the group, which is asked later again."""
    dated = group_date(group, pool, hosts, now_us)
    until_us = now_us + PROMISE_S * US_PER_S
    if dated is None:
        return Hold(group_id(group), (), now_us, until_us)
    return Hold(group_id(group), dated.host_ids, dated.start_us, until_us)


def _hold_show(hosts: Iterable[HostView], hold: Hold) -> list[HostView]:
    """The hosts as whoever asks next should see them."""
    mine = frozenset(hold.host_ids)
    window = Window(f"group {hold.group_id}", "", hold.start_us, _FOREVER_US)
    return [replace(host, windows=(*host.windows, window)) if host.id in mine else host for host in hosts]


def _hosts_of(hosts: Iterable[HostView], attempt_ids: Iterable[str]) -> tuple[str, ...]:
    wanted = frozenset(attempt_ids)
    return tuple(host.id for host in hosts if any(holding.attempt_id in wanted for holding in host.holdings))


def _is_large(group: Sequence[TaskView], hosts: Sequence[HostView]) -> bool:
    task = group[0]
    if task.gang is not None:
        return True
    devices = sum(wish.count for wish in task.devices if wish.milli == DEVICE_MILLI)
    return (
        2 * task.cpu_milli >= max((host.cpu_milli for host in hosts), default=0)
        or 2 * task.memory_bytes >= max((host.memory_bytes for host in hosts), default=0)
        or (devices > 0 and 2 * devices >= max((len(host.devices) for host in hosts), default=0))
    )
