"""Orphans: what engines hold and no row asks for. Ends only what is ours for certain, a few per cycle."""

import logging

from kumoi.engines.base import Engine, Phase
from kumoi.loops.context import LoopContext
from kumoi.store.orphans import Claim, refs_claim
from kumoi.store.writer import Fence

CYCLE_CAP = 50
PAGE = 1_000
PAGES_MAX = 1_000
GRACE_S = 5.0

_log = logging.getLogger(__name__)


def orphans_activate(context: LoopContext, _fence: Fence) -> bool:
    """Stop running attempts whose row has ended or left a tombstone; at most CYCLE_CAP per engine.

    References that no row and no tombstone knows are only reported: they may belong to another region, or
    to what a restored backup does not remember.
    """
    for engine in context.engines.values():
        orphans, unknown = _find(context, engine)
        if unknown:
            _log.warning("the engine %s runs %d attempts unknown here, left alone", engine.name, unknown)
        if orphans:
            _log.warning("ending %d orphans of the engine %s", min(len(orphans), CYCLE_CAP), engine.name)
            engine.stop(orphans[:CYCLE_CAP], GRACE_S)
    return False


def _find(context: LoopContext, engine: Engine) -> tuple[list[str], int]:
    orphans: list[str] = []
    unknown = 0
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = engine.observe(cursor, PAGE)
        running = [item.ref for item in page.items if item.phase is Phase.RUNNING]
        claims = context.store.read_wait(refs_claim, running, context.incarnation)
        orphans += [ref for ref in running if claims[ref] in (Claim.ENDED, Claim.TOMBSTONE)]
        unknown += sum(claim is Claim.UNKNOWN for claim in claims.values())
        cursor = page.cursor
        if cursor is None or len(orphans) >= CYCLE_CAP:
            break
    return orphans, unknown
