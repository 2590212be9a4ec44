"""Plans: what placement decided, with what it was decided on."""

from kumoi.app.plane import Plane, not_found
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.ids import IdKind, id_is
from kumoi.model.plans import PlanRecord, PlanSummary
from kumoi.model.records import Page
from kumoi.store import plans


async def plan_list(plane: Plane, actor: Actor, limit: int, cursor: str | None) -> Page[PlanSummary]:
    """Plans that are still kept, newest first."""
    await plane.authorize(actor, Action.PLAN_LIST, PLATFORM_TARGET)
    before = plane.cursors.open("plans", cursor)
    rows = await plane.store.read(plans.plan_list, limit + 1, before)
    return plane.cursors.page("plans", rows, limit, lambda plan: plan.id)


async def plan_read(plane: Plane, actor: Actor, plan: str) -> PlanRecord:
    """One plan with all that it was decided on. It names work of every organization in its pool."""
    await plane.authorize(actor, Action.PLAN_READ, PLATFORM_TARGET, named=plan)
    record = await plane.store.read(plans.plan_record, plan) if id_is(IdKind.PLAN, plan) else None
    if record is None:
        raise not_found(plan)
    return record
