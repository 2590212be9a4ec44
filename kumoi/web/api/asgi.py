"""The ASGI side of a request: headers, bodies in, answers out (asgi.readthedocs.io, version 3.0)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from kumoi.model.errors import BadRequest, Invalid, TooLarge, UnsupportedMedia
from kumoi.web.api.answer import Answer, Headers, stream_close

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RequestHeaders = dict[bytes, bytes]

_JSON_TYPES = (b"application/json", b"application/json; charset=utf-8", b"application/json;charset=utf-8")
_SHOWN_MAX = 100


class StreamOver(Exception):
    """Whoever gets a stream may not have the rest of it."""


def json_type_check(headers: RequestHeaders) -> None:
    """Refuse a body that does not say that it is JSON in UTF-8. Raises UnsupportedMedia."""
    given = headers.get(b"content-type", b"")
    if given not in _JSON_TYPES and given.lower() not in _JSON_TYPES:
        raise UnsupportedMedia(
            "content_type_unsupported",
            "the body is {given}; send `Content-Type: application/json`",
            at="Content-Type",
            given=given[:_SHOWN_MAX].decode("latin-1") or "of no type",
        )


def length_check(headers: RequestHeaders, limit: int) -> None:
    """Refuse a body that announces more than `limit` bytes before any of it is read. Raises TooLarge."""
    given = headers.get(b"content-length", b"0")
    if given.isdigit() and int(given[:20]) > limit:
        raise too_large(limit)


def no_body_check(headers: RequestHeaders) -> None:
    """Refuse a body where the route has none: it would be ignored. Raises Invalid."""
    if headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        raise Invalid("body_unexpected", "this takes no body; send the request without one")


def too_large(limit: int) -> TooLarge:
    """The refusal of a body over its limit."""
    return TooLarge(
        "body_too_large", "the body is larger than {limit} bytes, which is the most allowed here", limit=limit
    )


async def body_read(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises TooLarge, or BadRequest if the client goes away."""
    event = await receive()
    if not event.get("more_body", False) and event["type"] == "http.request":
        body: bytes = event.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        return body
    parts, size = [], 0
    while True:
        part = _part(event)
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
        if not event.get("more_body", False):
            return b"".join(parts)
        event = await receive()


async def body_parts(receive: Receive, limit: int, timeout_s: float) -> AsyncIterator[bytes]:
    """The body as it comes, each part within `timeout_s`. Raises as `body_read` does."""
    size = 0
    while True:
        try:
            async with asyncio.timeout(timeout_s):
                event = await receive()
        except TimeoutError:
            raise BadRequest(
                "body_stalled",
                "no more of the body came within {seconds} s; send it again",
                seconds=timeout_s,
            ) from None
        part = _part(event)
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if part:
            yield part
        if not event.get("more_body", False):
            return


def _part(event: Message) -> bytes:
    if event["type"] != "http.request":
        raise BadRequest("body_cut_short", "the connection ended within the body; send it again")
    body: bytes = event.get("body", b"")
    return body


async def answer_send(send: Send, answer: Answer, fixed: Headers) -> None:
    """Send an answer that is not a stream."""
    await send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *fixed]})
    await send({"type": "http.response.body", "body": answer.body})


async def stream_send(
    receive: Receive,
    send: Send,
    answer: Answer,
    fixed: Headers,
    *,
    stopping: asyncio.Event,
    heartbeat_s: float,
) -> None:
    """Send a stream until it ends, the client goes away or, if it has a heartbeat, the plane stops.

    The stream is closed in every case. What it raises goes on to the server, which cuts the connection:
    the client sees that the answer is not whole.
    """
    assert answer.stream is not None
    gone = asyncio.create_task(_disconnected(receive))
    ends = {gone}
    if answer.heartbeat is not None:
        ends.add(asyncio.create_task(_stopped(stopping)))
    part = asyncio.create_task(_part_next(answer.stream))
    try:
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, *fixed]}
        )
        while True:
            await asyncio.wait({part, *ends}, timeout=heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
            if any(end.done() for end in ends):
                break
            if not part.done():
                if answer.heartbeat is not None:
                    await send({"type": "http.response.body", "body": answer.heartbeat, "more_body": True})
                continue
            sent = part.result()
            if sent is None:
                break
            await send({"type": "http.response.body", "body": sent, "more_body": True})
            part = asyncio.create_task(_part_next(answer.stream))
        await send({"type": "http.response.body", "body": b""})
    finally:
        tasks = (part, *ends)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await stream_close(answer.stream)


async def until_over(sending: Coroutine[None, None, None], over: Coroutine[None, None, None]) -> None:
    """Send to the end, unless `over` is done first: then the connection is cut in the middle of the answer.

    Raises StreamOver, so that the client sees that the answer is not whole.
    """
    tasks = asyncio.ensure_future(sending), asyncio.ensure_future(over)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise StreamOver("the access that the stream was sent under has ended")
        await tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _part_next(stream: AsyncIterator[bytes]) -> bytes | None:
    return await anext(stream, None)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stopped(stopping: asyncio.Event) -> None:
    await stopping.wait()
