"""Placement: take in what changed, order what waits, decide, apply what still holds.

The hosts of each pool are kept in memory and follow the rows by the notes of what changed (`host_touches`).
Memory may be lost at any line: it is read anew from the rows, and the next plan records a new base.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from kumoi.core.placement.snapshot import Placed, Plan, Refused, TaskView
from kumoi.core.queue.order import order
from kumoi.core.queue.outlook import Scene
from kumoi.core.queue.prices import Prices
from kumoi.core.queue.promises import PROMISE_S, Promises, hosts_after, promises_make
from kumoi.loops.context import LoopContext
from kumoi.loops.placement_memory import PlacementMemory, PoolMemory
from kumoi.model.time import US_PER_S
from kumoi.store import placement, placement_read
from kumoi.store.attempts import attempts_preempt
from kumoi.store.database import Connection
from kumoi.store.placement import Applied, Decided
from kumoi.store.placement_read import PoolRead, Touch
from kumoi.store.writer import Fence

POLICY = "kumoi"
WINDOW = 64
WINDOW_MAX = 5_000
"""What waits is looked at a window at a time; widely only when nothing of the first window fits."""
TOUCHES_IDLE = 500
"""So many notes of changed hosts are taken in even when nothing waits."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one activation reads, in one transaction."""

    touches: Sequence[Touch]
    reads: Sequence[PoolRead]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was decided for a pool: what goes where, what is kept for whom, and who makes room."""

    tasks: tuple[TaskView, ...]
    placed: tuple[Placed, ...]
    refused: tuple[Refused, ...]
    promises: Promises
    prices: Prices


def placement_activate(memory: PlacementMemory, context: LoopContext, fence: Fence) -> bool:
    """Place waiting tasks of every pool. What was not applied is decided again on what changed."""
    if memory.epoch != fence.epoch:
        memory.forget(fence.epoch)
    try:
        return _pass(memory, context, fence, WINDOW, wide=False)
    except BaseException:
        # What memory holds may no longer be what the rows say.
        memory.forget(-1)
        raise


def _pass(memory: PlacementMemory, context: LoopContext, fence: Fence, window: int, *, wide: bool) -> bool:
    now_us = context.clock_us()
    found = context.store.read_wait(pass_read, memory, window, now_us, wide=wide)
    _take_in(memory, found)
    more = stuck = False
    for read in found.reads:
        pool = memory.pools[read.pool.id]
        answer = _decide(pool, read, now_us, window)
        applied = _apply(memory, context, fence, pool, answer, now_us)
        full = read.count >= window
        stuck = stuck or (full and not answer.placed)
        more = more or (bool(answer.placed) and (full or applied < len(answer.placed)))
    if len(memory.taken) >= TOUCHES_IDLE:
        context.store.transact_wait(fence, placement.touches_drop, sorted(memory.taken))
        memory.taken.clear()
    if not wide and stuck:
        return _pass(memory, context, fence, WINDOW_MAX, wide=True) or more
    if not any(read.count >= window for read in found.reads):
        context.nudge("jobs")
    return more


def pass_read(
    connection: Connection, memory: PlacementMemory, window: int, now_us: int, *, wide: bool
) -> _Pass:
    """What changed and what waits. Hosts of pools in which nothing waits are left for later."""
    waiting = placement_read.pools_waiting(connection, now_us)
    touches = [touch for touch in placement_read.touches_read(connection) if touch.id not in memory.taken]
    if not waiting and len(touches) < TOUCHES_IDLE:
        return _Pass((), ())
    touched = {touch.host_id for touch in touches} | memory.stale
    views = {pool.id: pool for pool in waiting}
    # Notes are taken for all pools at once, so those in memory take theirs in even if nothing waits there.
    views |= {known.view.id: known.view for known in memory.pools.values() if known.view.id not in views}
    reads = [
        placement_read.pool_read(
            connection,
            view,
            memory.known(view),
            touched,
            window=window if view in waiting else 0,
            now_us=now_us,
            wide=wide,
        )
        for view in views.values()
    ]
    return _Pass(touches, reads)


def _take_in(memory: PlacementMemory, found: _Pass) -> None:
    memory.taken |= {touch.id for touch in found.touches}
    if found.reads:
        memory.stale.clear()
    for read in found.reads:
        if read.base is not None:
            memory.pools[read.pool.id] = _pool_open(read)
        memory.pools[read.pool.id].take_in(read)


def _pool_open(read: PoolRead) -> PoolMemory:
    # Not at the top: a plane that has placed nothing yet does without NumPy's memory and start.
    from kumoi.core.placement.pool import PoolPlacer

    return PoolMemory(read.pool, PoolPlacer(read.pool, POLICY))


def _decide(pool: PoolMemory, read: PoolRead, now_us: int, window: int) -> _Answer:
    """Whose turn it is, where it goes, and what is promised to those who found no place."""
    pool.promises_drop(now_us)
    holds = tuple(pool.promises.values())
    tasks = order(
        read.waiting, read.standings, pool.use, now_us, window, read.prices, tuple(pool.promises)
    ).tasks
    pool.placer.learn(tasks)
    pool.base_renew_due(now_us)
    placed, refused = pool.placer.place(tasks, now_us, holds)
    lacking = _groups(tasks, refused)
    if not lacking:
        return _Answer(tasks, placed, refused, Promises(holds), read.prices)
    after = hosts_after(pool.hosts, placed, {task.id: task for task in tasks}, now_us)
    scene = Scene(pool.outlook, after)
    vain = pool.vain_us.keys()
    promises = promises_make(lacking, pool.view, scene, pool.use, now_us, pool.promises, vain)
    pool.vain_us |= dict.fromkeys(promises.vain, now_us + PROMISE_S * US_PER_S)
    if placed and len(promises.holds) > len(holds):
        # What was promised only now must hold for this pass, too.
        placed, refused = pool.placer.place(tasks, now_us, promises.holds)
    return _Answer(tasks, placed, refused, promises, read.prices)


def _groups(tasks: Iterable[TaskView], refused: Iterable[Refused]) -> list[list[TaskView]]:
    """The groups that found no place, in the order of the queue."""
    lacking = {one.task_id for one in refused}
    waiting = [task for task in tasks if task.id in lacking]
    return [list(group) for _, group in groupby(waiting, key=lambda task: task.gang or task.id)]


def _apply(
    memory: PlacementMemory,
    context: LoopContext,
    fence: Fence,
    pool: PoolMemory,
    answer: _Answer,
    now_us: int,
) -> int:
    """Write what was decided and still holds. Returns how many tasks were placed."""
    pool.promises = {hold.group_id: hold for hold in answer.promises.holds}
    applied = 0
    if answer.placed:
        plan = Plan(POLICY, fence.epoch, now_us, answer.placed, answer.refused)
        decided = pool.decided(plan, answer.tasks, answer.promises.holds, answer.prices)
        written = _plan_write(memory, context, fence, decided)
        if written.placed:
            pool.recorded(decided, written.plan_id)
            context.nudge("tasks")
        applied = written.placed
        for placed in answer.placed:
            pool.promises.pop(decided.tasks[placed.task_id].gang or placed.task_id, None)
    promises = answer.promises
    for attempt_ids, why in ((promises.evicted, "make_room"), (promises.moved, "defragment")):
        if attempt_ids:
            context.store.transact_wait(fence, attempts_preempt, attempt_ids, why, now_us)
            context.nudge("tasks")
    return applied


def _plan_write(memory: PlacementMemory, context: LoopContext, fence: Fence, decided: Decided) -> Applied:
    """Write the plan, and that the notes which led to it were taken."""
    applied = context.store.transact_wait(
        fence,
        placement.plan_apply,
        decided,
        sorted(memory.taken),
        epoch=fence.epoch,
        now_us=decided.plan.decided_us,
        cell=context.cell,
    )
    memory.taken.clear()
    memory.stale |= set(applied.stale)
    return applied
