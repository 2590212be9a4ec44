"""What organizations hold and spend, kept current: past use, quotas, budgets, reservations that are over."""

import logging

from kumoi.loops.context import LoopContext
from kumoi.model.time import US_PER_S
from kumoi.store import budgets, reservations, shares
from kumoi.store.writer import Fence

EVERY_US = 60 * US_PER_S
"""How often past use, quotas and budgets are reckoned."""
BUDGETS_MAX = 20
RESERVATIONS_MAX = 100
_log = logging.getLogger(__name__)


def shares_keep(context: LoopContext, fence: Fence) -> None:
    """One pass; each part looks first whether it is due."""
    now_us = context.clock_us()
    store = context.store
    if store.read_wait(shares.pool_uses_due, now_us - EVERY_US):
        held = store.read_wait(shares.pool_shares_read)
        store.transact_wait(fence, shares.pool_uses_advance, held, now_us)
        for drift in store.transact_wait(fence, shares.quotas_audit):
            _log.warning(
                "the quota of %s of %s said %d, its live attempts hold %d; it is mended",
                drift.resource,
                drift.organization_id,
                drift.used,
                drift.held,
            )
    due = store.read_wait(budgets.budgets_due, now_us - EVERY_US, BUDGETS_MAX)
    if due:
        store.transact_wait(fence, budgets.budgets_advance, due, now_us)
    if store.read_wait(reservations.reservations_over, now_us):
        store.transact_wait(fence, reservations.reservations_end, now_us, RESERVATIONS_MAX)
        context.nudge("placement")
