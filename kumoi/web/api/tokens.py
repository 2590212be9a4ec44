"""API tokens."""

from typing import TYPE_CHECKING

from kumoi.app import tokens
from kumoi.model.access import TokenCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, TokenListQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def token_list(plane: "Plane", request: Request[None, TokenListQuery]) -> Answer:
    """Tokens of the caller, or of another principal for its administrators."""
    return answer_json(
        await tokens.token_list(
            plane, request.actor, request.query.principal, request.query.limit, request.query.cursor
        )
    )


async def token_create(plane: "Plane", request: Request[TokenCreate, NoQuery]) -> Answer:
    """Create a token, whose secret is answered once."""
    return answer_written(await tokens.token_create(plane, request.actor, request.body, request.key))


async def token_revoke(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Revoke a token for ever."""
    return answer_written(await tokens.token_revoke(plane, request.actor, request.path["token"], request.key))
