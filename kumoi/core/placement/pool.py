"""The hosts of one pool, kept current by what changed, and the decisions on them.

A pass costs by what changed and what waits, not by the size of the pool.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from kumoi.core.placement import filters, reasons
from kumoi.core.placement.device_match import device_serves, devices_choose
from kumoi.core.placement.filters import Mask, Question
from kumoi.core.placement.host_table import HostTable
from kumoi.core.placement.placer import NEVER, Placer
from kumoi.core.placement.policies import capacity_most
from kumoi.core.placement.registry import policy_new
from kumoi.core.placement.residents import Residents
from kumoi.core.placement.shapes import HostShape, Shape
from kumoi.core.placement.snapshot import (
    DeviceView,
    Hold,
    HostView,
    Placed,
    PoolView,
    Refused,
    Scored,
    TaskView,
)
from kumoi.model.jobs import DEVICE_MILLI, GANG_MAX, DeviceRequest, GangScope

BEST_COUNT = 3
SEEN_MAX = 20_000
ARRIVALS_KEPT = 4_096
Slots = tuple[tuple[int, int], ...]
"""(slot, milli) pairs of one host."""


class PoolPlacer:
    """Decides where tasks go. `place` leaves everything as it was: what was applied comes back as a change.

    Rows are hosts in the order in which they joined; equal costs go to the lowest row.
    """

    def __init__(self, pool: PoolView, policy: str) -> None:
        self.pool = pool
        self.policy = policy
        self.table = HostTable()
        self.placer = Placer(self.table, policy_new(policy, self.table))
        self.residents = Residents()
        self.views: list[HostView] = []
        self._rows: dict[str, int] = {}
        self._codes: dict[str, DeviceView] = {}
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._arrivals: deque[Shape] = deque(maxlen=ARRIVALS_KEPT)
        self._scaled = self._scale()

    def hosts_put(self, views: Iterable[HostView]) -> None:
        """Take in hosts as they are now: new ones join, known ones change."""
        is_made_alike = True
        for view in views:
            row = self._rows.get(view.id)
            if row is None:
                row = self._append(view)
                is_made_alike = False
            else:
                before = self.views[row]
                is_made_alike &= bool(self.table.active[row]) and view.devices == before.devices
                if self.table.active[row]:
                    self._settle(row, before, -1)
                self._departures_learn(before, view)
                if _host_shape(view) != _host_shape(before):
                    self.table.row_put(row, _host_shape(view))
                    is_made_alike = False
                self.residents.facts_put(row, view)
                self.views[row] = view
            self._codes.update((_code(device), device) for device in view.devices)
            self._settle(row, view, 1)
            self.table.row_open(row, True)
        if not is_made_alike:
            self._rescale()

    def hosts_remove(self, host_ids: Iterable[str]) -> None:
        """Hosts that may not take work any more. They keep their rows, in case they come back."""
        for host_id in host_ids:
            row = self._rows.get(host_id)
            if row is not None and self.table.active[row]:
                self._settle(row, self.views[row], -1)
                self.table.row_remove(row)
        self._rescale()

    def learn(self, tasks: Iterable[TaskView]) -> None:
        """Tell the policy of tasks that were not seen before, and let it draw its conclusions when due."""
        for task in tasks:
            if task.id not in self._seen:
                self._seen[task.id] = None
                shape = self.shape(task)
                self._arrivals.append(shape)
                self.placer.learn(shape)
        while len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        if self.placer.refresh_due():
            self.placer.refresh()
            self.placer = Placer(self.table, self.placer.policy)

    def anew(self, hosts: Sequence[HostView]) -> "PoolPlacer":
        """One that knows these hosts and decides by what this one learned, as a replay would make it."""
        fresh = PoolPlacer(self.pool, self.policy)
        fresh.hosts_put(hosts)
        for shape in self._arrivals:
            fresh.placer.learn(shape)
        fresh._arrivals, fresh._seen = self._arrivals, self._seen
        fresh.learned_put(self.learned())
        return fresh

    def _departures_learn(self, before: HostView, after: HostView) -> None:
        staying = {holding.attempt_id for holding in after.holdings}
        for holding in before.holdings:
            if holding.attempt_id not in staying:
                milli = [milli for _, milli in holding.devices]
                self.placer.leave(
                    Shape(
                        holding.cpu_milli,
                        holding.memory_bytes,
                        holding.disk_bytes,
                        len(milli),
                        min(milli, default=DEVICE_MILLI) if len(milli) == 1 else DEVICE_MILLI,
                    )
                )

    def learned(self) -> bytes:
        """What the policy concluded so far: with it, another policy of the same name decides alike."""
        return self.placer.policy.state()

    def learned_put(self, state: bytes) -> None:
        """Let the policy decide by what `learned` told."""
        self.placer.policy.state_put(state)
        self.placer = Placer(self.table, self.placer.policy)

    def place(
        self, tasks: Sequence[TaskView], now_us: int, holds: Sequence[Hold] = ()
    ) -> tuple[tuple[Placed, ...], tuple[Refused, ...]]:
        """Decide for every task, in order. A gang's tasks are placed all together or all refused.

        `holds` keep hosts for groups that wait, from everybody of their class or below: also from those who
        come before them, so that a date once given is kept. Hosts that are not here any more keep nothing.
        """
        pass_ = _Pass(self, now_us)
        for hold in {hold.group_id: hold for hold in holds if now_us < hold.until_us}.values():
            self._hold(hold)
        try:
            for _, group in groupby(tasks, key=lambda task: task.gang or task.id):
                pass_.group_place(list(group))
        finally:
            pass_.undo(0)
            self.residents.holds_drop()
        return tuple(pass_.placed), tuple(pass_.refused)

    def _hold(self, hold: Hold) -> None:
        """Keep the hosts until the pass is over."""
        for row in (self._rows.get(host_id) for host_id in hold.host_ids):
            if row is not None:
                self.residents.hold(row, hold)

    def refusals(self, task: TaskView, now_us: int) -> tuple[tuple[str, int], ...]:
        """How many hosts refuse the task for which reason: the first one of each host."""
        left = self._open_rows()
        counts: Counter[str] = Counter()
        for reason, mask in filters.masks(self.question(task, now_us)):
            counts[reason] = int((left & ~mask).sum())
            left &= mask
        table, size = self.table, len(self.views)
        for reason, mask in (
            (reasons.NO_CPU, table.cpu_free[:size] >= task.cpu_milli),
            (reasons.NO_MEMORY, table.memory_free[:size] >= task.memory_bytes),
            (reasons.NO_DISK, (table.disk_free[:size] >= task.disk_bytes) | (task.disk_bytes == 0)),
        ):
            counts[reason] = int((left & ~mask).sum())
            left &= mask
        counts[reasons.NO_DEVICE] = int((left & ~self._devices_fit(task, left)).sum())
        return tuple(sorted((reason, count) for reason, count in counts.items() if count))

    def question(self, task: TaskView, now_us: int) -> Question:
        """What the filters are asked about the task."""
        return Question(self.pool, self.residents, len(self.views), task, now_us)

    def allowed(self, task: TaskView, now_us: int) -> Mask | None:
        """The rows that pass every filter; None for all."""
        allowed: Mask | None = None
        for _, mask in filters.masks(self.question(task, now_us)):
            allowed = mask if allowed is None else allowed & mask
        if len(task.devices) < 2:
            return allowed
        return self._devices_fit(task, self._open_rows() if allowed is None else allowed)

    def counts_most(self, task: TaskView, now_us: int) -> NDArray[np.int64]:
        """How many tasks like this each row could take at most: what refuses a gang without a trial."""
        allowed, shape = self.allowed(task, now_us), self.shape(task)
        fits = self._fits(shape)
        rows = np.flatnonzero(fits if allowed is None else fits & allowed)
        table, counts = self.table, np.zeros(len(self.views), np.int64)
        most = np.full(len(rows), GANG_MAX)
        for free, wanted in (
            (table.cpu_free, shape.cpu_milli),
            (table.memory_free, shape.memory_bytes),
            (table.disk_free, shape.disk_bytes),
            (table.gpu_free, shape.gpu_total_milli),
        ):
            if wanted:
                most = np.minimum(most, free[rows] // wanted)
        counts[rows] = most
        return counts

    def ranked(self, shape: Shape, allowed: Mask | None) -> tuple[list[tuple[int, int]], int]:
        """The best rows with their costs, the first one to be taken, and how many would do.

        Where the engine chooses the hosts, any that the work fits on tells that the pool has room for it.
        """
        if self.pool.chooses_pool_only:
            fits = self._fits(shape)
            rows = np.flatnonzero(fits if allowed is None else fits & allowed)
            return [(row, 0) for row in rows[:BEST_COUNT].tolist()], len(rows)
        costs = self.placer.costs(shape)
        costs = costs.copy() if allowed is None else np.where(allowed, costs, NEVER)
        count = int(np.count_nonzero(costs != NEVER))
        best = []
        for _ in range(min(BEST_COUNT, count)):
            row = int(costs.argmin())
            best.append((row, int(costs[row])))
            costs[row] = NEVER
        return best, count

    def shape(self, task: TaskView) -> Shape:
        """The task as the policy sees it: of several device requests the largest one."""
        if not task.devices:
            return Shape(task.cpu_milli, task.memory_bytes, task.disk_bytes)
        wish = max(task.devices, key=lambda request: request.count * request.milli)
        return Shape(
            task.cpu_milli, task.memory_bytes, task.disk_bytes, wish.count, wish.milli, self.models(wish)
        )

    def models(self, wish: DeviceRequest) -> frozenset[str]:
        """The codes of the pool's devices that would serve the request."""
        return frozenset(code for code, device in self._codes.items() if device_serves(device, wish))

    def slots_choose(self, row: int, task: TaskView) -> Slots | None:
        """Slots of a row for every device request, or None."""
        return devices_choose(self.views[row].devices, self.table.slot_free[row].tolist(), task.devices)

    def take(self, row: int, task: TaskView, shape: Shape) -> Slots:
        """Give a task its room on a row; returns its slots."""
        if len(task.devices) > 1:
            slots = self.slots_choose(row, task)
            if slots is None:
                raise ValueError(f"the host {self.views[row].id} lacks devices for {task.id}")
            self._occupy(row, task.cpu_milli, task.memory_bytes, task.disk_bytes, slots, 1)
        else:
            slots = tuple((slot, shape.gpu_milli) for slot in self.placer.take(row, shape))
        self._enter(row, task, 1)
        return slots

    def give_back(self, row: int, task: TaskView, slots: Slots) -> None:
        """Undo `take`."""
        self._occupy(row, task.cpu_milli, task.memory_bytes, task.disk_bytes, slots, -1)
        self._enter(row, task, -1)

    def _enter(self, row: int, task: TaskView, count: int) -> None:
        shares = filters.task_shares(task)
        self.residents.enter(
            row, task.organization_id, task.job_id, shares=shares, alone=task.alone, count=count
        )

    def _occupy(
        self, row: int, cpu_milli: int, memory_bytes: int, disk_bytes: int, slots: Slots, sign: int
    ) -> None:
        """Count what is there, or no longer is, whether or not there is room for it."""
        change = self.table.occupy if sign > 0 else self.table.give_back
        change(row, Shape(cpu_milli, memory_bytes, disk_bytes), ())
        for slot, milli in slots:
            change(row, Shape(0, 0, 0, 1, milli), (slot,))

    def _rescale(self) -> None:
        """Costs are in terms of what hosts there are now, whatever they were before: as in a replay."""
        scale = self._scale()
        if scale != self._scaled:
            self._scaled = scale
            self.placer = Placer(self.table, self.placer.policy)

    def _scale(self) -> tuple[object, ...]:
        return (*capacity_most(self.table), self.table.models)

    def _append(self, view: HostView) -> int:
        row = self.table.row_append(_host_shape(view))
        self.residents.row_append(view)
        self.views.append(view)
        self._rows[view.id] = row
        return row

    def _settle(self, row: int, view: HostView, sign: int) -> None:
        """Put what lives on the host on its row, or take it off."""
        slot_of = {device.id: slot for slot, device in enumerate(view.devices)}
        for holding in view.holdings:
            slots = tuple((slot_of[device], milli) for device, milli in holding.devices if device in slot_of)
            self._occupy(row, holding.cpu_milli, holding.memory_bytes, holding.disk_bytes, slots, sign)
            shares = any(milli < DEVICE_MILLI for _, milli in holding.devices)
            self.residents.enter(
                row, holding.organization_id, holding.job_id, shares=shares, alone=holding.alone, count=sign
            )
        if sign > 0 and view.devices:
            self.table.slots_health(row, [device.healthy for device in view.devices])

    def _devices_fit(self, task: TaskView, rows: Mask) -> Mask:
        """Which of the rows have the devices that the task asks for."""
        if len(task.devices) < 2:
            shape = self.shape(task)
            return self._fits(Shape(0, 0, 0, shape.gpu_count, shape.gpu_milli, shape.models))
        fitting = rows & self._fits(self.shape(task))
        return self._devices_together(task, np.flatnonzero(fitting))

    def _devices_together(self, task: TaskView, rows: NDArray[np.int64]) -> Mask:
        """Which of the rows have devices for all requests; rows with alike devices are looked at once."""
        found = np.zeros(len(self.views), np.bool_)
        known: dict[tuple[bytes, bytes], bool] = {}
        table = self.table
        for row in rows.tolist():
            alike = table.slot_model[row].tobytes(), table.slot_free[row].tobytes()
            if alike not in known:
                known[alike] = self.slots_choose(row, task) is not None
            found[row] = known[alike]
        return found

    def _fits(self, shape: Shape) -> Mask:
        return self.table.fits(shape, np.arange(len(self.views)))

    def _open_rows(self) -> Mask:
        return self.table.active[: len(self.views)].copy()


class _Pass:
    """One pass over what waits: what was taken so far, so that it can be given back."""

    def __init__(self, of: PoolPlacer, now_us: int) -> None:
        self.of = of
        self.now_us = now_us
        self.placed: list[Placed] = []
        self.refused: list[Refused] = []
        self._taken: list[tuple[int, TaskView, Slots]] = []
        self._hopeless: dict[TaskView, tuple[int, Refused]] = {}

    def group_place(self, members: list[TaskView]) -> None:
        """A task, or a gang as a whole.

        A pass only takes room: what asks for as much, for as long, as a task that was refused is refused too.
        """
        first = members[0]
        is_alone = first.gang is None and first.spread_over is None
        kind = replace(first, id="", job_id="", wall_time_s=0, priority=0) if is_alone else first
        known = self._hopeless.get(kind)
        if known and first.wall_time_s >= known[0] and not self.of.residents.rows_held(first.id):
            self.refused.append(Refused(first.id, known[1].reasons))
            return
        found = self._gang(members) if first.gang is not None else self._members(members, None)
        if found is None:
            reasons = self.of.refusals(first, self.now_us)
            self.refused += [Refused(member.id, reasons) for member in members]
            if is_alone:
                self._hopeless[kind] = first.wall_time_s, self.refused[-1]
        else:
            self.placed += found

    def undo(self, mark: int) -> None:
        """Give back everything taken after the first `mark`."""
        while len(self._taken) > mark:
            row, task, slots = self._taken.pop()
            self.of.give_back(row, task, slots)

    def _gang(self, members: list[TaskView]) -> list[Placed] | None:
        """All members, within the nearness that they ask for; the tightest place that takes them first."""
        first = members[0]
        counts = self.of.counts_most(first, self.now_us)
        if counts.sum() < len(members):
            return None
        near = first.gang_within in (GangScope.HOST, GangScope.FABRIC_ISLAND)
        if not near or self.of.pool.chooses_pool_only:
            return self._members(members, None)
        residents, size = self.of.residents, len(self.of.views)
        places = np.arange(size) if first.gang_within is GangScope.HOST else residents.island[:size]
        for place in self._places_by_room(places, counts, len(members)):
            found = self._members(members, places == place)
            if found is not None:
                return found
        return None

    def _places_by_room(self, places: NDArray[np.int64], counts: NDArray[np.int64], wanted: int) -> list[int]:
        """The places that may take all members, the one with the least free CPU first."""
        table, size = self.of.table, len(places)
        free = np.where(table.active[:size], np.maximum(table.cpu_free[:size], 0), 0)
        room = np.bincount(places, counts)
        possible = np.flatnonzero(room >= wanted)
        cpu = np.bincount(places, free)[possible]
        found: list[int] = possible[np.lexsort((possible, cpu))].tolist()
        return found

    def _members(self, members: Sequence[TaskView], within: Mask | None) -> list[Placed] | None:
        mark = len(self._taken)
        found = []
        for member in members:
            placed = self._one(member, within)
            if placed is None:
                self.undo(mark)
                return None
            found.append(placed)
        return found

    def _one(self, task: TaskView, within: Mask | None) -> Placed | None:
        of = self.of
        allowed = of.allowed(task, self.now_us)
        if within is not None:
            allowed = within if allowed is None else allowed & within
        shape = of.shape(task)
        best, candidates = of.ranked(shape, allowed)
        if not best:
            return None
        row = best[0][0]
        slots = of.take(row, task, shape)
        self._taken.append((row, task, slots))
        view = of.views[row]
        return Placed(
            task.id,
            view.id,
            tuple((view.devices[slot].id, milli) for slot, milli in slots),
            candidates,
            tuple(Scored(of.views[at].id, cost) for at, cost in best),
        )


def _host_shape(view: HostView) -> HostShape:
    return HostShape(
        view.cpu_milli, view.memory_bytes, view.disk_bytes, tuple(_code(device) for device in view.devices)
    )


def _code(device: DeviceView) -> str:
    """What the arrays know a device by; a partition is a model of its own."""
    whole = f"{device.kind}:{device.model}"
    return f"{whole}/{device.partition}" if device.partition else whole
