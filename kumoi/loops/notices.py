"""Notices: tell each to the targets that want it."""

from kumoi.loops.context import LoopContext
from kumoi.store.notices import notice_expand
from kumoi.store.writer import Fence


def notices_activate(context: LoopContext, fence: Fence) -> bool:
    """Write the sendings of one notice. More at once while others wait."""
    return context.store.transact_wait(fence, notice_expand, context.clock_us())
