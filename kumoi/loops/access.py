"""What time does to operator access: requests lapse, access expires, unexplained broken glass is an incident.

Nothing waits for this loop: an operator's access is judged by the clock at every request.
"""

from kumoi.loops.context import LoopContext
from kumoi.store.access_requests import access_requests_expire
from kumoi.store.writer import Fence

BATCH = 100


def access_activate(context: LoopContext, fence: Fence) -> bool:
    """Move what is due. Whether there may be more."""
    moved = context.store.transact_wait(
        fence, access_requests_expire, context.platform_organization_id, context.clock_us(), BATCH
    )
    if moved:
        context.nudge("notices")
    return moved == BATCH
