"""Operator access: requests, what becomes of them, and what was done with them."""

from typing import TYPE_CHECKING

from kumoi.app import access_requests
from kumoi.model.access_requests import AccessApprove, AccessDeny, AccessExplain, AccessRequestCreate
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def access_request_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Requests of operators about an organization, newest first."""
    query = request.query
    return answer_json(
        await access_requests.access_request_list(
            plane, request.actor, request.path["organization"], query.limit, query.cursor
        )
    )


async def access_request_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One request, with the statement that approves it."""
    return answer_versioned(
        await access_requests.access_request_read(
            plane, request.actor, request.path["organization"], request.path["access_request"]
        )
    )


async def access_use_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """What an operator read or did with a request, oldest first; for the organization only."""
    query = request.query
    return answer_json(
        await access_requests.access_use_list(
            plane,
            request.actor,
            request.path["organization"],
            request.path["access_request"],
            query.limit,
            query.cursor,
        )
    )


async def access_request_create(plane: "Plane", request: Request[AccessRequestCreate, NoQuery]) -> Answer:
    """Ask an organization for access to something of it."""
    return answer_written(
        await access_requests.access_request_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def access_request_approve(plane: "Plane", request: Request[AccessApprove, NoQuery]) -> Answer:
    """Approve with a signature of the organization's key over exactly what is granted."""
    return answer_written(
        await access_requests.access_request_approve(
            plane,
            request.actor,
            request.path["organization"],
            request.path["access_request"],
            request.body,
            request.key,
        )
    )


async def access_request_deny(plane: "Plane", request: Request[AccessDeny, NoQuery]) -> Answer:
    """Say no to a request."""
    return answer_written(
        await access_requests.access_request_deny(
            plane,
            request.actor,
            request.path["organization"],
            request.path["access_request"],
            request.body,
            request.key,
        )
    )


async def access_request_explain(plane: "Plane", request: Request[AccessExplain, NoQuery]) -> Answer:
    """Explain to the organization why the glass was broken."""
    return answer_written(
        await access_requests.access_request_explain(
            plane,
            request.actor,
            request.path["organization"],
            request.path["access_request"],
            request.body,
            request.key,
        )
    )


async def access_request_revoke(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """End an operator's access at once, with what it is reading."""
    path = request.path
    return answer_written(
        await access_requests.access_request_revoke(
            plane, request.actor, path["organization"], path["access_request"], request.key
        )
    )


async def access_request_end(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Take a request back, or give the access back."""
    path = request.path
    return answer_written(
        await access_requests.access_request_end(
            plane, request.actor, path["organization"], path["access_request"], request.key
        )
    )


async def access_request_confirm(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Confirm, as a second operator, that the glass is broken."""
    path = request.path
    return answer_written(
        await access_requests.access_request_confirm(
            plane, request.actor, path["organization"], path["access_request"], request.key
        )
    )
