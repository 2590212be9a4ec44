"""Placement: snapshot, decide, apply what still holds."""

from kumoi.core.placement import place
from kumoi.loops.context import LoopContext
from kumoi.store.placement import plan_apply, snapshot_load
from kumoi.store.writer import Fence

TASK_LIMIT = 256


def placement_activate(context: LoopContext, fence: Fence) -> bool:
    """Place waiting tasks. What was not applied is decided again on a fresh snapshot."""
    now_us = context.clock_us()
    snapshot = context.store.read_wait(snapshot_load, TASK_LIMIT)
    if not snapshot.tasks:
        return False
    plan = place(snapshot, now_us, seed=fence.epoch)
    if not plan.placed:
        return False
    applied = context.store.transact_wait(
        fence, plan_apply, plan, snapshot, epoch=fence.epoch, now_us=now_us, cell=context.cell
    )
    context.nudge("tasks", "jobs")
    return applied < len(plan.placed) or len(snapshot.tasks) == TASK_LIMIT
