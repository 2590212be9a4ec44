"""The keys that an organization approves operator access with."""

from typing import TYPE_CHECKING

from kumoi.app import access_keys
from kumoi.model.access_requests import AccessKeyCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def access_key_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Every key of an organization, retired ones too, oldest first."""
    query = request.query
    return answer_json(
        await access_keys.access_key_list(
            plane, request.actor, request.path["organization"], query.limit, query.cursor
        )
    )


async def access_key_create(plane: "Plane", request: Request[AccessKeyCreate, NoQuery]) -> Answer:
    """Add a public key; a further one needs the signature of an active one."""
    return answer_written(
        await access_keys.access_key_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def access_key_retire(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Let a key approve nothing more."""
    path = request.path
    return answer_written(
        await access_keys.access_key_retire(
            plane, request.actor, path["organization"], path["access_key"], request.key
        )
    )
