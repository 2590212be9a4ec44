"""Organizations."""

from typing import TYPE_CHECKING

from kumoi.app import organizations
from kumoi.model.access import OrganizationCreate
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def organization_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Every organization, for operators."""
    return answer_json(
        await organizations.organization_list(plane, request.actor, request.query.limit, request.query.cursor)
    )


async def organization_create(plane: "Plane", request: Request[OrganizationCreate, NoQuery]) -> Answer:
    """Create an organization with its first administrator, whose token is answered once."""
    return answer_written(
        await organizations.organization_create(plane, request.actor, request.body, request.key)
    )


async def organization_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One organization."""
    return answer_versioned(
        await organizations.organization_read(plane, request.actor, request.path["organization"])
    )


async def organization_suspend(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Suspend an organization: none of its tokens works, what it runs goes on."""
    return answer_written(
        await organizations.organization_suspend(
            plane, request.actor, request.path["organization"], request.key
        )
    )


async def organization_resume(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """End the suspension of an organization."""
    return answer_written(
        await organizations.organization_resume(
            plane, request.actor, request.path["organization"], request.key
        )
    )
