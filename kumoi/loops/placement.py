"""Placement: take in what changed, order what waits, decide, apply what still holds.

The hosts of each pool are kept in memory and follow the rows by the notes of what changed (`host_touches`).
Memory may be lost at any line: it is read anew from the rows, and the next plan records a new base.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby

from kumoi.core.placement.snapshot import Hold, Placed, Plan, Refused, TaskView
from kumoi.core.queue.order import order
from kumoi.core.queue.outlook import Scene
from kumoi.core.queue.prices import Prices
from kumoi.core.queue.promises import PROMISE_S, Promises, hosts_after, promises_make
from kumoi.engines.base import PlacementGrain
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
"""Tasks that are looked at in one pass. Whose tasks find no place is looked at widely."""
WINDOW_WIDE = 5_000
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
    holds: tuple[Hold, ...]
    """Those that it was decided on."""
    promises: Promises
    prices: Prices


def placement_activate(memory: PlacementMemory, context: LoopContext, fence: Fence) -> bool:
    """Place waiting tasks of every pool. What was not applied is decided again on what changed."""
    if memory.epoch != fence.epoch:
        memory.forget(fence.epoch)
    try:
        more, stuck = _pass(memory, context, fence, None)
        if stuck:
            more = _pass(memory, context, fence, stuck)[0] or more
        return more
    except BaseException:
        # What memory holds may no longer be what the rows say.
        memory.forget(-1)
        raise


def _pass(
    memory: PlacementMemory, context: LoopContext, fence: Fence, wide: Mapping[str, Set[str]] | None
) -> tuple[bool, dict[str, Set[str]]]:
    """One look at all pools, or a wide one at some organizations of some pools.

    Returns whether there is more to do at once, and whose tasks were not all looked at and found no place.
    """
    now_us = context.clock_us()
    choosing = {e.name for e in context.engines.values() if e.placement_grain is PlacementGrain.POOL}
    found = context.store.read_wait(pass_read, memory, now_us, wide, choosing)
    _take_in(memory, found)
    more = False
    stuck: dict[str, Set[str]] = {}
    for read in found.reads:
        pool = memory.pools[read.pool.id]
        pool.wide_after |= read.queues.ends
        answer = _decide(pool, read, now_us)
        applied = _apply(memory, context, fence, pool, answer, now_us)
        more = more or (applied > 0 and _is_more(read, answer, applied))
        behind = _unserved(read, answer)
        if behind:
            stuck[read.pool.id] = pool.wide_next(behind)
    if len(memory.taken) >= TOUCHES_IDLE:
        context.store.transact_wait(fence, placement.touches_drop, sorted(memory.taken))
        memory.taken.clear()
    if not all(read.queues.waiting.keys() <= read.queues.cut for read in found.reads if read.queues.waiting):
        context.nudge("jobs")
    return more, stuck


def _is_more(read: PoolRead, answer: _Answer, applied: int) -> bool:
    """Whether somebody waits who was not looked at, or what was decided did not hold."""
    waiting = sum(len(theirs) for theirs in read.queues.waiting.values())
    return bool(read.queues.cut) or len(answer.tasks) < waiting or applied < len(answer.placed)


def _unserved(read: PoolRead, answer: _Answer) -> Set[str]:
    """The organizations that got nothing though others of their tasks, or all, were not looked at.

    None where all that was looked at found a place: then the next pass is their turn.
    """
    if len(answer.placed) == len(answer.tasks):
        return frozenset()
    placed = {one.task_id for one in answer.placed}
    served = {task.organization_id for task in answer.tasks if task.id in placed}
    looked_at = {task.organization_id for task in answer.tasks}
    return (read.queues.cut | (read.queues.waiting.keys() - looked_at)) - served


def pass_read(
    connection: Connection,
    memory: PlacementMemory,
    now_us: int,
    wide: Mapping[str, Set[str]] | None,
    choosing: Set[str] = frozenset(),
) -> _Pass:
    """What changed and what waits. Hosts of pools in which nothing waits are left for later."""
    waiting = placement_read.pools_waiting(connection, now_us, choosing)
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
            window=WINDOW if view in waiting and wide is None else 0,
            now_us=now_us,
            wide=memory.wide_after(view.id, wide.get(view.id, frozenset())) if wide else None,
            promised=memory.promised(view.id),
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


def _decide(pool: PoolMemory, read: PoolRead, now_us: int) -> _Answer:
    """Whose turn it is, where it goes, and what is promised to those who found no place."""
    most = WINDOW_WIDE if read.queues.ends else WINDOW
    if read.queues.waiting:
        waiting = (one.task for theirs in read.queues.waiting.values() for one in theirs)
        pool.promises_keep({task.gang or task.id for task in waiting})
    kept, holds = pool.promises, pool.holds(now_us)
    dated = [hold.group_id for hold in holds]
    pool.promises_drop(now_us)
    tasks = order(read.queues.waiting, read.standings, pool.use, now_us, most, read.prices, dated).tasks
    pool.placer.learn(tasks)
    pool.base_renew_due(now_us)
    placed, refused = pool.placer.place(tasks, now_us, holds)
    lacking = _groups(tasks, refused)
    if not lacking:
        return _Answer(tasks, placed, refused, holds, Promises(tuple(pool.promises.values())), read.prices)
    after = hosts_after(pool.hosts, placed, {task.id: task for task in tasks}, now_us)
    scene = Scene(pool.outlook, after)
    vain = pool.vain_us.keys()
    promises = promises_make(lacking, pool.view, scene, pool.use, now_us, kept, vain)
    pool.vain_us |= dict.fromkeys(promises.vain, now_us + PROMISE_S * US_PER_S)
    return _Answer(tasks, placed, refused, holds, promises, read.prices)


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
        decided = pool.decided(plan, answer.tasks, answer.holds, answer.prices)
        written = _plan_write(memory, context, fence, decided)
        if written.placed:
            pool.recorded(decided, written.plan_id)
            context.nudge("tasks")
        applied = written.placed
        for task_id in written.task_ids:
            pool.promises.pop(decided.tasks[task_id].gang or task_id, None)
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
