"""Notices: where an organization wants them, and how the sending of each fares."""

from typing import TYPE_CHECKING

from kumoi.app import notices
from kumoi.model.notices import NoticeTargetCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def notice_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Notices on their way to the targets of an organization, newest first."""
    return answer_json(
        await notices.notice_list(
            plane, request.actor, request.path["organization"], request.query.limit, request.query.cursor
        )
    )


async def notice_target_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Where notices of an organization go."""
    return answer_json(
        await notices.notice_target_list(
            plane, request.actor, request.path["organization"], request.query.limit, request.query.cursor
        )
    )


async def notice_target_create(plane: "Plane", request: Request[NoticeTargetCreate, NoQuery]) -> Answer:
    """Add a webhook or a mail address; the secret of a webhook is answered once."""
    return answer_written(
        await notices.notice_target_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def notice_target_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Remove a target of notices."""
    return answer_written(
        await notices.notice_target_delete(plane, request.actor, request.path["notice_target"])
    )


async def notice_target_test(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Send a trial notice to a target, once."""
    return answer_written(
        await notices.notice_target_test(plane, request.actor, request.path["notice_target"], request.key)
    )
