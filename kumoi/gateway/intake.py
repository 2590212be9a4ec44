"""A request's body on its way in: its first part is taken before there is a slot, all of it at some pace."""

import asyncio
import select
from typing import Final

from kumoi.gateway.bodies import Body

AHEAD_BYTES_MAX: Final = 65_536
"""So much of a body is taken before its request asks for a slot; smaller ones wait for nobody then."""
STREAM_WAIT_S: Final = 0.2
"""A body of unknown length may be one that goes on once it is answered, so no more is waited for it."""
STEP_S: Final = 10.0
STEP_BYTES: Final = 5_000
"""What must come in each step until the body ends or is answered: 500 bytes a second."""


class Intake:
    """What has come of a body and was not passed on yet, and when more must have come.

        rest = intake.feed(data, now)
        upstream.write(intake.taken())

    `rest` belongs to the next message. Times are of the event loop's clock, in seconds.
    """

    __slots__ = ("_ahead", "_ahead_bytes", "_body", "_missing", "due")

    def __init__(self, length: int | None) -> None:
        self.due = float("inf")
        """When the client is too slow; never while it is we who do not read."""
        self._body = Body(length)
        self._ahead: list[bytes] = []
        self._ahead_bytes = 0
        self._missing = 0

    @property
    def done(self) -> bool:
        """Whether the whole body has come."""
        return self._body.done

    @property
    def enough(self) -> bool:
        """Whether no more of it is wanted before there is a slot."""
        return self._body.done or self._ahead_bytes >= AHEAD_BYTES_MAX

    def feed(self, data: bytes, now: float) -> bytes:
        """Take what came; what is left over after the end. BodyBroken if the framing is."""
        part, rest = self._body.feed(data)
        if part:
            self._ahead.append(part)
            self._ahead_bytes += len(part)
        self._missing -= len(data)
        if self._body.done:
            self.pace_stop()
        elif self._missing <= 0:
            self.pace_begin(now)
        return rest

    def taken(self) -> bytes:
        """What goes on now, which is forgotten here."""
        part = b"".join(self._ahead)
        self._ahead.clear()
        self._ahead_bytes = 0
        return part

    def pace_begin(self, now: float) -> None:
        """From now on the client must send."""
        if not self._body.done:
            self._missing = STEP_BYTES
            self.due = now + STEP_S

    def pace_stop(self) -> None:
        """The client may take its time."""
        self._missing = STEP_BYTES
        self.due = float("inf")


def hung_up(transport: asyncio.Transport) -> bool:
    """Whether the other side has ended a connection, also behind bytes that nobody has read."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
