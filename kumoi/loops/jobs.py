"""Jobs whose turn has come: dependencies met, tasks written."""

from kumoi.loops.context import LoopContext
from kumoi.store.jobs import jobs_expand, jobs_expandable, jobs_release, jobs_waiting
from kumoi.store.writer import Fence

RELEASE_LIMIT = 500
EXPAND_LIMIT = 200
LOOKAHEAD = 2_000
"""Tasks that may wait in a pool; more jobs stay pending until these have gone."""


def jobs_activate(context: LoopContext, fence: Fence) -> bool:
    """Release waiting jobs, then write the tasks of those whose turn it is. Writes only for some."""
    now_us = context.clock_us()
    released = expanded = 0
    if context.store.read_wait(jobs_waiting):
        released = context.store.transact_wait(fence, jobs_release, now_us, RELEASE_LIMIT)
    if context.store.read_wait(jobs_expandable, LOOKAHEAD):
        expanded = context.store.transact_wait(
            fence, jobs_expand, now_us, context.cell, LOOKAHEAD, EXPAND_LIMIT
        )
    if expanded:
        context.nudge("placement")
    return released > 0 or expanded > 0
