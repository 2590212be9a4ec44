"""Connections that end at a moment, whatever the other side does: a timeout bounds one read, not all."""

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
from httpcore import SOCKET_OPTION


class DeadlineStream(httpcore.NetworkStream):
    """A connection whose every operation ends by `end_s` on the monotonic clock, with a timeout's error."""

    def __init__(self, stream: httpcore.NetworkStream, end_s: float) -> None:
        self._stream = stream
        self._end_s = end_s

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _left(self._end_s, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _left(self._end_s, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        left_s = _left(self._end_s, httpcore.ConnectTimeout)
        return DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left_s), self._end_s)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class DeadlineBackend(httpcore.NetworkBackend):
    """Opens connections that end by `end_s` on the monotonic clock. Looking a name up takes what it takes."""

    def __init__(self, end_s: float) -> None:
        self._end_s = end_s
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left_s = _left(self._end_s, httpcore.ConnectTimeout)
        made = self._backend.connect_tcp(host, port, left_s, local_address, socket_options)
        return DeadlineStream(made, self._end_s)


def _left(end_s: float, late: type[httpcore.TimeoutException]) -> float:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise late("the time is up")
    return left_s
