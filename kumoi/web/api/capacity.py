"""The account of capacity."""

from typing import TYPE_CHECKING

from kumoi.app import capacity
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import CapacityQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def capacity_read(plane: "Plane", request: Request[None, CapacityQuery]) -> Answer:
    """Theoretical peaks of a period, planned and live, day by day, against the criteria of the policy."""
    query = request.query
    return answer_json(
        await capacity.capacity_read(plane, request.actor, query.since, query.until, query.count_from)
    )
