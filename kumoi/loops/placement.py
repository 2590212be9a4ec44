"""Placement: take in what changed, decide, apply what still holds.

The hosts of each pool are kept in memory and follow the rows by the notes of what changed (`host_touches`).
Memory may be lost at any line: it is read anew from the rows, and the next plan records a new base.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kumoi.core.placement.snapshot import HostView, Inputs, Plan, PoolView, inputs_digest
from kumoi.loops.context import LoopContext
from kumoi.store import placement, placement_read
from kumoi.store.database import Connection
from kumoi.store.placement import Applied, Decided
from kumoi.store.placement_read import PoolRead, Touch
from kumoi.store.writer import Fence

if TYPE_CHECKING:
    from kumoi.core.placement.pool import PoolPlacer

POLICY = "best_fit"
WINDOW = 64
WINDOW_MAX = 5_000
"""What waits is looked at a window at a time; widely only when nothing of the first window fits."""
BASE_EVERY = 1_000
"""Plans of a pool that follow one recorded base."""
TOUCHES_IDLE = 500
"""So many notes of changed hosts are taken in even when nothing waits."""


@dataclass(slots=True)
class _Pool:
    """A pool in memory, and what the next recorded plan must tell of it."""

    view: PoolView
    placer: "PoolPlacer"
    hosts: dict[str, HostView]
    changed: dict[str, None] = field(default_factory=dict)
    """Hosts that changed since the plan recorded last, in the order of their first change."""
    gone: set[str] = field(default_factory=set)
    base_id: str | None = None
    """The plan that recorded all hosts; None while none has, or a new one is due."""
    previous_id: str | None = None
    digest: str = ""
    plans: int = 0
    learned: bytes | None = None

    def base(self) -> tuple[HostView, ...]:
        """All hosts, in the order of a replay's rows."""
        return tuple(self.hosts[host_id] for host_id in sorted(self.hosts))

    def take_in(self, read: PoolRead) -> None:
        """Follow the rows."""
        self.placer.hosts_put(read.changed)
        self.placer.hosts_remove(read.gone)
        for view in read.changed:
            self.hosts[view.id] = view
            self.changed.setdefault(view.id)
            self.gone.discard(view.id)
        for host_id in read.gone:
            del self.hosts[host_id]
            self.gone.add(host_id)

    def renew(self) -> None:
        """Begin a new chain of recorded inputs."""
        self.placer = self.placer.anew(self.base())
        self.base_id = self.previous_id = None
        self.plans = 0
        self.changed.clear()
        self.gone.clear()

    def recorded(self, decided: Decided, plan_id: str) -> None:
        """The plan is in the store: the next one tells only what changed since."""
        self.base_id = self.base_id or plan_id
        self.previous_id, self.digest = plan_id, decided.plan.snapshot_digest
        self.plans += 1
        self.changed.clear()
        self.gone.clear()
        if decided.inputs.learned is not None:
            self.learned = decided.inputs.learned


@dataclass(slots=True)
class PlacementMemory:
    """What the loop remembers between activations, under one lease epoch."""

    epoch: int = -1
    pools: dict[str, _Pool] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    """Notes taken in and not yet removed from the store."""
    stale: set[str] = field(default_factory=set)
    """Hosts that had changed when a plan was applied: read again, whether or not somebody noted it."""

    def forget(self, epoch: int) -> None:
        """Begin anew: somebody else may have placed in between."""
        self.epoch = epoch
        self.pools, self.taken, self.stale = {}, set(), set()


@dataclass(frozen=True, slots=True)
class _Pass:
    """What one activation reads, in one transaction."""

    touches: Sequence[Touch]
    reads: Sequence[PoolRead]


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
    more = False
    stuck = False
    for read in found.reads:
        decided, broken = _pool_place(memory, context, fence, read, now_us)
        full = len(read.tasks) >= window
        stuck = stuck or (full and not decided)
        more = more or (decided and (full or broken > 0))
    if len(memory.taken) >= TOUCHES_IDLE:
        context.store.transact_wait(fence, placement.touches_drop, sorted(memory.taken))
        memory.taken.clear()
    if not wide and stuck:
        return _pass(memory, context, fence, WINDOW_MAX, wide=True) or more
    if not any(len(read.tasks) >= window for read in found.reads):
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
            known.hosts.keys() if known is not None and known.view == view else None,
            touched,
            task_limit=window if view in waiting else 0,
            now_us=now_us,
            wide=wide,
        )
        for view in views.values()
        for known in (memory.pools.get(view.id),)
    ]
    return _Pass(touches, reads)


def _take_in(memory: PlacementMemory, found: _Pass) -> None:
    memory.taken |= {touch.id for touch in found.touches}
    memory.stale.clear()
    for read in found.reads:
        if read.base is not None:
            memory.pools[read.pool.id] = _pool_open(read)
            continue
        memory.pools[read.pool.id].take_in(read)


def _pool_open(read: PoolRead) -> _Pool:
    # Not at the top: a plane that has placed nothing yet does without NumPy's memory and start.
    from kumoi.core.placement.pool import PoolPlacer

    placer = PoolPlacer(read.pool, POLICY)
    base = read.base or ()
    placer.hosts_put(base)
    return _Pool(read.pool, placer, {view.id: view for view in base})


def _pool_place(
    memory: PlacementMemory, context: LoopContext, fence: Fence, read: PoolRead, now_us: int
) -> tuple[bool, int]:
    """Decide for the waiting tasks of a pool and write what still holds.

    Returns whether anything was decided, and how many placements did not hold.
    """
    pool = memory.pools[read.pool.id]
    pool.placer.learn(read.tasks)
    if pool.plans >= BASE_EVERY or (pool.base_id is None and (pool.changed or pool.gone)):
        pool.renew()
    placed, refused = pool.placer.place(read.tasks, now_us)
    if not placed:
        return False, 0
    inputs = _inputs(pool, read, now_us, fence.epoch)
    digest = inputs_digest("" if inputs.base is not None else pool.digest, inputs)
    decided = Decided(
        plan=Plan(POLICY, fence.epoch, now_us, digest, placed, refused),
        inputs=inputs,
        generations={one.host_id: pool.hosts[one.host_id].generation for one in placed},
        tasks={task.id: task for task in read.tasks},
        base_id=pool.base_id,
        previous_id=pool.previous_id,
    )
    applied = _apply(memory, context, fence, decided)
    if applied.placed:
        pool.recorded(decided, applied.plan_id)
        context.nudge("tasks")
    return True, len(placed) - applied.placed


def _apply(memory: PlacementMemory, context: LoopContext, fence: Fence, decided: Decided) -> Applied:
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


def _inputs(pool: _Pool, read: PoolRead, now_us: int, seed: int) -> Inputs:
    """What this plan is decided on: a base, or what changed since the plan recorded last."""
    follows = pool.base_id is not None
    learned = pool.placer.learned()
    return Inputs(
        pool=pool.view,
        base=None if follows else pool.base(),
        changed=tuple(pool.hosts[name] for name in pool.changed if name in pool.hosts) if follows else (),
        gone=tuple(sorted(pool.gone)) if follows else (),
        tasks=read.tasks,
        policy=POLICY,
        learned=learned if not follows or learned != pool.learned else None,
        now_us=now_us,
        seed=seed,
    )
