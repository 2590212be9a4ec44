"""The record of an operator's session in a tenant: nothing leaves that is not written down before."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from kumoi.app.access_uses import Sent, access_over, use_record
from kumoi.model.access import Actor
from kumoi.web.api.answer import Answer, stream_close

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def session_recorded(plane: "Plane", actor: Actor, call: str, answer: Answer) -> Answer:
    """`answer`, once its record is durable. Actors who used no tenant's grant need none.

    A stream's record says that it began; what it sent is recorded at its end, however it ends. It ends as
    soon as the access does.
    """
    if actor.session is None or not actor.session.used:
        return answer
    if answer.stream is None:
        digest = hashlib.sha256(answer.body).hexdigest()
        await use_record(plane, actor, Sent(call, "whole", answer.status, len(answer.body), digest))
        return answer
    announced = int(dict(answer.headers).get(b"content-length", b"0"))
    try:
        await use_record(plane, actor, Sent(call, "begin", answer.status, announced))
    except BaseException:
        await stream_close(answer.stream)
        raise
    return replace(
        answer,
        stream=_counted(plane, actor, call, answer.status, answer.stream),
        over=lambda: access_over(plane, actor),
    )


async def _counted(
    plane: "Plane", actor: Actor, call: str, status: int, stream: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    digest, size_bytes = hashlib.sha256(), 0
    try:
        async for part in stream:
            digest.update(part)
            size_bytes += len(part)
            yield part
    finally:
        await stream_close(stream)
        sent = Sent(call, "end", status, size_bytes, digest.hexdigest())
        # Whoever reads may be gone and this task cancelled; the record is written all the same.
        await asyncio.shield(asyncio.ensure_future(use_record(plane, actor, sent)))
