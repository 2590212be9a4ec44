"""What attempts used: of a project, an organization, the region."""

from typing import TYPE_CHECKING

from kumoi.app import usage
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import UsageListQuery, UsageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def project_usage_read(plane: "Plane", request: Request[None, UsageQuery]) -> Answer:
    """What a project used in a period."""
    query = request.query
    return answer_json(
        await usage.project_usage_read(
            plane, request.actor, request.path["project"], query.since, query.until
        )
    )


async def organization_usage_read(plane: "Plane", request: Request[None, UsageQuery]) -> Answer:
    """What an organization used in a period."""
    query = request.query
    return answer_json(
        await usage.organization_usage_read(
            plane, request.actor, request.path["organization"], query.since, query.until
        )
    )


async def platform_usage_read(plane: "Plane", request: Request[None, UsageListQuery]) -> Answer:
    """What each organization used in a period, for operators."""
    query = request.query
    return answer_json(
        await usage.platform_usage_read(
            plane, request.actor, query.since, query.until, query.limit, query.cursor
        )
    )
