"""A connection from outside: its requests, one after the other, each with its slot, body and answer."""

import asyncio
import re
from typing import Final, cast

from kumoi.gateway.bodies import BodyBroken
from kumoi.gateway.forwarding import (
    answer_render,
    id_make,
    ids_complete,
    interim_render,
    request_render,
    switch_render,
)
from kumoi.gateway.heads import HEAD_BYTES_MAX, IDEMPOTENT, RequestHead, ResponseHead, request_parse
from kumoi.gateway.intake import AHEAD_BYTES_MAX, STEP_BYTES, STEP_S, STREAM_WAIT_S, Intake, hung_up
from kumoi.gateway.refusals import Refusal, refusal_answer
from kumoi.gateway.services import Replica, Service
from kumoi.gateway.shared import Shared
from kumoi.gateway.upstream import Upstream

KEEP_ALIVE_S: Final = 60.0
HEAD_TIME_S: Final = 10.0
CLIENT_STALL_S: Final = 60.0
TUNNEL_IDLE_S: Final = 3_600.0
TRIES_MAX: Final = 3
CONNECTIONS_MAX: Final = 16_384
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


class Client(asyncio.Protocol):
    """A connection from outside. Between two requests, or busy with one, or a tunnel, or ending."""

    def __init__(self, shared: Shared, *, trusted: bool) -> None:
        self.arrived = 0.0
        self.deadline_queue = 0.0
        self.deadline = 0.0
        self.between = True
        self._shared = shared
        self._loop = shared.loop
        self._trusted = trusted
        self._transport: asyncio.Transport | None = None
        self._peer = b""
        self._buffer = b""
        self._request: RequestHead | None = None
        self._path = b""
        self._body: Intake | None = None
        self._gathering = False
        self._service: Service | None = None
        self._replica: Replica | None = None
        self._upstream: Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._granted = 0.0
        self._tries = 0
        self._answering = False
        self._close_after = False
        self._tunnel = False

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio.Protocol: begin."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]).encode() if isinstance(peer, tuple) else b"unix"
        self.deadline = self._loop.time() + HEAD_TIME_S
        self._shared.clients.add(self)
        if len(self._shared.clients) > CONNECTIONS_MAX:
            self._refuse_at_once(
                Refusal(503, "connections_too_many", "The gateway has too many connections.", 1)
            )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """asyncio.Protocol: the client is gone, and nobody wants the answer."""
        self._shared.clients.discard(self)
        self._transport = None
        if self._service is None:
            return
        if self._replica is None:
            self._service.cancel(self)
            self._service = None
            return
        if not self._tunnel:
            self._service.counters.abandoned += 1
        self._upstream_drop()
        self._slot_give()

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol: part of a head, of a body, or of a tunnel."""
        if self._tunnel:
            self.deadline = self._loop.time() + TUNNEL_IDLE_S
            if self._upstream is not None:
                self._upstream.write(data)
            return
        self._buffer = self._buffer + data if self._buffer else data
        if self.between:
            self._head_read()
        elif self._body is not None and not self._body.done and (self._gathering or self._upstream):
            self._body_read(self._body)
        elif len(self._buffer) > AHEAD_BYTES_MAX:
            self._read(False)
            self._shared.unread.add(self)

    def eof_received(self) -> bool:
        """asyncio.Protocol: a client that sends no more may still read, but only a tunnel needs that."""
        if self._tunnel and self._upstream is not None:
            self._upstream.write_eof()
            return True
        return False

    def pause_writing(self) -> None:
        """asyncio.Protocol: the client reads slowly, so the replica shall write slowly."""
        self.deadline = self._loop.time() + CLIENT_STALL_S
        if self._upstream is not None:
            self._upstream.reading(False)

    def resume_writing(self) -> None:
        """asyncio.Protocol: the client has read on."""
        if self._upstream is not None:
            self.progress()
            self._upstream.reading(True)

    def reading(self, on: bool) -> None:
        """The replica takes more of the body, or is not as fast as the client."""
        self._read(on)
        if self._body is not None:
            if on:
                self._body.pace_begin(self._loop.time())
            else:
                self._body.pace_stop()
            self.progress()

    def _read(self, on: bool) -> None:
        """Take bytes from the client, or leave them in the kernel."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def close(self) -> None:
        """End the connection once what was written is sent."""
        if self._transport is not None:
            self._transport.close()

    def overdue(self) -> None:
        """The deadline of whatever is going on has passed."""
        if self.between:
            if self._buffer:
                self._refuse_at_once(Refusal(408, "head_timeout", "The request's head did not come in time."))
            else:
                self.close()
        elif self._tunnel or self._answering:
            self._broken()
        elif self._body is not None and self._body.due <= self._loop.time():
            self._body_late()
        elif self._replica is not None and self._service is not None:
            self._upstream_drop()
            self._service.counters.lost += 1
            limit_ms = self._service.route.request_timeout_ms
            self._slot_give()
            self._refuse(Refusal(504, "request_timeout", f"The replica was silent for {limit_ms} ms."))

    def look(self) -> None:
        """End it if the client has left while it waits for a slot and is not read."""
        if self._transport is None or self._service is None or self._replica is not None:
            self._shared.unread.discard(self)
        elif hung_up(self._transport):
            self._transport.abort()

    # a request

    def _head_read(self) -> None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n") + 4
        if end < 4 or end > HEAD_BYTES_MAX:
            if len(buffer) > HEAD_BYTES_MAX:
                self._refuse_at_once(
                    Refusal(431, "head_too_long", f"A head has at most {HEAD_BYTES_MAX} bytes.")
                )
            elif _BARE_LINE_FEED.search(buffer):
                self._refuse_at_once(
                    Refusal(400, "line_end_invalid", "Every line of the head must end with CR LF.")
                )
            elif len(buffer) and self.deadline > self._loop.time() + HEAD_TIME_S:
                self.deadline = self._loop.time() + HEAD_TIME_S
            return
        request = request_parse(buffer[:end])
        self._buffer = buffer[end:]
        if isinstance(request, Refusal):
            self._refuse_at_once(request)
            return
        self._request_begin(request)

    def _request_begin(self, request: RequestHead) -> None:
        self.between = False
        self.deadline = float("inf")
        self._request = request
        self._tries = 0
        self._answering = False
        self._close_after = request.close or self._shared.draining
        ids_complete(request)
        self._body = None if request.length == 0 else Intake(request.length)
        if self._body is None or request.expect:
            self._ask(request)
        else:
            self._gather(self._body, request)

    def _ask(self, request: RequestHead) -> None:
        service, self._path = self._shared.route(request, trusted=self._trusted)
        if service is None:
            self._refuse(Refusal(404, "route_unknown", "No service is at this host and path."))
            return
        self._service = service
        service.ask(self)

    def _gather(self, body: Intake, request: RequestHead) -> None:
        """Take some of the body first: a slow client shall hold no slot meanwhile."""
        self._gathering = True
        body.pace_begin(self._loop.time())
        if request.length is None:
            self._loop.call_later(STREAM_WAIT_S, self._gathered, request)
        self._body_read(body)

    def _gathered(self, request: RequestHead | None) -> None:
        """There is enough of this request's body; ask for its slot if that was not done before."""
        body = self._body
        if not self._gathering or self._request is not request or request is None or body is None:
            return
        self._gathering = False
        body.pace_stop()
        self.deadline = float("inf")
        if not body.done:
            self._read(False)
            self._shared.unread.add(self)
        self._ask(request)

    def grant(self, replica: Replica) -> None:
        """Ticket: a slot is ours; send the request there."""
        self._replica = replica
        self._granted = self._loop.time()
        self._tries += 1
        self.progress()
        assert self._request is not None
        repeatable = self._body is None and self._request.method in IDEMPOTENT
        upstream = self._shared.idle_take(replica, repeatable=repeatable)
        if upstream is not None:
            self._send(upstream)
        else:
            self._connecting = self._loop.create_task(self._connect(replica))

    async def _connect(self, replica: Replica) -> None:
        try:
            upstream = await self._shared.connector.connect(
                replica.endpoint, lambda: Upstream(replica, self._loop)
            )
        except OSError as error:
            self._connecting = None
            self._unreachable(replica, error)
            return
        self._connecting = None
        if self._transport is None:
            upstream.close()
            return
        self._send(upstream)

    def _unreachable(self, replica: Replica, error: OSError) -> None:
        """Nothing was sent, so any request may go elsewhere; the replica waits for its next check."""
        service = self._service
        if service is None:
            return
        self._shared.traffic.replica_suspect(service, replica, f"connecting for a request: {error}")
        self._replica = None
        service.again(self, replica)

    def refuse(self, refusal: Refusal) -> None:
        """Ticket: there will be no slot."""
        self._service = None
        self._refuse(refusal)

    def _send(self, upstream: Upstream) -> None:
        self._upstream = upstream
        request, body = self._request, self._body
        assert request is not None
        head = request_render(request, self._path, b"" if self._trusted else self._peer)
        upstream.begin(self, request.method, request.minor == 0)
        if body is None:
            upstream.write(head)
            return
        if not body.done:
            if not request.expect:
                body.pace_begin(self._loop.time())
            self._read(True)
        upstream.write(head + body.taken())
        if not body.done:
            self._body_read(body)

    def _body_read(self, body: Intake) -> None:
        """Pass on what has come of the body, or keep it until there is a slot."""
        try:
            self._buffer = body.feed(self._buffer, self._loop.time()) if self._buffer else b""
        except BodyBroken as error:
            self._body_refuse(error)
            return
        if self._upstream is None:
            self.deadline = body.due
            if body.enough:
                self._gathered(self._request)
            return
        self.progress()
        part = body.taken()
        if part:
            self._upstream.write(part)

    def _body_late(self) -> None:
        """The client sends too slowly: its slot is for others."""
        if self._replica is not None and self._service is not None:
            self._service.counters.abandoned += 1
        self._upstream_drop()
        self._slot_give()
        self._close_after = True
        self._refuse(Refusal(408, "body_timeout", f"A body must come at {STEP_BYTES} bytes in {STEP_S:g} s."))

    def _body_refuse(self, error: BodyBroken) -> None:
        """The client broke its own framing: the replica never sees the end, the client is told."""
        self._upstream_drop()
        self._slot_give()
        if self._answering:
            self.close()
        else:
            self._close_after = True
            self._refuse(Refusal(400, "body_broken", f"The body cannot be read: {error}."))

    # the answer

    def progress(self) -> None:
        """Something moved; silence is counted from now."""
        assert self._service is not None
        self.deadline = self._loop.time() + self._service.route.request_timeout_ms / 1_000
        if self._body is not None and not self._answering:
            self.deadline = min(self.deadline, self._body.due)

    def interim(self, head: ResponseHead) -> None:
        """1xx from the replica: passed on to who can understand it."""
        assert self._request is not None
        if self._transport is not None and self._request.minor == 1:
            self._transport.write(interim_render(head))
        if head.status == 100 and self._body is not None:
            self._body.pace_begin(self._loop.time())
            self.progress()

    def answer(self, head: ResponseHead, part: bytes) -> None:
        """The replica's head, and the first part of its body."""
        assert self._request is not None
        self._answering = True
        request = self._request
        framing = b""
        if head.declared is not None and head.status >= 200 and head.status != 204:
            framing = b"content-length: %b\r\n" % head.declared
        elif head.length is None and request.minor == 1:
            framing = b"transfer-encoding: chunked\r\n"
        elif head.length is None or head.length < 0:
            self._close_after = True
        if self._body is not None and not self._body.done:
            self._close_after = True
        if self._transport is not None:
            self._transport.write(answer_render(head, framing, request.request_id, self._close_after) + part)
        self.progress()

    def part(self, data: bytes) -> None:
        """More of the body."""
        if self._transport is not None:
            self._transport.write(data)
        self.progress()

    def switched(self, head: ResponseHead, rest: bytes) -> bool:
        """101: from here on bytes pass both ways as they are. False if nobody asked for that."""
        assert self._request is not None
        if self._transport is None or not self._request.upgrade or self._upstream is None:
            return False
        self._tunnel = True
        self._answering = True
        self.deadline = self._loop.time() + TUNNEL_IDLE_S
        self._transport.write(switch_render(head, self._request.request_id) + rest)
        if self._buffer:
            self._upstream.write(self._buffer)
            self._buffer = b""
        return True

    def tunnelled(self, data: bytes) -> None:
        """Bytes of a tunnel."""
        self.deadline = self._loop.time() + TUNNEL_IDLE_S
        if self._transport is not None:
            self._transport.write(data)

    def done(self) -> None:
        """The replica's last byte has been passed on."""
        service = self._service
        if service is not None:
            took_s = self._loop.time() - self._granted
            counters = service.counters
            counters.completed += 1
            counters.service_us += int(took_s * 1_000_000)
            counters.times.add(took_s)
        reusable = self._body is None or self._body.done
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.rest(reusable)
        self._slot_give()
        self._next()

    def failed(self, reason: str, *, began: bool) -> None:
        """The replica ended the connection, or spoke nonsense, before its answer was whole."""
        self._upstream = None
        service, replica = self._service, self._replica
        if service is None or replica is None or self._request is None:
            return
        if self._tunnel:
            self.close()
            self._slot_give()
            return
        repeatable = self._body is None and self._request.method in IDEMPOTENT
        if not began:
            replica.idle_close()  # if it is gone they are, too, and each would cost a try
            self._shared.traffic.suspected(replica)
        if not began and repeatable and self._tries < TRIES_MAX and self._transport is not None:
            self._replica = None
            service.again(self, replica)
            return
        service.counters.lost += 1
        self._slot_give()
        if self._answering:
            self._broken()
        else:
            self._close_after = True
            self._refuse(Refusal(502, "replica_failed", f"The replica gave no whole answer: {reason}."))

    # ends

    def _next(self) -> None:
        """The request is done: the connection ends, or waits for the next one."""
        self._request = None
        self._body = None
        self._gathering = False
        self.between = True
        if self._close_after or self._transport is None:
            self.close()
            return
        self.deadline = self._loop.time() + KEEP_ALIVE_S
        if self._buffer:
            self._read(True)
            self._loop.call_soon(self._ahead_read)

    def _ahead_read(self) -> None:
        """A request that came before the last one was answered."""
        if self.between and self._buffer and self._transport is not None:
            self._head_read()

    def _slot_give(self) -> None:
        service, self._service = self._service, None
        replica, self._replica = self._replica, None
        if service is not None and replica is not None:
            service.release(replica)

    def _upstream_drop(self) -> None:
        """Nobody wants this answer any more."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()

    def _broken(self) -> None:
        """Half an answer went out: only a broken connection tells the client the truth."""
        self._upstream_drop()
        self._slot_give()
        if self._transport is not None:
            self._transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        request = self._request
        if self._transport is None or request is None:
            return
        if self._body is not None and not self._body.done:
            self._close_after = True
        self._transport.write(
            refusal_answer(
                refusal,
                request.request_id,
                close=self._close_after,
                head_only=request.method == b"HEAD",
            )
        )
        self._next()

    def _refuse_at_once(self, refusal: Refusal) -> None:
        """A request that could not be read: where the next one would begin is unknown."""
        if self._transport is not None:
            self._transport.write(refusal_answer(refusal, id_make(), close=True))
            self._transport.close()
        self._buffer = b""
