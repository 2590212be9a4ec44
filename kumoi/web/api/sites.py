"""Sites."""

from typing import TYPE_CHECKING

from kumoi.app import sites
from kumoi.model.places import SiteCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def site_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Sites of the region."""
    return answer_json(await sites.site_list(plane, request.actor, request.query.limit, request.query.cursor))


async def site_create(plane: "Plane", request: Request[SiteCreate, NoQuery]) -> Answer:
    """Add a site."""
    return answer_written(await sites.site_create(plane, request.actor, request.body, request.key))
