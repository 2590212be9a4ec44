"""Heads of HTTP/1.1 messages: parsed by the letter of RFC 9112, refused when two readers could differ.

A head is matched as a whole by one expression of the grammar; after that its lines can be split safely.
What belongs to one connection (RFC 9110, 7.6.1) and what only the gateway may say is taken out; the rest is
passed on byte for byte. Request smuggling needs two parsers that disagree: bare line feeds, folded lines,
two lengths, a length beside chunks and unknown codings are refused here, so no replica ever sees them.
"""

import re
from functools import lru_cache
from typing import Final

from msgspec import Struct

from kumoi.gateway.refusals import Refusal

HEAD_BYTES_MAX: Final = 65_536
TARGET_BYTES_MAX: Final = 8_192
FIELDS_MAX: Final = 128
CONNECTION_BYTES_MAX: Final = 256
NAMES_KEPT: Final = 1_024
"""Headers' names that need not be looked at again; few are in use."""
IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(
    rb"(%b{1,32}) ([!$-;=?-\[\]^_`a-z{|}~]{1,%d}) HTTP/([0-9])\.([0-9])\r\n" % (_TOKEN, TARGET_BYTES_MAX)
)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
_FIELDS = re.compile(rb"(?:%b{1,256}+:[\t\x20-\x7e\x80-\xff]*+\r\n)*+\r\n" % _TOKEN)
_REQUEST_SPECIAL: Final = frozenset(
    b"host connection content-length transfer-encoding expect upgrade te trailer keep-alive forwarded"
    b" x-real-ip x-request-id traceparent tracestate http2-settings".split()
)
_REQUEST_PREFIXES: Final = (b"proxy-", b"x-forwarded-", b"x-kumoi-")
_LISTS: Final = frozenset({b"connection", b"te"})
_ONCE: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
_RESPONSE_SPECIAL: Final = frozenset(
    b"connection content-length transfer-encoding keep-alive upgrade proxy-connection te x-request-id".split()
)
_HOST = re.compile(rb"([A-Za-z0-9._~-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{0,5})?")
_DOTS = re.compile(rb"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~+/=-]{1,128}")
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_NAMED_AWAY = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b""})
_NEVER_NAMED = frozenset({b"host", b"content-length", b"cookie", b"authorization", b"content-type"})


class RequestHead(Struct):
    """A request that may be passed on. `fields` holds the lines that go on as they came.

    `length` is the body's, 0 for none, None for chunks. `host` is lower case and without its port;
    `authority` is as it was sent. `trusted` lines (x-forwarded-*, x-kumoi-*) are kept apart in `ours`.
    """

    method: bytes
    path: bytes
    query: bytes
    minor: int
    authority: bytes
    host: str
    fields: bytes
    length: int | None
    close: bool
    upgrade: bytes
    expect: bool
    request_id: bytes
    traceparent: bytes
    tracestate: bytes
    ours: dict[bytes, bytes]


class ResponseHead(Struct):
    """A replica's answer. `length` is None for chunks, -1 for all that comes until the connection ends.

    `declared` is what Content-Length said, also where no body follows (HEAD, 304).
    """

    status: int
    reason: bytes
    fields: bytes
    length: int | None
    declared: bytes | None
    close: bool
    upgrade: bytes


def request_parse(head: bytes) -> RequestHead | Refusal:
    """The request whose head is `head`, up to and with its empty line; a Refusal that says what is wrong."""
    line = _REQUEST_LINE.match(head)
    if line is None:
        return _line_refusal(head)
    method, target, major, minor_text = line.groups()
    if major != b"1" or minor_text not in (b"0", b"1"):
        return Refusal(505, "http_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    start = line.end()
    if _FIELDS.fullmatch(head, start) is None:
        return _bad("header_invalid", "A header line is malformed: NAME: VALUE, ended by CR LF, not folded.")
    if head.count(b"\r\n", start) - 1 > FIELDS_MAX:
        return Refusal(431, "headers_too_many", f"At most {FIELDS_MAX} header lines are accepted.")
    special: dict[bytes, bytes] = {}
    kept: list[bytes] = []
    for line_text in head[start:-4].split(b"\r\n") if len(head) > start + 2 else ():
        name, _colon, value = line_text.partition(b":")
        lower = _request_name(name)
        if not lower:
            kept.append(line_text)
        elif lower not in special:
            special[lower] = value.strip(b" \t")
        elif lower in _LISTS:
            special[lower] += b"," + value
        elif lower in _ONCE:
            return _bad("header_repeated", f"The header {lower.decode()} may be given only once.")
    return _request_build(method, target, int(minor_text), special, _lines(kept))


@lru_cache(NAMES_KEPT)
def _request_name(name: bytes) -> bytes:
    """A header's name in lower case if it does not simply go on, else nothing."""
    lower = name.lower()
    special = lower in _REQUEST_SPECIAL or lower.startswith(_REQUEST_PREFIXES) or b"_" in lower
    return lower if special else b""


@lru_cache(NAMES_KEPT)
def _response_name(name: bytes) -> bytes:
    lower = name.lower()
    return lower if lower in _RESPONSE_SPECIAL else b""


def _lines(kept: list[bytes]) -> bytes:
    return b"\r\n".join(kept) + b"\r\n" if kept else b""


def _request_build(
    method: bytes, target: bytes, minor: int, special: dict[bytes, bytes], fields: bytes
) -> RequestHead | Refusal:
    """The request of matched parts, once their meaning has been checked."""
    authority = special.get(b"host")
    if authority is None:
        return _bad("host_missing", "Say which host is meant: the header Host is missing.")
    host = _HOST.fullmatch(authority)
    if host is None:
        return _bad("host_invalid", "The header Host is not a host name with an optional port.")
    length = _framing(special, minor)
    if isinstance(length, Refusal):
        return length
    parts = _target_split(method, target, authority)
    if isinstance(parts, Refusal):
        return parts
    connection = special.get(b"connection", b"")
    if len(connection) > CONNECTION_BYTES_MAX:
        return _bad("connection_too_long", f"Connection may have {CONNECTION_BYTES_MAX} bytes at most.")
    options = _options(connection)
    expect = special.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        return Refusal(417, "expectation_unknown", "The only expectation that is met is 100-continue.")
    upgrade = special.get(b"upgrade", b"") if b"upgrade" in options and minor == 1 else b""
    if upgrade.lower() != b"websocket" or method != b"GET" or length != 0:
        upgrade = b""
    request_id = special.get(b"x-request-id", b"")
    traceparent = special.get(b"traceparent", b"")
    return RequestHead(
        method=method,
        path=parts[0],
        query=parts[1],
        minor=minor,
        authority=authority,
        host=host[1].decode("ascii").lower().rstrip("."),
        fields=_named_remove(fields, options),
        length=length,
        close=b"close" in options or minor == 0,
        upgrade=upgrade,
        expect=expect is not None and minor == 1 and length != 0,
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else b"",
        traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else b"",
        tracestate=special.get(b"tracestate", b""),
        ours={
            name: value for name, value in special.items() if name.startswith((b"x-forwarded-", b"x-kumoi-"))
        },
    )


@lru_cache(NAMES_KEPT)
def _options(connection: bytes) -> frozenset[bytes]:
    """What Connection names."""
    return frozenset(token.strip() for token in connection.lower().split(b",")) - {b""}


def _framing(special: dict[bytes, bytes], minor: int) -> int | Refusal | None:
    """The body's length, None for chunks (RFC 9112, 6.3), or why nobody can know."""
    coding, length = special.get(b"transfer-encoding"), special.get(b"content-length")
    if coding is not None:
        if length is not None:
            return _bad("framing_ambiguous", "Content-Length and Transfer-Encoding exclude each other.")
        if minor == 0:
            return _bad("framing_ambiguous", "HTTP/1.0 knows no Transfer-Encoding.")
        if coding.lower() != b"chunked":
            return Refusal(501, "coding_unknown", "The only transfer coding that is understood is chunked.")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        return _bad("length_invalid", "Content-Length must be one decimal number.")
    return int(length)


def _target_split(method: bytes, target: bytes, authority: bytes) -> tuple[bytes, bytes] | Refusal:
    """Path and query (with its question mark) of an origin-form or absolute-form target."""
    if method == b"CONNECT":
        return Refusal(405, "connect_refused", "This is a gateway of services and no proxy to elsewhere.")
    if not target.startswith(b"/"):
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            return _bad("target_invalid", "The request's target must be a path that begins with a slash.")
        named, slash, path = rest.partition(b"/")
        if named.lower() != authority.lower() or b"?" in named:
            return _bad("host_ambiguous", "The target names another host than the header Host.")
        target = slash + path or b"/"
    path, mark, query = target.partition(b"?")
    if _DOTS.search(path):
        return _bad("path_dots", "The path must not hold . or .. segments; send it normalized.")
    return path, mark + query


def _named_remove(fields: bytes, options: frozenset[bytes]) -> bytes:
    """`fields` without the lines that Connection names (RFC 9110, 7.6.1)."""
    if options <= _NAMED_AWAY:
        return fields
    named = options - _NAMED_AWAY - _NEVER_NAMED
    return b"".join(
        line for line in fields.splitlines(keepends=True) if line.partition(b":")[0].lower() not in named
    )


def response_parse(head: bytes, method: bytes) -> ResponseHead | None:
    """A replica's answer to `method`, from its head with the empty line; None if it is not HTTP/1."""
    line = _STATUS_LINE.match(head)
    if line is None or _FIELDS.fullmatch(head, line.end()) is None:
        return None
    minor, status_text, reason = line.groups()
    status = int(status_text)
    close, upgrade = minor == b"0", b""
    coding = length_text = None
    options: frozenset[bytes] = frozenset()
    kept: list[bytes] = []
    for line_text in head[line.end() : -4].split(b"\r\n") if len(head) > line.end() + 2 else ():
        name, _colon, value = line_text.partition(b":")
        lower = _response_name(name)
        if not lower:
            kept.append(line_text)
            continue
        value = value.strip(b" \t")
        if lower == b"content-length":
            if length_text is not None and length_text != value:
                return None
            length_text = value
        elif lower == b"transfer-encoding":
            if coding is not None:
                return None
            coding = value.lower()
        elif lower == b"connection":
            if len(value) > CONNECTION_BYTES_MAX:
                return None
            options |= _options(value)
            close = b"close" in options or (close and b"keep-alive" not in options)
        elif lower == b"upgrade":
            upgrade = value
    length = _response_length(status, method, coding, length_text)
    if length is not None and length < -1:
        return None
    return ResponseHead(
        status=status,
        reason=reason or b"",
        fields=_named_remove(_lines(kept), options),
        length=length,
        declared=length_text,
        close=close or length == -1,
        upgrade=upgrade,
    )


def _response_length(status: int, method: bytes, coding: bytes | None, length: bytes | None) -> int | None:
    """RFC 9112, 6.3; -2 if the answer contradicts itself."""
    if coding is not None and (length is not None or coding != b"chunked"):
        return -2
    if length is not None and not _LENGTH.fullmatch(length):
        return -2
    if method == b"HEAD" or status in (204, 304) or status < 200:
        return 0
    if coding is not None:
        return None
    return -1 if length is None else int(length)


def _line_refusal(head: bytes) -> Refusal:
    line, _end, _rest = head.partition(b"\r\n")
    if len(line) > TARGET_BYTES_MAX:
        return Refusal(414, "target_too_long", f"A target has at most {TARGET_BYTES_MAX} bytes.")
    return _bad("request_line_invalid", "The request line must be METHOD TARGET HTTP/1.1, ended by CR LF.")


def _bad(code: str, detail: str) -> Refusal:
    return Refusal(400, code, detail)
