"""The order in which waiting work is considered, and what is held back.

1. **Class first**: guaranteed, standard, preemptible. But a class that holds less of the pool than its floor
   (`CLASS_FLOORS`) goes before all classes above it, so none is starved by those.
2. **Organizations by level** (weighted dominant share, held and lately held), the lowest first; each group
   that is taken raises its organization's level (progressive filling). An organization that holds nothing
   and whose oldest group has waited for `STARVATION_S` goes before all of its class that hold something:
   heavy use in the past delays, it never excludes. It then holds something itself, so this gains an
   organization one group at a time, and a flood of work no more than that.
3. **Within an organization** by submission, where a point of priority is worth `AGING_S` of waiting. Groups
   that have waited for `STARVATION_S` go before all younger ones whatever their priority.

Within its class, what has a date (`core.queue.backfill`) goes before all that has none.

A tenant's priority orders its own work only. A group that would pass its organization's quota or budget is
held and blocks nobody, not even smaller groups of its organization. Ties: the earlier submission of the group
whose turn it is, then the organization's id.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush, heapreplace
from itertools import groupby

from kumoi.core.placement.snapshot import TaskView
from kumoi.core.queue.fairness import NOTHING, Amounts, amounts_of, dominant_share, level
from kumoi.core.queue.prices import FREE, Prices, price_microyen
from kumoi.core.queue.standing import PoolUse, Standing
from kumoi.model.time import US_PER_S

AGING_S = 60
STARVATION_S = 86_400
CLASS_FLOORS = (0.0, 0.05, 0.01)
"""By class rank: the dominant share of the pool up to which a class goes before those above it."""


class HeldReason(StrEnum):
    """Why a task is not considered now."""

    KEY_WITHDRAWN = "key withdrawn"
    OVER_QUOTA = "over quota"
    OVER_BUDGET = "over budget"
    WAITS_TURN = "waits for its turn"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A task that waits, since `submitted_us`."""

    task: TaskView
    submitted_us: int


@dataclass(frozen=True, slots=True)
class Held:
    """A task that is not considered now."""

    task_id: str
    reason: HeldReason


@dataclass(frozen=True, slots=True)
class Order:
    """Tasks in the order in which to place them, gangs together; the others with a reason."""

    tasks: tuple[TaskView, ...]
    held: tuple[Held, ...]


@dataclass(slots=True)
class _Group:
    """A gang, or a task of its own."""

    id: str
    tasks: list[TaskView]
    submitted_us: int
    amounts: Amounts
    price_microyen: int


@dataclass(slots=True)
class _Account:
    """An organization's standing as groups are taken."""

    organization_id: str
    standing: Standing
    capacity: Amounts
    held: Amounts
    taken: Amounts = NOTHING
    spent_microyen: int = 0

    def level(self) -> float:
        return level(self.held, self.capacity, self.standing.usage_s, self.standing.weight)

    def refusal(self, group: _Group) -> HeldReason | None:
        """Why the organization may not take the group."""
        if self.standing.key_withdrawn:
            return HeldReason.KEY_WITHDRAWN
        for wanted, taken, most in zip(group.amounts, self.taken, self.standing.quota_left, strict=True):
            if most is not None and wanted and taken + wanted > most:
                return HeldReason.OVER_QUOTA
        left = self.standing.budget_left_microyen
        if left is not None and (left <= 0 or self.spent_microyen + group.price_microyen > left):
            return HeldReason.OVER_BUDGET
        return None

    def take(self, group: _Group) -> None:
        self.held = self.held.plus(group.amounts)
        self.taken = self.taken.plus(group.amounts)
        self.spent_microyen += group.price_microyen


_Key = tuple[int, float, int, str]


@dataclass(slots=True)
class _Queue:
    """The groups of an organization in one class, the next one last."""

    account: _Account
    groups: list[_Group]
    starved_us: int

    def key(self) -> _Key:
        """When its turn is; grows as groups are taken."""
        head = self.groups[-1]
        if head.submitted_us <= self.starved_us and self.account.held.tasks == 0:
            return 0, 0.0, head.submitted_us, self.account.organization_id
        return 1, self.account.level(), head.submitted_us, self.account.organization_id


def order(
    waiting: Mapping[str, Sequence[Waiting]],
    standings: Mapping[str, Standing],
    use: PoolUse,
    now_us: int,
    most: int,
    prices: Prices = FREE,
    dated: Sequence[str] = (),
) -> Order:
    """Order what waits in a pool, given by organization: about `most` tasks, as gangs stay whole.

    A missing standing is that of a newcomer. `dated` are the groups (gangs, or tasks by themselves) that have
    a date (`core.queue.backfill`): each goes first in its class, in this order, since what is not of a higher
    class keeps clear of its hosts.
    The cost is that of sorting what is given and of `most` turns: give a window of each organization's queue,
    not all of it.
    """
    accounts = {
        name: _Account(
            name, standings.get(name, Standing()), use.capacity, use.by_organization.get(name, NOTHING)
        )
        for name in waiting
    }
    taking = _Taking(use)
    promised = _promised(waiting, accounts, dated, prices)
    heaps = _heaps(waiting, accounts, frozenset(dated), now_us, prices)
    while (any(promised) or any(heaps)) and len(taking.tasks) < most:
        rank = _class_next(
            [first or heap for first, heap in zip(promised, heaps, strict=True)], taking.shares
        )
        if promised[rank]:
            taking.take(*promised[rank].pop())
            continue
        queue = _pop(heaps[rank])
        taking.take(queue.groups.pop(), queue.account)
        if queue.groups:
            heappush(heaps[rank], (queue.key(), queue))
    left = [one for of_class in promised for one in reversed(of_class)]
    left += [
        (group, queue.account) for heap in heaps for _, queue in heap for group in reversed(queue.groups)
    ]
    rest = [
        Held(task.id, account.refusal(group) or HeldReason.WAITS_TURN)
        for group, account in left
        for task in group.tasks
    ]
    return Order(tuple(taking.tasks), (*taking.held, *rest))


class _Taking:
    """What was taken so far, and what each class then holds of the pool."""

    def __init__(self, use: PoolUse) -> None:
        self.tasks: list[TaskView] = []
        self.held: list[Held] = []
        self.shares = [dominant_share(total, use.capacity) for total in use.by_class]
        self._totals = list(use.by_class)
        self._capacity = use.capacity

    def take(self, group: _Group, account: _Account) -> None:
        """The group goes next, unless it would pass a limit of its organization."""
        reason = account.refusal(group)
        if reason is not None:
            self.held += [Held(task.id, reason) for task in group.tasks]
            return
        account.take(group)
        self.tasks += group.tasks
        rank = group.tasks[0].class_rank
        self._totals[rank] = self._totals[rank].plus(group.amounts)
        self.shares[rank] = dominant_share(self._totals[rank], self._capacity)


def _promised(
    waiting: Mapping[str, Sequence[Waiting]],
    accounts: Mapping[str, _Account],
    dated: Sequence[str],
    prices: Prices,
) -> list[list[tuple[_Group, _Account]]]:
    """By class rank the groups that have a date, the next one last."""
    found: dict[str, tuple[_Group, _Account]] = {}
    wanted = frozenset(dated)
    for name, theirs in waiting.items() if dated else ():
        mine = sorted((one for one in theirs if _group_id(one) in wanted), key=lambda one: one.task.id)
        found |= {group.id: (group, accounts[name]) for group in _groups(mine, prices)}
    promised: list[list[tuple[_Group, _Account]]] = [[] for _ in CLASS_FLOORS]
    for name in reversed(dated):
        if name in found:
            promised[found[name][0].tasks[0].class_rank].append(found[name])
    return promised


def _heaps(
    waiting: Mapping[str, Sequence[Waiting]],
    accounts: Mapping[str, _Account],
    without: AbstractSet[str],
    now_us: int,
    prices: Prices,
) -> list[list[tuple[_Key, _Queue]]]:
    """For each class the queues of its organizations, the one whose turn it is on top."""
    heaps: list[list[tuple[_Key, _Queue]]] = [[] for _ in CLASS_FLOORS]
    starved_us = now_us - STARVATION_S * US_PER_S
    for organization_id, theirs in waiting.items():
        mine = [one for one in theirs if _group_id(one) not in without]
        in_turn = sorted(mine, key=lambda one: _turn(one, starved_us))
        for rank, of_class in groupby(in_turn, key=lambda one: one.task.class_rank):
            groups = _groups(list(of_class), prices)
            queue = _Queue(accounts[organization_id], groups, starved_us)
            heaps[rank].append((queue.key(), queue))
    for heap in heaps:
        heapify(heap)
    return heaps


def _turn(one: Waiting, starved_us: int) -> tuple[int, bool, int, int, str, str]:
    task = one.task
    young = one.submitted_us > starved_us
    turn_us = one.submitted_us - task.priority * AGING_S * US_PER_S if young else one.submitted_us
    return task.class_rank, young, turn_us, one.submitted_us, task.gang or "", task.id


def _groups(of_class: Sequence[Waiting], prices: Prices) -> list[_Group]:
    """Gangs whole where their first task stands; the next group last."""
    by_group: dict[str, list[Waiting]] = {}
    for one in of_class:
        by_group.setdefault(_group_id(one), []).append(one)
    groups = []
    for name, members in by_group.items():
        task, count = members[0].task, len(members)
        amounts = amounts_of(task).times(count)
        price = count * price_microyen(prices, amounts_of(task), task.wall_time_s)
        groups.append(_Group(name, [one.task for one in members], members[0].submitted_us, amounts, price))
    groups.reverse()
    return groups


def _group_id(one: Waiting) -> str:
    return one.task.gang or one.task.id


def _class_next(heaps: Sequence[Sequence[object]], shares: Sequence[float]) -> int:
    """The lowest class below its floor, else the highest that waits."""
    ranks = [rank for rank, heap in enumerate(heaps) if heap]
    below = [rank for rank in ranks if shares[rank] < CLASS_FLOORS[rank]]
    return below[-1] if below else ranks[0]


def _pop(heap: list[tuple[_Key, _Queue]]) -> _Queue:
    """The queue whose turn it is. Keys only grow, so an entry out of date is put back where it belongs."""
    while True:
        key, queue = heap[0]
        current = queue.key()
        if current == key:
            heappop(heap)
            return queue
        heapreplace(heap, (current, queue))
