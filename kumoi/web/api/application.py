"""The ASGI application: finds the route, the actor and the body, calls the handler, answers in one form.

There is one way for every route. The table of routes is served as it is: a framework's layers would double
the time that importing takes and cost every request more than all of this does (docs/adr/0003).
"""

import asyncio
import hashlib
import logging
import re
import secrets
from collections import Counter
from collections.abc import Iterable
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any

from kumoi.model.errors import Invalid, KumoiError, Unauthenticated, Unavailable
from kumoi.model.idempotency import KEY_LENGTH_MAX, NO_PROJECT, IdempotencyKey
from kumoi.web.api.access_log import AccessLog
from kumoi.web.api.answer import Answer, Headers
from kumoi.web.api.asgi import (
    Receive,
    RequestHeaders,
    Scope,
    Send,
    StreamOver,
    answer_send,
    body_parts,
    body_read,
    json_type_check,
    length_check,
    no_body_check,
    stream_send,
    until_over,
)
from kumoi.web.api.decoding import body_take, query_decode
from kumoi.web.api.operator_session import session_recorded
from kumoi.web.api.parameters import path_check
from kumoi.web.api.problem import Failed, problem_answer
from kumoi.web.api.request import NOBODY, Request
from kumoi.web.api.route import Route
from kumoi.web.api.router import Router
from kumoi.web.api.routes import ROUTES
from kumoi.web.settings import WebSettings
from kumoi.web.text import Texts

if TYPE_CHECKING:
    from kumoi.app.plane import Plane
    from kumoi.model.access import Actor

logger = logging.getLogger("kumoi.web")
UNKNOWN_ROUTE = "-"
_INSTANCE_MAX = 1_024
_CALL_MAX = 2_000
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_BEARER = re.compile(rb"bearer +([!-~]{1,512})", re.IGNORECASE)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(rb"[ -~]{1,%d}" % KEY_LENGTH_MAX)
_ETAG = re.compile(rb'\*|"[!#-~]{1,100}"')
_EVENT_ID = re.compile(rb"[0-9]{1,18}")


class Application:
    """The plane's API as an ASGI 3 application."""

    def __init__(self, plane: "Plane", settings: WebSettings, routes: Iterable[Route]) -> None:
        self._plane = plane
        self._settings = settings
        self._router = Router(routes)
        self._texts = Texts()
        self._access_log = AccessLog(settings.access_log_flush_s)
        self._stopping = asyncio.Event()
        self._watchers = 0
        self._watchers_of: Counter[str] = Counter()
        self._id_prefix = secrets.token_hex(4)
        self._id_numbers = count(1)

    def stop(self) -> None:
        """End every watch and write what is left of the access log; the server is stopped after this."""
        self._stopping.set()
        self._access_log.flush()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.shutdown":
                self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return
            await send({"type": "lifespan.startup.complete"})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers: RequestHeaders = dict(scope["headers"])
        request_id = self._request_id(headers)
        fixed: Headers = ((b"kumoi-request-id", request_id.encode()), _NOSNIFF)
        log = _Seen(scope["method"][:20])
        try:
            answer = await self._answer(scope, headers, receive, log, request_id)
        except KumoiError as error:
            answer = self._problem(error, scope, headers, request_id)
        except Exception:
            logger.exception("request %s (%s) failed", request_id, log.route)
            answer = self._problem(Failed(), scope, headers, request_id)
        try:
            if answer.stream is None:
                await answer_send(send, answer, fixed)
            else:
                await self._stream(receive, send, answer, fixed)
        except StreamOver as error:
            logger.info("the answer to request %s (%s) was cut off: %s", request_id, log.route, error)
            raise
        except Exception:
            logger.exception("the answer to request %s (%s) was cut short", request_id, log.route)
            raise
        finally:
            self._watch_end(log)
            seconds = perf_counter() - started
            self._access_log.add(log.method, log.route, answer.status, seconds, request_id, log.actor)

    async def _answer(
        self, scope: Scope, headers: RequestHeaders, receive: Receive, log: "_Seen", request_id: str
    ) -> Answer:
        route, path = self._router.find(scope["method"], scope["raw_path"])
        log.route = route.path
        timeout_s = self._settings.transfer_timeout_s if route.streams else self._settings.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s) as timeout:
                actor = NOBODY
                if route.action is not None:
                    actor = await self._authenticate(headers)
                    log.actor = actor.id
                request = await self._request(route, path, scope, headers, receive, actor)
                if route.watch:
                    self._watch_begin(log, actor.organization_id)
                try:
                    answer = await route.handler(self._plane, request)
                except KumoiError as error:
                    # A refusal tells something too: under a tenant's grant it is recorded as well.
                    answer = self._problem(error, scope, headers, request_id)
                return await session_recorded(self._plane, actor, _call(scope), answer)
        except TimeoutError:
            if not timeout.expired():
                raise
            raise Unavailable(
                "timed_out",
                "the request took longer than {seconds} s; send it again with the same Idempotency-Key",
                seconds=timeout_s,
            ) from None

    async def _authenticate(self, headers: RequestHeaders) -> "Actor":
        try:
            actor = await self._plane.authenticate(_token(headers))
        except Unauthenticated:
            await self._plane.unauthenticated_count()
            raise
        return self._plane.session_begin(actor)

    async def _request(
        self,
        route: Route,
        path: dict[str, str],
        scope: Scope,
        headers: RequestHeaders,
        receive: Receive,
        actor: "Actor",
    ) -> Request[Any, Any]:
        path_check(path)
        raw_query = scope["query_string"]
        query = query_decode(route.query, raw_query) if raw_query else route.query_default
        raw, body = b"", None
        if route.body is None:
            no_body_check(headers)
        else:
            length_check(headers, route.body_bytes_max)
            if route.decoder is None:
                body = body_parts(receive, route.body_bytes_max, self._settings.chunk_timeout_s)
            else:
                json_type_check(headers)
                if route.admit is not None:
                    await route.admit(self._plane, actor, path)
                raw = await body_read(receive, route.body_bytes_max)
                body = await body_take(route.decoder, raw)
        key = _idempotency_key(route, path, scope["raw_path"], headers, raw, actor)
        if_match = _if_match(headers) if route.if_match else None
        last_event_id = _last_event_id(headers) if route.watch else None
        reader = self._texts.reader(_accept_language(headers))
        return Request(actor, path, query, body, key, if_match, last_event_id, reader)

    async def _stream(self, receive: Receive, send: Send, answer: Answer, fixed: Headers) -> None:
        async with asyncio.timeout(self._settings.transfer_timeout_s):
            sending = stream_send(
                receive,
                send,
                answer,
                fixed,
                stopping=self._stopping,
                heartbeat_s=self._settings.heartbeat_s,
            )
            await (sending if answer.over is None else until_over(sending, answer.over()))

    def _watch_begin(self, log: "_Seen", organization_id: str) -> None:
        if self._stopping.is_set() or self._watchers >= self._settings.watchers_max:
            raise Unavailable(
                "watchers_full",
                "the plane serves {limit} watches already, or stops; read the list instead, or try later",
                limit=self._settings.watchers_max,
            )
        if self._watchers_of[organization_id] >= self._settings.organization_watchers_max:
            raise Unavailable(
                "organization_watchers_full",
                "your organization has {limit} watches already; end one, or read the list instead",
                limit=self._settings.organization_watchers_max,
            )
        self._watchers += 1
        self._watchers_of[organization_id] += 1
        log.watching = organization_id

    def _watch_end(self, log: "_Seen") -> None:
        if log.watching is not None:
            self._watchers -= 1
            self._watchers_of[log.watching] -= 1
            self._watchers_of += Counter()

    def _request_id(self, headers: RequestHeaders) -> str:
        given = headers.get(b"kumoi-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return f"{self._id_prefix}-{next(self._id_numbers):x}"

    def _problem(self, error: KumoiError, scope: Scope, headers: RequestHeaders, request_id: str) -> Answer:
        reader = self._texts.reader(_accept_language(headers))
        instance = scope["raw_path"][:_INSTANCE_MAX].decode("latin-1")
        return problem_answer(error, reader, instance, request_id)


class _Seen:
    """What is known of a request so far, for the access log."""

    __slots__ = ("actor", "method", "route", "watching")

    def __init__(self, method: str) -> None:
        self.method = method
        self.route = UNKNOWN_ROUTE
        self.actor: str | None = None
        self.watching: str | None = None


def application_create(
    plane: "Plane", settings: WebSettings | None = None, routes: Iterable[Route] = ROUTES
) -> Application:
    """The ASGI application that serves `plane`. Call its `stop()` before the server is stopped."""
    return Application(plane, settings or WebSettings(), routes)


def _call(scope: Scope) -> str:
    """Method, path and query, as an operator's session record tells them."""
    query = b"?" + scope["query_string"] if scope["query_string"] else b""
    return f"{scope['method']} {(scope['raw_path'] + query)[:_CALL_MAX].decode('ascii', 'backslashreplace')}"


def _accept_language(headers: RequestHeaders) -> str:
    return headers.get(b"accept-language", b"").decode("latin-1")


def _token(headers: RequestHeaders) -> str:
    given = headers.get(b"authorization")
    if given is None:
        raise Unauthenticated(
            "token_missing", "this needs a token; send `Authorization: Bearer kumoi_...`", at="Authorization"
        )
    match = _BEARER.fullmatch(given)
    if match is None:
        raise Unauthenticated(
            "token_malformed",
            "the Authorization header holds no bearer token; send `Authorization: Bearer kumoi_...`",
            at="Authorization",
        )
    return match[1].decode()


def _idempotency_key(
    route: Route, path: dict[str, str], raw_path: bytes, headers: RequestHeaders, raw: bytes, actor: "Actor"
) -> IdempotencyKey | None:
    given = headers.get(b"idempotency-key")
    if given is None or not route.keyed:
        return None
    if _KEY.fullmatch(given) is None:
        raise Invalid(
            "idempotency_key_invalid",
            "the Idempotency-Key must be 1 to {limit} characters of printable ASCII",
            at="Idempotency-Key",
            limit=KEY_LENGTH_MAX,
        )
    digest = hashlib.sha256(raw_path + b"\0" + raw).digest()
    return IdempotencyKey(actor.id, path.get("project", NO_PROJECT), route.template, given.decode(), digest)


def _if_match(headers: RequestHeaders) -> str | None:
    given = headers.get(b"if-match")
    if given is None:
        return None
    if _ETAG.fullmatch(given) is None:
        raise Invalid(
            "if_match_invalid",
            'the If-Match must be * or one ETag as it was answered, like "3"',
            at="If-Match",
        )
    return given.decode()


def _last_event_id(headers: RequestHeaders) -> int | None:
    given = headers.get(b"last-event-id")
    if given is None:
        return None
    if _EVENT_ID.fullmatch(given) is None:
        raise Invalid(
            "last_event_id_invalid",
            "the Last-Event-ID must be the id of an event of this watch, a whole number",
            at="Last-Event-ID",
        )
    return int(given)
