"""The HTTP server in the process of its application."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from kumoi.web.settings import WebSettings

BACKLOG = 1_024
HEADER_TIMEOUT_MS = 15_000


class HttpServer(Protocol):
    """What runs the application until it is told to stop."""

    async def serve(self) -> None:
        """Listen and answer; returns when `stop` was called and the requests under way have ended."""

    def stop(self) -> None:
        """Take no more connections and let `serve` return."""


def server_create(
    application: Callable[..., Awaitable[Any]], address: str, port: int, settings: WebSettings
) -> HttpServer:
    """A server for `application` (ASGI): `await serve()` runs it in the running loop until `stop()`.

    Watches must be ended first. Headers over their limit are answered 431.
    """
    server = Server(
        application,
        address=address,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=BACKLOG,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=settings.header_bytes_max
        ),
        log_enabled=False,
    )
    return cast(HttpServer, server)
