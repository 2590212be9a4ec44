"""The two transports: they perform the effects of a flow over httpx, blocking or asynchronously."""

import asyncio
import re
import ssl
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

import httpx

from kumoi import __version__
from kumoi.client.errors import AnswerUnexpected, ArgumentInvalid, ClientError, Unreachable
from kumoi.client.flows import Answer, Effect, FileBody, Flow, Item, Open, Pause, Read, Request, Stream

CHUNK_BYTES: Final = 1 << 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TOKEN = re.compile(r"[!-~]{1,1000}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the plane is and as whom to speak to it. `token` never appears in a repr."""

    url: str
    token: str | None = field(repr=False)
    timeout_s: float
    language: str

    def __post_init__(self) -> None:
        if not _url_valid(self.url):
            raise ArgumentInvalid(
                f"{self.url!r} is not a plane's URL; write it like https://kumoi.example:8080"
            )
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise ArgumentInvalid("the token holds characters that no token has; copy it again")
        if self.timeout_s <= 0:
            raise ArgumentInvalid(f"the timeout must be more than 0 s, not {self.timeout_s:g}")

    def options(self) -> dict[str, Any]:
        """The arguments of an httpx client. A proxy is not asked for what is on this machine."""
        return {
            "base_url": self.url,
            "follow_redirects": False,
            "trust_env": urlsplit(self.url).hostname not in _LOOPBACK,
            "headers": {"User-Agent": f"kumoi/{__version__}", "Accept-Language": self.language},
        }

    def arguments(self, request: Request) -> dict[str, Any]:
        """The arguments of httpx's `build_request`, without the body."""
        headers = dict(request.headers)
        if isinstance(request.body, FileBody):
            headers["Content-Length"] = str(request.body.size_bytes)
        if request.authenticated and self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return {
            "method": request.method,
            "url": request.path,
            "params": list(request.query) or None,
            "headers": headers,
            "timeout": httpx.Timeout(self.timeout_s, read=request.read_timeout_s or self.timeout_s),
        }

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise httpx's errors as Unreachable, or as AnswerUnexpected where no plane speaks HTTP there."""
        try:
            yield
        except (httpx.UnsupportedProtocol, httpx.DecodingError, httpx.LocalProtocolError) as error:
            raise AnswerUnexpected(f"talking to {self.url}: {_cause(error)}") from error
        except httpx.RequestError as error:
            refused = isinstance(_root(error), ssl.SSLCertVerificationError)
            raise Unreachable(self.url, _cause(error), permanent=refused) from error


class Steps(Generic[T]):
    """A flow in progress: what it wants next, and what became of what it wanted."""

    def __init__(self, flow: Generator[Any, Any, T]) -> None:
        self._flow = flow
        self._thrown: ClientError | None = None
        self.sent: Any = None
        self.result: T

    def next(self) -> Effect | Item[Any] | None:
        """The next effect, None at the end; `result` is set then."""
        thrown, sent = self._thrown, self.sent
        self._thrown = self.sent = None
        try:
            effect: Effect | Item[Any] = self._flow.send(sent) if thrown is None else self._flow.throw(thrown)
        except StopIteration as stop:
            self.result = stop.value
            return None
        return effect

    @contextmanager
    def performing(self) -> Iterator[None]:
        """Keep the errors of performing an effect for the flow, which knows what to do about them."""
        try:
            yield
        except ClientError as error:
            self._thrown = error

    def close(self) -> None:
        """End the flow where it stands."""
        self._flow.close()


class SyncDriver:
    """Performs flows in the calling thread. Safe to use from several threads."""

    def __init__(self, endpoint: Endpoint, transport: httpx.BaseTransport | None) -> None:
        self._endpoint = endpoint
        self._http = httpx.Client(transport=transport, **endpoint.options())

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """Perform `flow` to its end and answer its result."""
        steps = Steps(flow)
        for _ in self._drive(steps):
            pass
        return steps.result

    def stream(self, flow: Stream[T]) -> Iterator[T]:
        """The items of `flow`, each as soon as it is there."""
        return self._drive(Steps(flow))

    def _drive(self, steps: Steps[Any]) -> Iterator[Any]:
        channel = _SyncChannel(self._endpoint, self._http)
        try:
            while (effect := steps.next()) is not None:
                if isinstance(effect, Item):
                    yield effect.value
                    continue
                with steps.performing(), self._endpoint.translated():
                    steps.sent = channel.perform(effect)
        finally:
            channel.close()
            steps.close()


class AsyncDriver:
    """Performs flows in the running event loop."""

    def __init__(self, endpoint: Endpoint, transport: httpx.AsyncBaseTransport | None) -> None:
        self._endpoint = endpoint
        self._http = httpx.AsyncClient(transport=transport, **endpoint.options())

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Perform `flow` to its end and answer its result."""
        steps = Steps(flow)
        async for _ in self._drive(steps):
            pass
        return steps.result

    def stream(self, flow: Stream[T]) -> AsyncIterator[T]:
        """The items of `flow`, each as soon as it is there."""
        return self._drive(Steps(flow))

    async def _drive(self, steps: Steps[Any]) -> AsyncIterator[Any]:
        channel = _AsyncChannel(self._endpoint, self._http)
        try:
            while (effect := steps.next()) is not None:
                if isinstance(effect, Item):
                    yield effect.value
                    continue
                with steps.performing(), self._endpoint.translated():
                    steps.sent = await channel.perform(effect)
        finally:
            await channel.close()
            steps.close()


class _SyncChannel:
    """The replies of one flow; at most one of them is open."""

    def __init__(self, endpoint: Endpoint, http: httpx.Client) -> None:
        self._endpoint = endpoint
        self._http = http
        self._opened: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def perform(self, effect: Effect) -> object:
        match effect:
            case Request():
                response = self._send(effect, stream=False)
                return _answer(effect, response, response.content)
            case Open(request):
                self.close()
                self._opened = response = self._send(request, stream=True)
                self._chunks = response.iter_bytes()
                return _answer(request, response, response.read() if response.is_error else b"")
            case Read():
                return next(self._chunks, None)
            case Pause(delay_s):
                threading.Event().wait(delay_s)
                return None

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def _send(self, request: Request, *, stream: bool) -> httpx.Response:
        body = request.body
        content = _file_read(body) if isinstance(body, FileBody) else body
        arguments = self._endpoint.arguments(request)
        return self._http.send(self._http.build_request(content=content, **arguments), stream=stream)


class _AsyncChannel:
    """The replies of one flow; at most one of them is open."""

    def __init__(self, endpoint: Endpoint, http: httpx.AsyncClient) -> None:
        self._endpoint = endpoint
        self._http = http
        self._opened: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def perform(self, effect: Effect) -> object:
        match effect:
            case Request():
                response = await self._send(effect, stream=False)
                return _answer(effect, response, response.content)
            case Open(request):
                await self.close()
                self._opened = response = await self._send(request, stream=True)
                self._chunks = response.aiter_bytes()
                return _answer(request, response, await response.aread() if response.is_error else b"")
            case Read():
                return None if self._chunks is None else await anext(self._chunks, None)
            case Pause(delay_s):
                await asyncio.sleep(delay_s)
                return None

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.aclose()

    async def _send(self, request: Request, *, stream: bool) -> httpx.Response:
        body = request.body
        content = _file_read_async(body) if isinstance(body, FileBody) else body
        arguments = self._endpoint.arguments(request)
        return await self._http.send(self._http.build_request(content=content, **arguments), stream=stream)


def _url_valid(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host)


def _answer(request: Request, response: httpx.Response, body: bytes) -> Answer:
    if 300 <= response.status_code < 400:
        raise AnswerUnexpected(
            f"{response.url} redirects to {response.headers.get('location', 'nowhere')}: use the URL of the"
            " plane itself, the token is not sent elsewhere"
        )
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(request, response.status_code, headers, body)


def _file_read(body: FileBody) -> Iterator[bytes]:
    done_bytes = 0
    with body.path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            done_bytes += len(chunk)
            if body.sent is not None:
                body.sent(done_bytes)


async def _file_read_async(body: FileBody) -> AsyncIterator[bytes]:
    chunks = _file_read(body)
    while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
        yield chunk


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return error
