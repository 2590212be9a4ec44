"""Users and service accounts."""

from typing import TYPE_CHECKING

from kumoi.app import principals
from kumoi.model.access import PrincipalCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def principal_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Users and service accounts of an organization."""
    return answer_json(
        await principals.principal_list(
            plane, request.actor, request.path["organization"], request.query.limit, request.query.cursor
        )
    )


async def principal_create(plane: "Plane", request: Request[PrincipalCreate, NoQuery]) -> Answer:
    """Create a user or a service account."""
    return answer_written(
        await principals.principal_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def principal_disable(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Disable a principal: its tokens end at once."""
    return answer_written(
        await principals.principal_disable(plane, request.actor, request.path["principal"], request.key)
    )


async def principal_enable(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Enable a disabled principal."""
    return answer_written(
        await principals.principal_enable(plane, request.actor, request.path["principal"], request.key)
    )
