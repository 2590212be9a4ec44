"""Events: what was done and refused, as lists, as a watch, and with what proves them."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from kumoi.app import events
from kumoi.model.records import Event
from kumoi.web.api.answer import Answer, answer_json, stream_close
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane

HEARTBEAT = b":\n\n"
_WATCH_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)
_encoder = msgspec.json.Encoder()


async def event_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Events of an organization."""
    query = request.query
    return answer_json(
        await events.event_list(plane, request.actor, request.path["organization"], query.limit, query.cursor)
    )


async def event_watch(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Events of an organization as they enter the log; resumes after Last-Event-ID."""
    watched = await events.event_watch(
        plane, request.actor, request.path["organization"], request.last_event_id
    )
    return Answer(200, _WATCH_HEADERS, stream=_server_sent(watched), heartbeat=HEARTBEAT)


async def platform_event_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """The platform's own events, for operators; never a tenant's."""
    query = request.query
    return answer_json(await events.platform_event_list(plane, request.actor, query.limit, query.cursor))


async def event_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One event."""
    return answer_json(await events.event_read(plane, request.actor, request.path["event"]))


async def receipt_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """What proves that an event is in the log."""
    return answer_json(await events.receipt_read(plane, request.actor, request.path["event"]))


async def _server_sent(watched: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """Events in the form of the HTML standard, section 9.2; the id is the place in the log."""
    try:
        yield HEARTBEAT
        async for event in watched:
            place = b"" if event.log_index is None else b"id: %d\n" % event.log_index
            yield b"%bdata: %b\n\n" % (place, _encoder.encode(event))
    finally:
        await stream_close(watched)
