"""What is kept about what happened: events, usage, secrets' names, files."""

from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct

from kumoi.model.ids import END, Id, Name

T = TypeVar("T")

SECRET_BYTES_MAX = 64 << 10
_SECRET_TEXT_MAX = SECRET_BYTES_MAX * 4 // 3 + 4
FILE_BYTES_MAX = 1 << 30
PAGE_MAX = 1_000


class Page(Struct, Generic[T], frozen=True):
    """A bounded part of a list; `next` is the cursor of the next part, null at the end."""

    items: tuple[T, ...]
    next: str | None


class Event(Struct, frozen=True):
    """Something that was done or refused. `log_index` is its place in the log once it has one."""

    id: Id
    at: str
    actor: str
    action: str
    resource: str
    outcome: str
    organization: Id
    project: Id | None
    detail: dict[str, Any]
    log_index: int | None


class Receipt(Struct, frozen=True):
    """What proves an event: the canonical bytes and salt (base64) and a `tlog-proof@v1`."""

    event: Event
    canonical: str
    salt: str
    proof: str
    origin: str


class SecretWrite(Struct, frozen=True, forbid_unknown_fields=True):
    """A secret's value, base64. It is written once and cannot be read back through the API."""

    value: Annotated[
        str, Meta(max_length=SECRET_BYTES_MAX * 4 // 3 + 4, pattern=rf"^[A-Za-z0-9+/]*={{0,2}}{END}")
    ]


class Secret(Struct, frozen=True):
    """A secret without its value."""

    id: Id
    project: Id
    name: Name
    key_version: int
    created_at: str
    updated_at: str
    version: int


class File(Struct, frozen=True):
    """A file of a project; `path` is relative, with forward slashes."""

    path: str
    size_bytes: int
    modified_at: str


class Usage(Struct, frozen=True):
    """What attempts used in a period, from their exit records (running ones up to their last meter)."""

    organization: Id | None
    project: Id | None
    since: str
    until: str
    attempts: int
    wall_s: float
    cpu_s: float
    cpu_milli_s: int
    memory_byte_s: int
    device_s: float


class Problem(Struct, frozen=True):
    """RFC 9457 problem details, served as application/problem+json. `at` names the place in the request."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    at: str | None = None
    request_id: str | None = None


class Health(Struct, frozen=True):
    """Whether the plane answers, and which version."""

    status: str
    version: str
    region: str
