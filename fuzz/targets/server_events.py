"""Server-sent events, as the client reads them from a plane that it does not trust."""

from collections.abc import Iterator
from contextlib import suppress

from kumoi.client.errors import AnswerUnexpected
from kumoi.client.server_events import Message, MessageReader


def seeds() -> Iterator[bytes]:
    """A stream with everything that streams have."""
    yield b':\n\nid: 5\nevent: log\ndata: {"a":1}\ndata: more\n\nretry: 5\r\ndata\r\n\r\n'


def check(data: bytes) -> None:
    """The messages are the same however the stream is cut."""
    assert read([data]) == read([data[at : at + 1] for at in range(len(data))])


def read(parts: list[bytes]) -> list[Message]:
    """The messages in a stream."""
    reader, found = MessageReader(), []
    with suppress(AnswerUnexpected):
        for part in parts:
            found += reader.feed(part)
    return found
