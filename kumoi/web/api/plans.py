"""Plans of placement."""

from typing import TYPE_CHECKING

from kumoi.app import plans
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def plan_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Plans, newest first."""
    return answer_json(await plans.plan_list(plane, request.actor, request.query.limit, request.query.cursor))


async def plan_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """A plan with everything that it was decided on."""
    return answer_json(await plans.plan_read(plane, request.actor, request.path["plan"]))
