"""Plans of capacity."""

from typing import TYPE_CHECKING

from kumoi.app import capacity_plans
from kumoi.model.capacity import CapacityPlanCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def capacity_plan_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Plans of capacity."""
    return answer_json(
        await capacity_plans.capacity_plan_list(
            plane, request.actor, request.query.limit, request.query.cursor
        )
    )


async def capacity_plan_create(plane: "Plane", request: Request[CapacityPlanCreate, NoQuery]) -> Answer:
    """Plan devices at a site."""
    return answer_written(
        await capacity_plans.capacity_plan_create(plane, request.actor, request.body, request.key)
    )


async def capacity_plan_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Drop a plan of capacity."""
    return answer_written(
        await capacity_plans.capacity_plan_delete(plane, request.actor, request.path["capacity_plan"])
    )
