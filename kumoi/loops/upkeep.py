"""What need not be prompt: leases, meters, shares, and attempts that an engine lost sight of."""

from kumoi.engines.base import Engine, EngineError, Observation
from kumoi.loops.context import LoopContext
from kumoi.loops.shares import shares_keep
from kumoi.loops.tasks import attempts_collect, attempts_record, end_of, end_without_record
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.time import US_PER_S
from kumoi.store import attempts
from kumoi.store.placement import LEASE_US
from kumoi.store.schema import AnyRow
from kumoi.store.writer import Fence

LEASE_LEFT_US = 40 * US_PER_S
"""A lease with less than this left is moved."""
EXPIRED_MARGIN_US = 10 * US_PER_S
"""How long after its lease an attempt that nobody heard of is taken for ended."""
START_MARGIN_US = 10 * US_PER_S
PAGE = 1_000
PAGES_MAX = 1_000
METER_LIMIT = 100


def upkeep_activate(context: LoopContext, fence: Fence) -> bool:
    """One pass over every engine and all shares; what fails keeps nothing else waiting.

    The first failure is raised at the end.
    """
    failures: list[Exception] = []
    for engine in context.engines.values():
        for step in (_engine_keep, leases_expire):
            try:
                step(context, engine, fence)
            except Exception as error:
                failures.append(error)
    try:
        shares_keep(context, fence)
    except Exception as error:
        failures.append(error)
    if failures:
        raise failures[0]
    return False


def _engine_keep(context: LoopContext, engine: Engine, fence: Fence) -> None:
    """What needs the engine's word. What had not ended when it was asked ran until then, and is metered."""
    asked_us = context.clock_us()
    attempts_collect(context, engine, fence)
    attempts_reconcile(context, engine, fence)
    leases_renew(context, engine, fence)
    context.store.transact_wait(fence, attempts.attempts_meter, engine.name, asked_us, METER_LIMIT)


def leases_renew(context: LoopContext, engine: Engine, fence: Fence) -> None:
    """Move the leases that are due: first in the store, then at the engine."""
    now_us = context.clock_us()
    leased = context.store.read_wait(attempts.attempts_leased, engine.name)
    due = [row.id for row in leased if now_us < row.lease_us < now_us + LEASE_LEFT_US]
    if not due:
        return
    lease_us = now_us + LEASE_US
    context.store.transact_wait(fence, attempts.leases_move, due, lease_us)
    engine.renew(dict.fromkeys(due, lease_us))


def leases_expire(context: LoopContext, engine: Engine, fence: Fence) -> None:
    """End attempts whose lease is over: wherever they ran, they do not any more."""
    now_us = context.clock_us()
    leased = context.store.read_wait(attempts.attempts_leased, engine.name)
    ends = [
        end_without_record(
            row.id, AttemptOutcome.HOST_LOST, row.started_us, row.lease_us, "the lease ran out"
        )
        for row in leased
        if row.lease_us + EXPIRED_MARGIN_US < now_us
    ]
    attempts_record(context, engine, fence, {}, ends)


def attempts_reconcile(context: LoopContext, engine: Engine, fence: Fence) -> None:
    """Record what the engine saw and the plane missed; end what the engine knows nothing of any more."""
    asked_us = context.clock_us()
    known = _observe_all(engine)
    rows = _started_all(context, engine)
    ends = [end_of(known[row.id]) for row in rows if row.id in known and known[row.id].exit is not None]
    ends += [
        end_without_record(row.id, AttemptOutcome.HOST_LOST, row.started_us, asked_us, "the engine lost it")
        for row in rows
        if row.id not in known and row.start_before_us + START_MARGIN_US < asked_us
    ]
    attempts_record(context, engine, fence, {}, ends)


def _started_all(context: LoopContext, engine: Engine) -> list[AnyRow]:
    rows: list[AnyRow] = []
    for _ in range(PAGES_MAX):
        after_id = rows[-1].id if rows else ""
        states = ("running", "stopping")
        page = context.store.read_wait(attempts.attempts_live, engine.name, states, after_id, PAGE)
        rows += page
        if len(page) < PAGE:
            break
    return rows


def _observe_all(engine: Engine) -> dict[str, Observation]:
    known: dict[str, Observation] = {}
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        page = engine.observe(cursor, PAGE)
        known |= {item.ref: item for item in page.items}
        cursor = page.cursor
        if cursor is None:
            return known
    raise EngineError(f"the engine {engine.name} lists more than {PAGES_MAX * PAGE} attempts; purge old ones")
