"""Placement: snapshot, decide, apply what still holds."""

from kumoi.core.placement import Plan, Snapshot, place
from kumoi.loops.context import LoopContext
from kumoi.store.placement import plan_apply, snapshot_load
from kumoi.store.writer import Fence

WINDOW = 64
WINDOW_MAX = 5_000
"""What waits is looked at a window at a time; widely only when nothing of the first window fits."""


def placement_activate(context: LoopContext, fence: Fence) -> bool:
    """Place waiting tasks. What was not applied is decided again on a fresh snapshot."""
    snapshot, plan = _decide(context, fence, WINDOW, wide=False)
    if not plan.placed and len(snapshot.tasks) >= WINDOW:
        snapshot, plan = _decide(context, fence, WINDOW_MAX, wide=True)
    if len(snapshot.tasks) < WINDOW:
        context.nudge("jobs")
    if not plan.placed:
        return False
    applied = context.store.transact_wait(
        fence, plan_apply, plan, snapshot, epoch=fence.epoch, now_us=plan.decided_us, cell=context.cell
    )
    context.nudge("tasks")
    return applied < len(plan.placed) or len(snapshot.tasks) >= WINDOW


def _decide(context: LoopContext, fence: Fence, window: int, *, wide: bool) -> tuple[Snapshot, Plan]:
    now_us = context.clock_us()
    snapshot = context.store.read_wait(snapshot_load, window, now_us, wide=wide)
    return snapshot, place(snapshot, now_us, seed=fence.epoch)
