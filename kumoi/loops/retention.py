"""Retention: each kind of record has a time of its own. Events and log entries stay for ever."""

from kumoi.engines.base import Engine
from kumoi.loops.context import LoopContext
from kumoi.loops.volumes import volumes_ensure
from kumoi.model.time import US_PER_S
from kumoi.store import retention
from kumoi.store.notices import notices_drop
from kumoi.store.writer import Fence

LIMIT = 500
HOUR_US = 3_600 * US_PER_S
MINUTE_US = 60 * US_PER_S
KEY_US = 24 * HOUR_US
UNREACHABLE_ROUNDS_MAX = 20


def retention_activate(context: LoopContext, fence: Fence) -> bool:
    """Drop a bounded part of what is over; more to do while a limit was reached."""
    now_us = context.clock_us()
    keep = context.retention
    steps = (
        (retention.refusals_close, now_us // MINUTE_US * MINUTE_US),
        (retention.idempotency_keys_drop, now_us - KEY_US),
        (retention.plans_drop, now_us - keep.plan_s * US_PER_S),
        (retention.scalings_drop, now_us - keep.plan_s * US_PER_S),
        (notices_drop, now_us - keep.plan_s * US_PER_S),
        (retention.machines_drop, now_us - keep.job_s * US_PER_S),
        (retention.services_drop, now_us - keep.job_s * US_PER_S),
    )
    most = max(context.store.transact_wait(fence, step, before_us, LIMIT) for step, before_us in steps)
    before_us = now_us - keep.job_s * US_PER_S
    dropped = context.store.transact_wait(fence, retention.jobs_drop, before_us, context.incarnation, LIMIT)
    purged = [_logs_purge(context, engine, fence, now_us) for engine in context.engines.values()]
    return max(most, dropped, *purged) >= LIMIT


def _logs_purge(context: LoopContext, engine: Engine, fence: Fence, now_us: int) -> int:
    """Remove old logs, and what is left of attempts whose rows are gone. Returns how many.

    What belongs to an organization whose volume cannot be reached now waits, and keeps nobody else waiting.
    """
    before_us = now_us - context.retention.task_log_s * US_PER_S
    unreachable: set[str] = set()
    for _ in range(UNREACHABLE_ROUNDS_MAX):
        found = context.store.read_wait(
            retention.remains_to_purge, engine.name, before_us, sorted(unreachable), LIMIT
        )
        missing = volumes_ensure(context, {remains.organization_id for remains in found})
        reached = [remains for remains in found if remains.organization_id not in missing]
        if reached:
            engine.purge([remains.ref for remains in reached])
            context.store.transact_wait(fence, retention.purged_record, reached)
        if reached or not missing:
            return len(reached)
        unreachable |= missing.keys()
    return 0
