"""The operations log as C2SP tlog-tiles, for anybody."""

from typing import TYPE_CHECKING

from kumoi.app import log
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane

_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_BYTES = (b"content-type", b"application/octet-stream")
_MOVING = (b"cache-control", b"no-cache")
_FOREVER = (b"cache-control", b"public, max-age=31536000, immutable")


async def log_checkpoint(plane: "Plane", request: Request[None, NoQuery]) -> Answer:  # noqa: ARG001
    """The newest signed checkpoint."""
    return Answer(200, (_TEXT, _MOVING), await log.log_checkpoint(plane))


async def log_tile(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """A tile of hashes, or a bundle of entries; what exists never changes."""
    return Answer(200, (_BYTES, _FOREVER), await log.log_tile(plane, request.path["tile"]))


async def log_witnesses(plane: "Plane", request: Request[None, NoQuery]) -> Answer:  # noqa: ARG001
    """Who cosigns the log, and how far it is published."""
    return answer_json(await log.log_witnesses(plane))


async def log_vkey(plane: "Plane", request: Request[None, NoQuery]) -> Answer:  # noqa: ARG001
    """The verifier key of the log."""
    return Answer(200, (_TEXT, _MOVING), (await log.log_vkey(plane)).encode())
