"""Jobs whose turn has come: dependencies met, tasks written."""

from kumoi.loops.context import LoopContext
from kumoi.store.jobs import jobs_expand, jobs_expandable, jobs_releasable, jobs_release
from kumoi.store.writer import Fence

RELEASE_LIMIT = 500
EXPAND_LIMIT = 200
LOOKAHEAD = 1_000
"""Tasks of an organization that may wait in a pool; its other jobs stay pending until these have gone."""


def jobs_activate(context: LoopContext, fence: Fence) -> bool:
    """Release waiting jobs, then write the tasks of those whose turn it is. Writes only for some."""
    now_us = context.clock_us()
    released = expanded = 0
    releasable = context.store.read_wait(jobs_releasable, RELEASE_LIMIT)
    if releasable:
        released = context.store.transact_wait(fence, jobs_release, releasable, now_us)
    if context.store.read_wait(jobs_expandable, LOOKAHEAD):
        expanded = context.store.transact_wait(
            fence, jobs_expand, now_us, context.cell, LOOKAHEAD, EXPAND_LIMIT
        )
    if expanded:
        context.nudge("placement")
    return released > 0 or expanded >= EXPAND_LIMIT
