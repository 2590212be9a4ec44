"""Plans of capacity: which devices are to serve where, from when, until when."""

from datetime import date

from kumoi.app.answers import answer
from kumoi.app.plane import Plane, not_found
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.capacity import CapacityPlan, CapacityPlanCreate
from kumoi.model.errors import Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.records import Page
from kumoi.model.time import time_format
from kumoi.store import capacity_plans, schema
from kumoi.store.database import Connection
from kumoi.store.device_models import device_model_get
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.sites import site_get
from kumoi.store.writer import Change

_NO_CONTENT = Written(204, b"")


async def capacity_plan_list(
    plane: Plane, actor: Actor, limit: int, cursor: str | None
) -> Page[CapacityPlan]:
    """Every plan, oldest first."""
    await plane.authorize(actor, Action.CAPACITY_PLAN_LIST, PLATFORM_TARGET)
    after = plane.cursors.open("capacity-plans", cursor)
    rows = await plane.store.read(capacity_plans.capacity_plan_list, limit + 1, after)
    return plane.cursors.page("capacity-plans", rows, limit, lambda plan: plan.id)


async def capacity_plan_create(
    plane: Plane, actor: Actor, body: CapacityPlanCreate, key: IdempotencyKey | None
) -> Written:
    """Plan devices of a known model at a site."""
    return await plane.replay_or(key, _capacity_plan_create(plane, actor, body, key))


async def _capacity_plan_create(
    plane: Plane, actor: Actor, body: CapacityPlanCreate, key: IdempotencyKey | None
) -> Written:
    await plane.authorize(actor, Action.CAPACITY_PLAN_CREATE, PLATFORM_TARGET)
    start = day_parse(body.service_start, "/service_start")
    end = None if body.service_end is None else day_parse(body.service_end, "/service_end")
    if end is not None and end < start:
        raise Invalid(
            "service_ends_early",
            "the service ends on {end}, before it starts on {start}; exchange them, or leave out the end",
            at="/service_end",
            start=body.service_start,
            end=body.service_end,
        )
    if await plane.store.read(site_get, body.site) is None:
        raise Invalid(
            "site_unknown",
            "there is no site {site}; take an id from the list of sites",
            at="/site",
            site=body.site,
        )
    if await plane.store.read(device_model_get, body.model) is None:
        raise Invalid(
            "device_model_unknown",
            "there is no device model {model}; write it from its datasheet first",
            at="/model",
            model=body.model,
        )
    now_us = plane.clock_us()
    facts = {
        "site": body.site,
        "model": body.model,
        "count": body.count,
        "service_start": body.service_start,
        "service_end": body.service_end,
        "note": body.note,
    }
    made = CapacityPlan(
        id=id_new(IdKind.CAPACITY_PLAN, plane.region.cell),
        site=body.site,
        model=body.model,
        count=body.count,
        service_start=body.service_start,
        service_end=body.service_end,
        note=body.note,
        created_at=time_format(now_us),
        version=1,
    )
    row = {name: value for name, value in facts.items() if name != "site"}
    row |= {"id": made.id, "site_id": body.site, "created_us": now_us}
    event = _event(plane, actor, Action.CAPACITY_PLAN_CREATE, made, now_us)
    inserts = [(schema.capacity_plans, [row]), (schema.events, [event])]
    return await plane.commit(Change(inserts, key=key, answer=answer(201, made, 1)))


async def capacity_plan_delete(plane: Plane, actor: Actor, plan_id: str) -> Written:
    """Drop a plan; what was planned stays in its events."""
    await plane.authorize(actor, Action.CAPACITY_PLAN_DELETE, PLATFORM_TARGET, named=plan_id)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        plan = capacity_plans.capacity_plan_get(connection, plan_id)
        if plan is None:
            raise not_found(plan_id)
        capacity_plans.capacity_plan_delete(connection, plan_id)
        event = _event(plane, actor, Action.CAPACITY_PLAN_DELETE, plan, now_us)
        return Change([(schema.events, [event])], answer=_NO_CONTENT)

    return await plane.commit_built(build)


def day_parse(text: str, at: str) -> date:
    """The day that `text` names. Raises Invalid at that place of the request where there is no such day."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid(
            "day_invalid", "there is no day {day}; write it as 2026-03-31", at=at, day=text
        ) from None


def _event(plane: Plane, actor: Actor, action: Action, plan: CapacityPlan, now_us: int) -> dict[str, object]:
    return event_row(
        action,
        at_us=now_us,
        actor=actor.id,
        resource=plan.id,
        organization=plane.region.platform_organization_id,
        detail={
            "site": plan.site,
            "model": plan.model,
            "count": plan.count,
            "service_start": plan.service_start,
            "service_end": plan.service_end,
            "note": plan.note,
        },
    )
