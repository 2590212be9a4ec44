"""Decisions of the autoscaler."""

from typing import TYPE_CHECKING

from kumoi.app import scalings
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def scaling_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """A decision about a service's replicas with everything that it was decided on."""
    return answer_json(await scalings.scaling_read(plane, request.actor, request.path["scaling"]))
