"""Heads as they go on: to the replica, and back to the client."""

import random
from typing import Final

from kumoi.gateway.heads import RequestHead, ResponseHead

_WITH_BODY: Final = frozenset({b"POST", b"PUT", b"PATCH"})


def id_make() -> bytes:
    """A new request id. It names a request in logs and protects nothing."""
    return b"%032x" % random.getrandbits(128)


def ids_complete(request: RequestHead) -> None:
    """Keep a valid request id and trace context (W3C Trace Context, level 1), or begin new ones."""
    request.request_id = request.request_id or id_make()
    if not request.traceparent:
        trace, span = random.getrandbits(128) | 1, random.getrandbits(64) | 1
        request.traceparent, request.tracestate = b"00-%032x-%016x-00" % (trace, span), b""


def request_render(request: RequestHead, path: bytes, peer: bytes) -> bytes:
    """The head for the replica. Without a `peer` our own HAProxy has said who asks, and that is kept."""
    if peer:
        forwarded = b"x-forwarded-for: %b\r\nx-forwarded-proto: http\r\nx-forwarded-host: %b\r\n" % (
            peer,
            request.authority,
        )
    else:
        forwarded = b"".join(
            b"%b: %b\r\n" % line for line in request.ours.items() if line[0].startswith(b"x-forwarded-")
        )
    extra = b""
    if request.length is None:
        extra = b"transfer-encoding: chunked\r\n"
    elif request.length or request.method in _WITH_BODY:
        extra = b"content-length: %d\r\n" % request.length
    if request.expect:
        extra += b"expect: 100-continue\r\n"
    if request.upgrade:
        extra += b"connection: upgrade\r\nupgrade: %b\r\n" % request.upgrade
    if request.tracestate:
        extra += b"tracestate: %b\r\n" % request.tracestate
    return b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%b%b%bx-request-id: %b\r\ntraceparent: %b\r\n\r\n" % (
        request.method,
        path,
        request.query,
        request.authority,
        request.fields,
        forwarded,
        extra,
        request.request_id,
        request.traceparent,
    )


def answer_render(head: ResponseHead, framing: bytes, request_id: bytes, close: bool) -> bytes:
    """The final head for the client."""
    return b"HTTP/1.1 %d %b\r\n%b%bx-request-id: %b\r\n%b\r\n" % (
        head.status,
        head.reason,
        head.fields,
        framing,
        request_id,
        b"connection: close\r\n" if close else b"",
    )


def interim_render(head: ResponseHead) -> bytes:
    """A 1xx for the client."""
    return b"HTTP/1.1 %d %b\r\n%b\r\n" % (head.status, head.reason, head.fields)


def switch_render(head: ResponseHead, request_id: bytes) -> bytes:
    """A 101 for the client."""
    return b"HTTP/1.1 101 %b\r\n%bconnection: upgrade\r\nupgrade: %b\r\nx-request-id: %b\r\n\r\n" % (
        head.reason,
        head.fields,
        head.upgrade,
        request_id,
    )
