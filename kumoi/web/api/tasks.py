"""Tasks of a job and what they wrote."""

from typing import TYPE_CHECKING

from kumoi.app import tasks
from kumoi.web.api.answer import PRIVATE, Answer, answer_json
from kumoi.web.api.parameters import LogQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane

_LOG_TYPE = (b"content-type", b"text/plain; charset=utf-8")


async def task_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Tasks of a job by index, with their attempts."""
    query = request.query
    return answer_json(
        await tasks.task_list(plane, request.actor, request.path["job"], query.limit, query.cursor)
    )


async def task_log_read(plane: "Plane", request: Request[None, LogQuery]) -> Answer:
    """What a task wrote, as bytes; follow it by reading on from Kumoi-Next-Offset until Kumoi-Ended."""
    query = request.query
    log = await tasks.task_log_read(
        plane,
        request.actor,
        request.path["job"],
        int(request.path["index"]),
        query.attempt,
        query.stream,
        query.offset,
        query.limit,
    )
    headers = (
        _LOG_TYPE,
        PRIVATE,
        (b"kumoi-next-offset", b"%d" % log.next_offset),
        (b"kumoi-ended", b"true" if log.ended else b"false"),
    )
    return Answer(200, headers, log.data)
