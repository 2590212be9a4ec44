"""A connection to a replica: one request at a time, kept for the next one where both sides allow."""

import asyncio
from typing import Final, Protocol, cast

from kumoi.gateway.bodies import Body, BodyBroken
from kumoi.gateway.heads import HEAD_BYTES_MAX, ResponseHead, response_parse
from kumoi.gateway.services import Replica

IDLE_S: Final = 4.0
"""Less than the five seconds after which common servers close an idle connection."""
FRESH_S: Final = 1.0
"""A request that cannot be repeated takes no connection that was idle for longer."""


class Owner(Protocol):
    """Who asked, and gets the answer."""

    def interim(self, head: ResponseHead) -> None:
        """A 1xx."""

    def answer(self, head: ResponseHead, part: bytes) -> None:
        """The head, with what there is of the body."""

    def part(self, data: bytes) -> None:
        """More of the body."""

    def switched(self, head: ResponseHead, rest: bytes) -> bool:
        """A 101; False if it was not asked for."""

    def tunnelled(self, data: bytes) -> None:
        """Bytes after a 101."""

    def done(self) -> None:
        """The answer is whole."""

    def failed(self, reason: str, *, began: bool) -> None:
        """There will be no whole answer; `began` if a byte of it came."""

    def reading(self, on: bool) -> None:
        """Slow down, or go on."""


class Upstream(asyncio.Protocol):
    """Reads answers strictly; one that does not add up ends the connection."""

    def __init__(self, replica: Replica, loop: asyncio.AbstractEventLoop) -> None:
        self.idle_since = 0.0
        self._replica = replica
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._owner: Owner | None = None
        self._method = b""
        self._unchunk = False
        self._buffer = b""
        self._began = False
        self._body: Body | None = None
        self._close_after = False
        self._until_close = False
        self._tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio.Protocol: begin."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio.Protocol: an idle connection is forgotten; a busy one has ended its answer, or broke it."""
        self._transport = None
        owner, self._owner = self._owner, None
        if owner is None:
            if self in self._replica.idle:
                self._replica.idle.remove(self)
        elif self._body is not None and not self._tunnel and self._until_close:
            owner.done()
        else:
            owner.failed(str(exc) if exc else "it closed the connection", began=self._began)

    def begin(self, owner: Owner, method: bytes, unchunk: bool) -> None:
        """A request is about to be written."""
        self._owner = owner
        self._method = method
        self._unchunk = unchunk
        self._began = False
        self._body = None
        self._close_after = False
        self._until_close = False

    def usable(self, now: float, repeatable: bool) -> bool:
        """Whether an idle connection may carry another request."""
        return self._transport is not None and (
            now - self.idle_since < (IDLE_S if repeatable else FRESH_S) and not self._transport.is_closing()
        )

    def stale(self, now: float) -> bool:
        """Whether it has been idle for long."""
        return now - self.idle_since >= IDLE_S

    def write(self, data: bytes) -> None:
        """Bytes of the request."""
        if self._transport is not None:
            self._transport.write(data)

    def write_eof(self) -> None:
        """A tunnel's client sends no more."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def reading(self, on: bool) -> None:
        """Take bytes from the replica, or leave them in the kernel."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def pause_writing(self) -> None:
        """asyncio.Protocol: the replica reads slowly, so the client shall write slowly."""
        if self._owner is not None:
            self._owner.reading(False)

    def resume_writing(self) -> None:
        """asyncio.Protocol: the replica has read on."""
        if self._owner is not None:
            self._owner.reading(True)

    def close(self) -> None:
        """End an idle connection."""
        if self._transport is not None:
            self._transport.close()

    def abandon(self) -> None:
        """End it in the middle of an answer: the replica learns that nobody listens."""
        self._owner = None
        if self._transport is not None:
            self._transport.abort()

    def rest(self, reusable: bool) -> None:
        """The answer is whole: wait for the next request, or end."""
        self._owner = None
        if self._transport is None:
            return
        if reusable and not self._close_after and self._replica.takes:
            self._transport.resume_reading()
            self.idle_since = self._loop.time()
            self._replica.idle.append(self)
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol: part of an answer."""
        owner = self._owner
        if owner is None:
            self._close_after = True
            if self._transport is not None:
                self._transport.abort()
        elif self._tunnel:
            owner.tunnelled(data)
        elif self._body is not None:
            self._body_pass(owner, self._body, data)
        else:
            self._began = True
            self._buffer = self._buffer + data if self._buffer else data
            self._head_read(owner)

    def _head_read(self, owner: Owner) -> None:
        """Heads until the final one; 1xx before it go on."""
        while True:
            end = self._buffer.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(self._buffer) > HEAD_BYTES_MAX:
                    self._fail("its head is too long")
                return
            head = response_parse(self._buffer[:end], self._method)
            rest, self._buffer = self._buffer[end:], b""
            if head is None:
                self._fail("its head is not HTTP/1.1")
                return
            if head.status == 101:
                self._tunnel = owner.switched(head, rest)
                if not self._tunnel:
                    self._fail("it switched protocols unasked")
                return
            if head.status >= 200:
                break
            owner.interim(head)
            self._buffer = rest
            if not rest:
                return
        self._answer_begin(owner, head, rest)

    def _answer_begin(self, owner: Owner, head: ResponseHead, rest: bytes) -> None:
        self._close_after = head.close
        self._until_close = head.length == -1
        body = self._body = Body(head.length, unchunk=self._unchunk)
        try:
            part, over = body.feed(rest) if rest else (b"", b"")
        except BodyBroken as error:
            self._fail(str(error))
            return
        owner.answer(head, part)
        if body.done:
            self._finish(owner, over)

    def _body_pass(self, owner: Owner, body: Body, data: bytes) -> None:
        try:
            part, over = body.feed(data)
        except BodyBroken as error:
            self._fail(str(error))
            return
        if part:
            owner.part(part)
        if body.done:
            self._finish(owner, over)

    def _finish(self, owner: Owner, over: bytes) -> None:
        self._close_after = self._close_after or bool(over)
        owner.done()

    def _fail(self, reason: str) -> None:
        owner, self._owner = self._owner, None
        if self._transport is not None:
            self._transport.abort()
        if owner is not None:
            owner.failed(reason, began=True)
