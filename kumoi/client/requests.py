"""Building requests, and the shapes of operation that most routes have."""

from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

from kumoi.client.answers import decode
from kumoi.client.errors import AnswerUnexpected, ArgumentInvalid
from kumoi.client.flows import Flow, Item, Request, Stream
from kumoi.client.retries import KEY_HEADER, REQUEST, Patience, exchange
from kumoi.model.records import PAGE_MAX, Page

PAGE_ITEMS: Final = 100
JSON: Final = (("Content-Type", "application/json"),)
_DOTS = frozenset({"", ".", ".."})
_encoder = msgspec.json.Encoder()
T = TypeVar("T")


def path(*segments: str) -> str:
    """`/v1/` and the segments, quoted; raises ArgumentInvalid for one that would name another route."""
    for segment in segments:
        if segment in _DOTS:
            raise ArgumentInvalid(f"{segment!r} names no resource; give its id or name")
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)


def file_path(project: str, name: str) -> str:
    """The path of a project's file; raises ArgumentInvalid unless `name` is relative and without dots."""
    parts = name.split("/")
    if not _DOTS.isdisjoint(parts):
        raise ArgumentInvalid(f"{name!r} is not a file's path; write it like data/input.csv, without . or ..")
    return "/".join([path("projects", project, "files"), *(quote(part, safe="") for part in parts)])


def get(at: str, **query: str | int | None) -> Request:
    """A GET; query parameters that are None are left out."""
    given = tuple((name, str(value)) for name, value in query.items() if value is not None)
    return Request("GET", at, given)


def post(at: str, body: msgspec.Struct | None = None, key: str | None = None) -> Request:
    """A POST of `body`. Without `key` the request gets one of its own, the same for all its tries."""
    headers = () if key is None else ((KEY_HEADER, key),)
    if body is None:
        return Request("POST", at, (), headers)
    return Request("POST", at, (), (*JSON, *headers), _encoder.encode(body))


def put(at: str, body: msgspec.Struct, headers: Mapping[str, str] | None = None) -> Request:
    """A PUT of `body`."""
    return Request("PUT", at, (), (*JSON, *(headers or {}).items()), _encoder.encode(body))


def delete(at: str, version: int | None = None) -> Request:
    """A DELETE, of that row version where one is given."""
    return Request("DELETE", at, (), () if version is None else (("If-Match", f'"{version}"'),))


def ask(kind: type[T], request: Request, patience: Patience = REQUEST) -> Flow[T]:
    """The operation that sends `request` and answers a `kind`."""
    return decode(kind, (yield from exchange(request, patience)))


def tell(request: Request) -> Flow[None]:
    """The operation that sends `request` and answers nothing."""
    yield from exchange(request)


def pages(kind: type[T], at: str, limit: int | None, **query: str | int | None) -> Stream[T]:
    """The operation that answers every item of a list, or the first `limit`, page by page."""
    left = limit
    cursor: str | None = None
    while left is None or left > 0:
        size = PAGE_ITEMS if left is None else min(left, PAGE_MAX)
        page_kind: type[Page[T]] = Page[kind]  # type: ignore[valid-type]
        page = yield from ask(page_kind, get(at, **query, limit=size, cursor=cursor))
        for item in page.items[:left]:
            yield Item(item)
        left = None if left is None else left - len(page.items)
        if page.next is None:
            return
        if page.next == cursor:
            raise AnswerUnexpected(f"the list {at} names the same next page again; report it")
        cursor = page.next
