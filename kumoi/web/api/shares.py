"""Quotas and fair shares of organizations."""

from typing import TYPE_CHECKING

from kumoi.app import shares
from kumoi.model.shares import FairShareWrite, QuotaResource, QuotaWrite
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def quota_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Quotas of an organization, with what is used of them."""
    query = request.query
    return answer_json(
        await shares.quota_list(plane, request.actor, request.path["organization"], query.limit, query.cursor)
    )


async def quota_write(plane: "Plane", request: Request[QuotaWrite, NoQuery]) -> Answer:
    """Limit what live work of an organization holds at once."""
    path = request.path
    resource = QuotaResource(path["resource"])
    return answer_written(
        await shares.quota_write(
            plane, request.actor, path["organization"], resource, request.body, request.if_match
        )
    )


async def quota_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Lift a quota; the If-Match says which version is meant."""
    path = request.path
    resource = QuotaResource(path["resource"])
    return answer_written(
        await shares.quota_delete(plane, request.actor, path["organization"], resource, request.if_match)
    )


async def fair_share_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """The weight of an organization where organizations compete."""
    found = await shares.fair_share_read(plane, request.actor, request.path["organization"])
    return answer_versioned(found)


async def fair_share_write(plane: "Plane", request: Request[FairShareWrite, NoQuery]) -> Answer:
    """Give an organization a weight."""
    return answer_written(
        await shares.fair_share_write(
            plane, request.actor, request.path["organization"], request.body, request.if_match
        )
    )
