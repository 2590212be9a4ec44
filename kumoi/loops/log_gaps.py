"""Gaps of the log: noticed when it does not get on, told of once, and once more when it does."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from kumoi.core.log_gaps import LogGap, gap_decide
from kumoi.loops.context import LoopContext
from kumoi.loops.witnesses import Quorum
from kumoi.model.notices import NoticeKind
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.log import event_waiting_since
from kumoi.store.log_gaps import log_gap_write, log_gaps_told
from kumoi.store.notices import notice_row
from kumoi.store.witnesses import published_read
from kumoi.store.writer import Fence

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LogGapsMemory:
    """Since when this plane watches; 0 before its first look."""

    watching_us: int = 0


def log_gaps_activate(
    memory: LogGapsMemory, quorum: Quorum, bound_us: int, context: LoopContext, fence: Fence
) -> bool:
    """Tell of each gap that began or ended."""
    now_us = context.clock_us()
    memory.watching_us = memory.watching_us or now_us
    told = context.store.read_wait(log_gaps_told)
    for gap, since_us in _since(context, quorum).items():
        begins = gap_decide(
            since_us,
            is_told=gap in told,
            watching_us=memory.watching_us,
            now_us=now_us,
            bound_us=bound_us,
        )
        if begins is not None:
            _tell(context, fence, gap, begins=begins)
    return False


def _since(context: LoopContext, quorum: Quorum) -> Mapping[LogGap, int | None]:
    """Per kind of gap: until when things are done; None where nothing waits."""
    placing = context.store.read_wait(event_waiting_since)
    publishing = None
    if quorum.witnesses:
        published = context.store.read_wait(published_read, quorum.log.name, quorum.rules)
        publishing = 0 if published is None else published.at_us
    return {LogGap.PLACING: placing, LogGap.PUBLISHING: publishing}


def _tell(context: LoopContext, fence: Fence, gap: LogGap, *, begins: bool) -> None:
    kind = NoticeKind.LOG_GAP_BEGIN if begins else NoticeKind.LOG_GAP_END
    _log.warning("%s: %s", kind, gap)
    event = event_row(
        kind,
        at_us=context.clock_us(),
        actor=SYSTEM_ACTOR,
        resource=context.platform_organization_id,
        organization=context.platform_organization_id,
        detail={"gap": gap.value},
    )
    context.store.transact_wait(fence, log_gap_write, gap, event, notice_row(kind, event), begins=begins)
    context.nudge("notices")
