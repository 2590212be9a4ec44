"""Secrets of a project: written here, read by its tasks only."""

from typing import TYPE_CHECKING

from kumoi.app import secrets
from kumoi.model.records import SecretWrite
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def secret_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Names of the secrets of a project, without their values."""
    query = request.query
    return answer_json(
        await secrets.secret_list(plane, request.actor, request.path["project"], query.limit, query.cursor)
    )


async def secret_write(plane: "Plane", request: Request[SecretWrite, NoQuery]) -> Answer:
    """Create or replace a secret."""
    path = request.path
    return answer_written(
        await secrets.secret_write(
            plane, request.actor, path["project"], path["name"], request.body, request.if_match
        )
    )


async def secret_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Delete a secret; the If-Match says which version is meant."""
    path = request.path
    return answer_written(
        await secrets.secret_delete(plane, request.actor, path["project"], path["name"], request.if_match)
    )
