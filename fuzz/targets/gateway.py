"""HTTP/1 as the gateway reads it: heads of clients and replicas, and bodies in chunks."""

from collections.abc import Iterator
from contextlib import suppress

from kumoi.gateway.bodies import Body, BodyBroken
from kumoi.gateway.heads import RequestHead, request_parse, response_parse


def seeds() -> Iterator[bytes]:
    """Requests, answers and a body in chunks."""
    yield b"GET /a?b=c HTTP/1.1\r\nHost: web.example\r\nConnection: close, x\r\nX: y\r\n\r\n"
    yield b"POST / HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    yield b"GET http://a/b HTTP/1.0\r\nhost: a\r\ncontent-length: 0\r\nx-forwarded-for: 1.2.3.4\r\n\r\n"
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"
    yield b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
    yield b"5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\nrest"


def check(data: bytes) -> None:
    """A head is refused, or understood in one way; bodies give the same however they are cut."""
    request = request_parse(data)
    if isinstance(request, RequestHead):
        assert b"\r\n\r\n" not in request.fields
        assert request.path.startswith(b"/") or request.path == b"*"
        assert request.length is None or request.length >= 0
    response_parse(data, b"GET")
    assert read([data]) == read([data[at : at + 1] for at in range(len(data))])


def read(parts: list[bytes]) -> tuple[bytes, bytes] | None:
    """The contents of a body and what is behind it; None if its framing is broken."""
    body, got, rest = Body(None, unchunk=True), [], []
    with suppress(BodyBroken):
        for part in parts:
            if body.done:
                rest.append(part)
                continue
            passed, left = body.feed(part)
            got.append(passed)
            rest.append(left)
        return b"".join(got), b"".join(rest)
    return None
