"""Answers of the gateway itself: RFC 9457 problems, made without knowing any service."""

import json

from msgspec import Struct

REASONS = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}


class Refusal(Struct, frozen=True):
    """Why a request is not passed on. `code` is stable; `retry_after_s` only where trying again may help."""

    status: int
    code: str
    detail: str
    retry_after_s: int | None = None


def refusal_answer(refusal: Refusal, request_id: bytes, *, close: bool, head_only: bool = False) -> bytes:
    """The whole HTTP/1.1 answer. With `close` the connection ends after it; `head_only` answers a HEAD."""
    body = json.dumps(
        {
            "type": f"urn:kumoi:error:{refusal.code}",
            "title": REASONS[refusal.status],
            "status": refusal.status,
            "detail": refusal.detail,
            "instance": f"urn:kumoi:request:{request_id.decode('ascii')}",
        }
    ).encode()
    retry = b"" if refusal.retry_after_s is None else b"retry-after: %d\r\n" % refusal.retry_after_s
    return b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\n%b%bx-request-id: %b\r\n%b\r\n%b" % (
        refusal.status,
        REASONS[refusal.status].encode(),
        b"content-length: %d\r\n" % len(body),
        retry,
        request_id,
        b"connection: close\r\n" if close else b"",
        b"" if head_only else body,
    )
