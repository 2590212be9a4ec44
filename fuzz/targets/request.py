"""HTTP requests to the plane: method and path, query, headers and JSON body of every route."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import Mock

import msgspec

from kumoi.model.access import PLATFORM, Actor, PrincipalKind
from kumoi.model.errors import KumoiError
from kumoi.model.ids import IdKind
from kumoi.web.api.answer import Answer
from kumoi.web.api.application import Application
from kumoi.web.api.decoding import query_decode
from kumoi.web.api.parameters import PATH_PARAMETERS
from kumoi.web.api.request import Request
from kumoi.web.api.route import Route
from kumoi.web.api.routes import ROUTES
from kumoi.web.settings import WebSettings

HEADERS = (
    b"authorization",
    b"accept-language",
    b"content-length",
    b"content-type",
    b"idempotency-key",
    b"if-match",
    b"last-event-id",
    b"transfer-encoding",
    b"x-request-id",
)
ACTOR = Actor("usr_1", PrincipalKind.USER, "org_1", (), "tok_1")
CHOSEN = sorted(ROUTES, key=lambda route: route.template)


class Anybody:
    """A plane that knows everybody and does nothing."""

    region = Mock(platform_organization_id=PLATFORM)

    async def authenticate(self, token: str) -> Actor:
        assert token.isascii()
        return ACTOR

    def session_begin(self, actor: Actor) -> Actor:
        """An operator's session is not recorded here."""
        return actor

    async def unauthenticated_count(self) -> None:
        """Nothing is counted."""


def seeds() -> Iterator[bytes]:
    """A request for each route, and bodies that mean something."""
    for number in range(len(CHOSEN)):
        yield number.to_bytes(2, "little") + b"\n\nlimit=5\n{}"
    job = b'{"name":"a","command":["true"],"environment":{"A":"b"},"resources":{"cpu_milli":100}}'
    for number, route in enumerate(CHOSEN):
        if route.template == "POST /v1/projects/{project}/jobs":
            yield number.to_bytes(2, "little") + b"\n" + b"\x04:k" + b"\n\n" + job


def check(data: bytes) -> None:
    """A request is refused, or reaches its handler; bodies are written as they are read."""
    route = CHOSEN[int.from_bytes(data[:2], "little") % len(CHOSEN)]
    path, head, query, body = (*data[2:].split(b"\n", 3), b"", b"", b"", b"")[:4]
    asyncio.run(asked(route.method, path or path_of(route), head, query, body))
    with suppress(KumoiError):
        query_decode(route.query, query)
    if route.decoder is not None:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            read = route.decoder.decode(body)
            again = route.decoder.decode(msgspec.json.encode(read))
            assert msgspec.json.encode(again) == msgspec.json.encode(read)


@cache
def path_of(route: Route) -> bytes:
    """A path of the route that leads on to query and body: each parameter as one may be."""
    path = route.path
    samples = ("a", "0", "cpu_milli", *(f"{kind}_{'0' * 26}" for kind in IdKind))
    for name in route.parameters:
        pattern = PATH_PARAMETERS[name].pattern
        path = path.replace(f"{{{name}}}", next(text for text in samples if pattern.fullmatch(text)))
    return path.encode()


async def asked(method: str, path: bytes, head: bytes, query: bytes, body: bytes) -> None:
    """The whole application, but for handlers: no answer may be a fault of ours."""
    fields = (line.partition(b":") for line in head.split(b"\r"))
    headers = {HEADERS[name[0] % len(HEADERS)]: value.strip() for name, _, value in fields if name}
    headers = {b"authorization": b"Bearer x", b"content-type": b"application/json"} | headers
    answers: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            answers.append(int(str(message["status"])))

    scope = {
        "type": "http",
        "method": method,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "headers": list(headers.items()),
    }
    await APPLICATION(scope, receive, send)  # type: ignore[arg-type]
    assert answers, "there was no answer"
    assert answers[0] != 500, "an answer was a fault of ours"


async def reached(_plane: object, request: Request[Any, Any]) -> Answer:
    """The handler of every route: it reads what comes in parts."""
    if isinstance(request.body, AsyncIterator):
        async for _ in request.body:
            pass
    return Answer(204, ())


APPLICATION = Application(
    Anybody(),  # type: ignore[arg-type]
    WebSettings(),
    [replace(route, handler=reached, admit=None, watch=False) for route in ROUTES],
)
