"""Heads: what is passed on, what is refused, and that nothing in between exists."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.gateway.heads import RequestHead, ResponseHead, request_parse, response_parse
from kumoi.gateway.refusals import Refusal

HOST = b"host: a.example\r\n"

REFUSED = {
    "length and chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n",
        400,
    ),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4\r\ncontent-length: 5\r\n", 400),
    "two equal lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4\r\nContent-Length: 4\r\n", 400),
    "list of lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 4, 4\r\n", 400),
    "signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: +4\r\n", 400),
    "hexadecimal length": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 0x4\r\n", 400),
    "endless length": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 9999999999999999999\r\n", 400),
    "chunked twice": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked, chunked\r\n", 501),
    "chunked and more": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked, identity\r\n", 501),
    "two codings": (
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
        400,
    ),
    "obscured coding": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: xchunked\r\n", 501),
    "coding with vertical tab": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding:\x0bchunked\r\n", 400),
    "chunks in 1.0": (b"POST / HTTP/1.0\r\n" + HOST + b"transfer-encoding: chunked\r\n", 400),
    "space before colon": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length : 4\r\n", 400),
    "folded line": (b"GET / HTTP/1.1\r\n" + HOST + b"x-a: 1\r\n 2\r\n", 400),
    "folded coding": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding:\r\n chunked\r\n", 400),
    "bare line feed": (b"GET / HTTP/1.1\r\n" + HOST + b"x-a: 1\nx-b: 2\r\n", 400),
    "bare carriage return": (b"GET / HTTP/1.1\r\n" + HOST + b"x-a: 1\rx-b: 2\r\n", 400),
    "null byte": (b"GET / HTTP/1.1\r\n" + HOST + b"x-a: \x00\r\n", 400),
    "name with a space": (b"GET / HTTP/1.1\r\n" + HOST + b"x a: 1\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\n" + HOST + b": 1\r\n", 400),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"x-a\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + b"Host: b.example\r\n", 400),
    "host with a path": (b"GET / HTTP/1.1\r\nhost: a/b\r\n", 400),
    "host with a user": (b"GET / HTTP/1.1\r\nhost: a@b\r\n", 400),
    "empty host": (b"GET / HTTP/1.1\r\nhost:\r\n", 400),
    "another host in the target": (b"GET http://b.example/ HTTP/1.1\r\n" + HOST, 400),
    "other scheme": (b"GET ftp://a.example/ HTTP/1.1\r\n" + HOST, 400),
    "tunnel": (b"CONNECT a.example:80 HTTP/1.1\r\n" + HOST, 405),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST, 400),
    "fragment": (b"GET /#a HTTP/1.1\r\n" + HOST, 400),
    "backslash": (b"GET /a\\b HTTP/1.1\r\n" + HOST, 400),
    "dots": (b"GET /a/../b HTTP/1.1\r\n" + HOST, 400),
    "encoded dots": (b"GET /a/%2E%2e/b HTTP/1.1\r\n" + HOST, 400),
    "dots at the end": (b"GET /a/.. HTTP/1.1\r\n" + HOST, 400),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + HOST, 400),
    "tab in the line": (b"GET\t/ HTTP/1.1\r\n" + HOST, 400),
    "line before the line": (b"\r\nGET / HTTP/1.1\r\n" + HOST, 400),
    "version 2": (b"GET / HTTP/2.0\r\n" + HOST, 505),
    "version 1.2": (b"GET / HTTP/1.2\r\n" + HOST, 505),
    "version without": (b"GET /\r\n" + HOST, 400),
    "other expectation": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 1\r\nexpect: 200-ok\r\n", 417),
    "long target": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST, 414),
    "long name": (b"GET / HTTP/1.1\r\n" + HOST + b"a" * 300 + b": b\r\n", 400),
    "long connection": (b"GET / HTTP/1.1\r\n" + HOST + b"connection: " + b"a," * 200 + b"\r\n", 400),
    "many lines": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 200, 431),
    "non-ASCII name": ("GET / HTTP/1.1\r\nhost: a\r\nnäme: x\r\n".encode(), 400),
    "non-ASCII target": ("GET /雲 HTTP/1.1\r\nhost: a\r\n".encode(), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_two_readers_could_read_differently_is_refused(name: str) -> None:
    head, status = REFUSED[name]
    refusal = request_parse(head + b"\r\n")
    assert isinstance(refusal, Refusal), name
    assert refusal.status == status
    assert refusal.code
    assert refusal.detail


def _request(lines: bytes, first: bytes = b"GET /a?b=1 HTTP/1.1\r\n") -> RequestHead:
    parsed = request_parse(first + lines + b"\r\n")
    assert isinstance(parsed, RequestHead), parsed
    return parsed


def test_lines_of_the_service_go_on_as_they_came() -> None:
    request = _request(b"Host: A.example:80\r\nAccept: */*\r\nCookie: a=1\r\ncookie: b=2\r\n")
    assert request.fields == b"Accept: */*\r\nCookie: a=1\r\ncookie: b=2\r\n"
    assert (request.host, request.authority, request.path, request.query) == (
        "a.example",
        b"A.example:80",
        b"/a",
        b"?b=1",
    )
    assert request.length == 0
    assert not request.close


def test_lines_of_the_connection_and_lines_that_only_the_gateway_may_say_are_taken_out() -> None:
    request = _request(
        HOST
        + b"Connection: keep-alive, X-Mine, close\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: x\r\n"
        + b"X-Mine: 1\r\n"
        + b"Proxy-Connection: x\r\nProxy-Authorization: x\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\n"
        + b"X-Kumoi-Service: svc_b\r\nX_Forwarded_For: 1.2.3.4\r\nUpgrade: h2c\r\n"
        + b"HTTP2-Settings: x\r\nx-kept: 1\r\n"
    )
    assert request.fields == b"x-kept: 1\r\n"
    assert request.close
    assert request.upgrade == b""


def test_connection_cannot_take_out_what_others_rely_on() -> None:
    request = _request(HOST + b"Connection: authorization, x-y\r\nAuthorization: t\r\nx-y: 1\r\n")
    assert request.fields == b"Authorization: t\r\n"


def test_the_absolute_form_of_the_same_host_is_a_path() -> None:
    request = _request(HOST, b"GET http://A.example/x?y HTTP/1.1\r\n")
    assert (request.path, request.query) == (b"/x", b"?y")


def test_only_a_websocket_may_upgrade() -> None:
    asked = HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    assert _request(asked).upgrade == b"websocket"
    assert _request(asked, b"POST / HTTP/1.1\r\n").upgrade == b""
    assert _request(HOST + b"Upgrade: websocket\r\n").upgrade == b""


def test_valid_ids_are_kept_and_others_dropped() -> None:
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    kept = _request(HOST + b"x-request-id: abc-1\r\ntraceparent: " + trace + b"\r\ntracestate: a=b\r\n")
    assert (kept.request_id, kept.traceparent, kept.tracestate) == (b"abc-1", trace, b"a=b")
    dropped = _request(
        HOST + b"x-request-id: a b\r\ntraceparent: 00-" + b"0" * 32 + b"-00f067aa0ba902b7-01\r\n"
    )
    assert (dropped.request_id, dropped.traceparent) == (b"", b"")


@pytest.mark.parametrize(
    ("head", "method", "length"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", b"GET", 5),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n", b"HEAD", 0),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n", b"GET", None),
        (b"HTTP/1.1 200 OK\r\n", b"GET", -1),
        (b"HTTP/1.1 204 No Content\r\n", b"GET", 0),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n", b"GET", 0),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n", b"GET", 0),
    ],
)
def test_how_long_an_answer_is(head: bytes, method: bytes, length: int | None) -> None:
    answer = response_parse(head + b"\r\n", method)
    assert isinstance(answer, ResponseHead)
    assert answer.length == length


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n",
        b"HTTP/2 200 OK\r\n",
        b"HTTP/1.1 200 OK\nx: y\r\n",
        b"ICY 200 OK\r\n",
    ],
)
def test_an_answer_that_contradicts_itself_is_none(head: bytes) -> None:
    assert response_parse(head + b"\r\n", b"GET") is None


lines = st.lists(
    st.sampled_from(
        [
            b"content-length: 3",
            b"Content-Length:4",
            b"transfer-encoding: chunked",
            b"Transfer-Encoding : chunked",
            b"connection: close, content-length",
            b"host: a",
            b"x: y\x00",
            b" folded",
            b"x-forwarded-for: 9.9.9.9",
            b"upgrade: websocket",
            b"expect: 100-continue",
            b"x_y: z",
        ]
    )
    | st.binary(max_size=20),
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"GET / HTTP/1.1", b"POST /a HTTP/1.1", b"PUT http://a/ HTTP/1.0"])
    | st.binary(max_size=30),
    lines,
)
def test_whatever_comes_is_refused_or_has_one_meaning(first: bytes, rest: list[bytes]) -> None:
    parsed = request_parse(b"\r\n".join([first, *rest]) + b"\r\n\r\n")
    if isinstance(parsed, Refusal):
        assert 400 <= parsed.status < 600
        return
    assert re.fullmatch(rb"(?:[!#$%&'*+.^`|~0-9A-Za-z-]+:[^\r\n\x00]*\r\n)*", parsed.fields)
    names = {line.partition(b":")[0].lower() for line in parsed.fields.splitlines()}
    assert not names & {
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"host",
        b"upgrade",
        b"expect",
    }
    assert not any(name.startswith((b"x-forwarded-", b"proxy-", b"x-kumoi-")) for name in names)
