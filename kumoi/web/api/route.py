"""What the table of routes is made of."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from kumoi.model.access import Action, Actor
from kumoi.web.api.answer import Answer
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane

Handler = Callable[["Plane", Request[Any, Any]], Awaitable[Answer]]
Admit = Callable[["Plane", Actor, Mapping[str, str]], Awaitable[None]]

JSON_BYTES_MAX = 1 << 20
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_ALWAYS = (400, 422, 500, 503)
_AUTHENTICATED = (401, 403, 404)
_JSON_BODY = (413, 415)


class Media(Enum):
    """Bodies that are not JSON."""

    BYTES = "application/octet-stream"
    TEXT = "text/plain"
    EVENTS = "text/event-stream"
    OPENAPI = "application/openapi+json"


@dataclass(frozen=True)
class Route:
    """One method of one path: the only place that says what it takes, answers and refuses.

    `action` is what the guard decides on; None makes the route public. `answer` None is an empty answer.
    `errors` are the statuses that this route adds to those that follow from its shape. A path that ends in
    `{...}` with `tail` takes the rest of the path, slashes included. A `watch` holds its connection. `admit`
    refuses, before a large body is read, whoever may not send one.
    """

    method: str
    path: str
    handler: Handler
    action: Action | None
    answer: type[msgspec.Struct] | Media | None
    status: int = 200
    body: type[msgspec.Struct] | Media | None = None
    query: type[msgspec.Struct] = NoQuery
    errors: tuple[int, ...] = ()
    also: tuple[int, ...] = ()
    body_bytes_max: int = JSON_BYTES_MAX
    tail: bool = False
    etag: bool = False
    if_match: bool = False
    watch: bool = False
    admit: Admit | None = None

    @cached_property
    def template(self) -> str:
        """Method and path, as idempotency keys and the access log name it."""
        return f"{self.method} {self.path}"

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters, in their order."""
        return tuple(_PARAMETER.findall(self.path))

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any] | None:
        """What reads the JSON body, where there is one."""
        if self.body is None or isinstance(self.body, Media):
            return None
        return msgspec.json.Decoder(self.body)

    @cached_property
    def query_default(self) -> msgspec.Struct:
        """The parameters of a request without a query string."""
        return self.query()

    @property
    def keyed(self) -> bool:
        """Whether the route honours an Idempotency-Key. PUT and DELETE done twice leave what once leaves."""
        return self.method == "POST"

    @property
    def streams(self) -> bool:
        """Whether a body of the route goes through in parts, and may take long."""
        return self.watch or Media.BYTES in (self.body, self.answer)

    @property
    def operation(self) -> str:
        """The stable name of the operation: that of its handler."""
        return getattr(self.handler, "__name__", self.template)

    @property
    def successes(self) -> tuple[int, ...]:
        """Every status that is not a problem."""
        return (self.status, *self.also)

    @property
    def problems(self) -> tuple[int, ...]:
        """Every status that the route may answer with a problem."""
        found = {*_ALWAYS, *self.errors}
        if self.action is not None:
            found.update(_AUTHENTICATED)
        if self.keyed:
            found.add(409)
        if isinstance(self.body, Media):
            found.add(413)
        elif self.body is not None:
            found.update(_JSON_BODY)
        return tuple(sorted(found))
