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
        self._rest: list[bytes] = []
        self._event = ""
        self._data: list[str] = []
        self._size_bytes = 0
        self._last_id = ""

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes; raises AnswerUnexpected for one that is far too long."""
        self._size_bytes += len(chunk)
        # Joined once a line ends: a line that comes byte by byte would be copied for each.
        self._rest.append(chunk)
        lines: list[bytes] = []
        if b"\n" in chunk:
            *lines, rest = b"".join(self._rest).split(b"\n")
            self._rest = [rest]
        made = [self._line(line.removesuffix(b"\r").decode("utf-8", "replace")) for line in lines]
        if self._size_bytes > MAX_MESSAGE_BYTES + len(chunk):
            raise AnswerUnexpected(f"an event of the stream has more than {MAX_MESSAGE_BYTES} bytes")
        return [message for message in made if message]

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
        self._event, self._data, self._size_bytes = "", [], 0
        return Message(event, "\n".join(data), self._last_id) if data else None
