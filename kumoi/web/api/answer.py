"""What a handler gives back."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

import msgspec

from kumoi.model.idempotency import Written
from kumoi.web.text import Reader

Headers = tuple[tuple[bytes, bytes], ...]

JSON = (b"content-type", b"application/json")
PRIVATE = (b"cache-control", b"no-store")
_JSON_HEADERS: Headers = (JSON, PRIVATE)
_REPLAYED = (b"idempotency-replayed", b"true")
_encoder = msgspec.json.Encoder()


class Versioned(Protocol):
    """A resource whose row version is its ETag."""

    @property
    def version(self) -> int:
        """The version of the row."""


@dataclass(slots=True)
class Answer:
    """A status, headers and either a body or a stream; `heartbeat` keeps an idle stream alive.

    Where `over` is given, the stream is cut off as soon as what it returns is done.
    """

    status: int
    headers: Headers
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    heartbeat: bytes | None = None
    over: Callable[[], Coroutine[None, None, None]] | None = None


def answer_json(value: msgspec.Struct) -> Answer:
    """`value` as JSON, for this caller only."""
    return Answer(200, _JSON_HEADERS, _encoder.encode(value))


def answer_versioned(value: Versioned) -> Answer:
    """`value` as JSON with its ETag."""
    return Answer(200, (*_JSON_HEADERS, (b"etag", b'"%d"' % value.version)), _encoder.encode(value))


def answer_written(written: Written) -> Answer:
    """What a write answered, now or when its idempotency key was used first."""
    headers: Headers = _JSON_HEADERS if written.body else (PRIVATE,)
    if written.etag is not None:
        headers = (*headers, (b"etag", written.etag.encode()))
    if written.replayed:
        headers = (*headers, _REPLAYED)
    return Answer(written.status, headers, written.body)


def language_headers(reader: Reader) -> Headers:
    """What tells the language of an answer with sentences in it (RFC 9110 sections 8.5 and 12.5.5)."""
    return (b"content-language", reader.language.encode()), (b"vary", b"accept-language")


async def stream_close(stream: AsyncIterator[object]) -> None:
    """Let a stream that is not read to its end let go of what it holds."""
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()
