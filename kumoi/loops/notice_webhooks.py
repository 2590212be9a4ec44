"""Notices over HTTP, after the Standard Webhooks specification: an id that stays, a time, a signature.

The URL is a tenant's. The name is looked up once, and every address that it has must be one that notices may
go to; then one of these is connected to, whatever the name means a moment later. No redirect is followed,
no body read, and everything together ends in time.
"""

import base64
import hashlib
import hmac
import queue
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from http import HTTPStatus

import httpcore
from httpcore import SOCKET_OPTION

from kumoi.core.notice_addresses import NoticeRules, NoticeUrl, is_entered, is_named, url_parse
from kumoi.loops.deadline import DeadlineBackend
from kumoi.loops.notice_sending import SEND_S, Notice, NotSent, notice_body

_NETWORK = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)


class EnteringBackend(DeadlineBackend):
    """Opens connections to addresses that notices may go to. Raises NotSent for a name with any other."""

    def __init__(self, end_s: float, rules: NoticeRules, *, is_plain: bool) -> None:
        super().__init__(end_s)
        self._until_s = end_s
        self._rules = rules
        self._is_plain = is_plain

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception = NotSent("its name has no address")
        for address in self._addresses(host, port):
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failed = error
        raise failed

    def _addresses(self, host: str, port: int) -> list[str]:
        addresses = _resolve(host, port, self._until_s - time.monotonic())
        for address in addresses:
            if not is_entered(address.partition("%")[0], self._rules, is_plain=self._is_plain):
                raise NotSent("its address is not a public one")
            if not is_named(address.partition("%")[0], self._rules) and _is_own(address):
                raise NotSent("its address is the plane's own")
        return addresses


def webhook_send(
    url: str, secret: bytes, notice: Notice, now_us: int, rules: NoticeRules, trust: ssl.SSLContext
) -> None:
    """Post `notice`, signed with `secret`. Raises NotSent unless the receiver answers with 2xx in time."""
    try:
        parts = url_parse(url)
    except ValueError as error:
        raise NotSent("its URL is not one that notices may go to") from error
    body = notice_body(notice)
    headers: Mapping[bytes | str, bytes | str] = {
        "content-type": "application/json",
        "user-agent": "kumoi",
        **webhook_headers(notice.id, now_us // 1_000_000, body, secret),
    }
    backend = EnteringBackend(time.monotonic() + SEND_S, rules, is_plain=parts.scheme == "http")
    try:
        with httpcore.ConnectionPool(ssl_context=trust, network_backend=backend) as http:
            status = _post(http, parts, headers, body)
    except httpcore.TimeoutException as error:
        raise NotSent(f"it does not answer within {SEND_S:g} s") from error
    # A host name that is none is a ValueError.
    except (*_NETWORK, OSError, ValueError) as error:
        said = "its certificate does not verify" if _is_certificate(error) else "it does not answer"
        raise NotSent(said) from error
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise NotSent(f"it answered {status}, and redirects are not followed")
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        raise NotSent(f"it answered {status}")


def webhook_headers(
    message_id: str, timestamp_s: int, body: bytes, secret: bytes
) -> dict[bytes | str, bytes | str]:
    """The headers of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{signature}",
    }


def _post(
    http: httpcore.ConnectionPool, url: NoticeUrl, headers: Mapping[bytes | str, bytes | str], body: bytes
) -> int:
    parts = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
    with http.stream("POST", parts, headers=headers, content=body) as answer:
        return answer.status


def _resolve(host: str, port: int, within_s: float) -> list[str]:
    """The addresses of a name. No look-up can be ended: one that takes too long is left alone."""
    told: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            told.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            told.put(error)

    threading.Thread(target=look_up, name="notice-name", daemon=True).start()
    try:
        answer = told.get(timeout=max(0.0, within_s))
    except queue.Empty:
        raise NotSent("its name is not found in time") from None
    if isinstance(answer, list):
        return answer
    raise NotSent("its name has no address") from answer


def _is_own(address: str) -> bool:
    """Whether this machine has the address: then it would also be the source of what is sent there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # nothing is sent
            return str(probe.getsockname()[0]) == address
    except OSError:
        return False


def _is_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
