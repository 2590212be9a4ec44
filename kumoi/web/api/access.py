"""The caller itself."""

from typing import TYPE_CHECKING

from kumoi.app import access
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def whoami(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Who the token belongs to, its roles and its limits."""
    return answer_json(await access.whoami(plane, request.actor))
