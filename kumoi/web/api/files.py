"""Files of a project, streamed both ways."""

from typing import TYPE_CHECKING

from kumoi.app import files
from kumoi.web.api.answer import PRIVATE, Answer, answer_json, answer_written
from kumoi.web.api.parameters import FileListQuery, NoQuery
from kumoi.web.api.request import RawBody, Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane

_FILE_HEADERS = (
    (b"content-type", b"application/octet-stream"),
    (b"content-disposition", b"attachment"),
    PRIVATE,
)


async def file_list(plane: "Plane", request: Request[None, FileListQuery]) -> Answer:
    """Files of a project whose path begins with a prefix, by path."""
    query = request.query
    return answer_json(
        await files.file_list(
            plane, request.actor, request.path["project"], query.prefix, query.limit, query.cursor
        )
    )


async def file_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """The content of a file."""
    content = await files.file_read(plane, request.actor, request.path["project"], request.path["path"])
    headers = (*_FILE_HEADERS, (b"content-length", b"%d" % content.size_bytes))
    return Answer(200, headers, stream=content.parts)


async def file_write(plane: "Plane", request: Request[RawBody, NoQuery]) -> Answer:
    """Create or replace a file; what was there stays until the whole body has come."""
    path = request.path
    return answer_written(
        await files.file_write(plane, request.actor, path["project"], path["path"], request.body)
    )


async def file_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Delete a file."""
    path = request.path
    return answer_written(await files.file_delete(plane, request.actor, path["project"], path["path"]))
