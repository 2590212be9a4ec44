"""What a handler gets: a request whose actor, parameters and body are known and within their limits."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from kumoi.model.access import PLATFORM, Actor, PrincipalKind
from kumoi.model.idempotency import IdempotencyKey
from kumoi.web.text import Reader

B = TypeVar("B")
Q = TypeVar("Q")

RawBody = AsyncIterator[bytes]

NOBODY = Actor("anonymous", PrincipalKind.SERVICE_ACCOUNT, PLATFORM, (), "", frozenset())


@dataclass(slots=True)
class Request(Generic[B, Q]):
    """A request of one route by `actor`, whose language is the reader's.

    `body` and `query` have the types that the table of routes names.

    `if_match` is `*` or one quoted ETag; `last_event_id` the place to resume a watch after. The actor of a
    public route is `NOBODY`.
    """

    actor: Actor
    path: Mapping[str, str]
    query: Q
    body: B
    key: IdempotencyKey | None
    if_match: str | None
    last_event_id: int | None
    reader: Reader
