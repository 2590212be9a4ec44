"""Reading server-sent events (WHATWG HTML, section 9.2.6), byte by byte as they come."""

from dataclasses import dataclass
from typing import Final

from kumoi.client.errors import AnswerUnexpected

MAX_MESSAGE_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Message:
    """One event of the stream: its type, its data, and the id to continue after."""

    event: str
    data: str
    last_id: str


class MessageReader:
    """Cuts a byte stream into messages. Lines end in LF or CR LF, as the plane writes them."""

    def __init__(self) -> None:
        self._rest = b""
        self._event = ""
        self._data: list[str] = []
        self._last_id = ""

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes; raises AnswerUnexpected for one that is far too long."""
        *lines, self._rest = (self._rest + chunk).replace(b"\r\n", b"\n").split(b"\n")
        if len(self._rest) > MAX_MESSAGE_BYTES or sum(map(len, self._data)) > MAX_MESSAGE_BYTES:
            raise AnswerUnexpected(f"an event of the stream has more than {MAX_MESSAGE_BYTES} bytes")
        return [message for line in lines if (message := self._line(line.decode("utf-8", "replace")))]

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._message()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._last_id = value
        return None

    def _message(self) -> Message | None:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return Message(event, "\n".join(data), self._last_id) if data else None
