"""Whether the plane answers."""

from typing import TYPE_CHECKING

from kumoi import __version__
from kumoi.model.records import Health
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def health_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:  # noqa: ARG001
    """That the plane answers, which version it is and which region."""
    return answer_json(Health("ok", __version__, plane.region.name))
