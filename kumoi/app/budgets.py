"""Rates of pools, and what organizations may spend in a month."""

from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.app.shares import NO_CONTENT, events_of, if_match_needed, version_check
from kumoi.core.queue.months import month_of
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.idempotency import Written
from kumoi.model.records import Page
from kumoi.model.shares import Budget, BudgetWrite, Rate, RateWrite
from kumoi.store import budgets, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.writer import Change


async def rate_list(plane: Plane, actor: Actor, limit: int, cursor: str | None) -> Page[Rate]:
    """What work costs, by pool. Work is free in pools that are not named."""
    await plane.authorize(actor, Action.RATE_LIST, PLATFORM_TARGET)
    after = plane.cursors.open("rates", cursor)
    rows = await plane.store.read(budgets.rate_list, limit + 1, after)
    return plane.cursors.page("rates", rows, limit, lambda rate: rate.pool)


async def rate_write(plane: Plane, actor: Actor, pool: str, body: RateWrite, if_match: str | None) -> Written:
    """Set what work costs in a pool."""
    await plane.authorize(actor, Action.RATE_WRITE, PLATFORM_TARGET, named=pool)
    place = await plane.directory.pool(pool)
    if place is None:
        raise not_found(pool)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        known = budgets.rate_get(connection, place.id)
        version_check(pool, if_match, 0 if known is None else known.version)
        written = budgets.rate_put(connection, place.id, body, now_us)
        event = event_row(
            Action.RATE_WRITE,
            at_us=now_us,
            actor=actor.id,
            resource=place.id,
            organization=plane.region.platform_organization_id,
            detail={
                "cpu_core_hour_microyen": body.cpu_core_hour_microyen,
                "memory_gib_hour_microyen": body.memory_gib_hour_microyen,
                "device_hour_microyen": body.device_hour_microyen,
            },
        )
        return Change([(schema.events, [event])], answer=answer(200, written, written.version))

    return await plane.commit_built(build)


async def budget_read(plane: Plane, actor: Actor, organization: str) -> Budget:
    """What an organization may spend this month, and what it spent."""
    organization_id = await organization_authorized(plane, actor, Action.BUDGET_READ, organization)
    found = await plane.store.read(budgets.budget_get, organization_id)
    if found is None:
        month, _ = month_of(plane.clock_us())
        return Budget(organization_id, month, None, 0, 0, 0)
    return found


async def budget_write(
    plane: Plane, actor: Actor, organization: str, body: BudgetWrite, if_match: str | None
) -> Written:
    """Limit what an organization spends in a calendar month (Japan time). What runs may go on."""
    organization_id = await organization_authorized(plane, actor, Action.BUDGET_WRITE, organization)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        known = budgets.budget_get(connection, organization_id)
        version_check("budget", if_match, 0 if known is None else known.version)
        written = budgets.budget_put(connection, organization_id, body, now_us)
        detail = {"month_microyen": body.month_microyen}
        told = events_of(plane, actor, Action.BUDGET_WRITE, organization_id, detail)
        return Change([told], answer=answer(200, written, written.version))

    return await plane.commit_built(build, wake=("placement",))


async def budget_delete(plane: Plane, actor: Actor, organization: str, if_match: str | None) -> Written:
    """Lift a budget; without one nothing changes."""
    organization_id = await organization_authorized(plane, actor, Action.BUDGET_DELETE, organization)
    if_match_needed(if_match)

    def build(connection: Connection) -> Change:
        known = budgets.budget_get(connection, organization_id)
        version_check("budget", if_match, 0 if known is None else known.version)
        if known is None:
            return Change([], answer=NO_CONTENT)
        budgets.budget_drop(connection, organization_id)
        told = events_of(plane, actor, Action.BUDGET_DELETE, organization_id, {})
        return Change([told], answer=NO_CONTENT)

    return await plane.commit_built(build, wake=("placement",))
