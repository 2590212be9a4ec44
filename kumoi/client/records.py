"""Secrets, usage, events and health."""

import base64

from kumoi.client.answers import decode_json
from kumoi.client.errors import AnswerUnexpected, Unreachable
from kumoi.client.flows import Flow, Item, Open, Pause, Read, Request, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.log import log_checkpoint
from kumoi.client.requests import ask, delete, get, pages, path, put, tell
from kumoi.client.retries import POLL, exchange
from kumoi.client.server_events import MessageReader
from kumoi.model.records import Event, Health, Secret, SecretWrite, Usage

WATCH_SILENCE_S = 60.0
"""A watch that says nothing for so long is opened again; nothing is missed by that."""

_REOPEN_S = 0.5


def secret_list(project: str, *, limit: int | None = None) -> Stream[Secret]:
    """The names and versions of a project's secrets."""
    return pages(Secret, path("projects", project, "secrets"), limit)


def secret_put(project: str, name: str, value: bytes, *, version: int | None = None) -> Flow[Secret]:
    """Write a secret: a new one, or the next version of it (only of `version` where it is given)."""
    body = SecretWrite(base64.b64encode(value).decode())
    headers = None if version is None else {"If-Match": f'"{version}"'}
    return ask(Secret, put(path("projects", project, "secrets", name), body, headers))


def secret_delete(project: str, name: str, version: int) -> Flow[None]:
    """Remove a secret, if `version` is still its version."""
    return tell(delete(path("projects", project, "secrets", name), version))


def project_usage(project: str, *, since: str | None = None, until: str | None = None) -> Flow[Usage]:
    """What a project used between two RFC 3339 times."""
    return ask(Usage, get(path("projects", project, "usage"), since=since, until=until))


def organization_usage(
    organization: str, *, since: str | None = None, until: str | None = None
) -> Flow[Usage]:
    """What an organization used between two RFC 3339 times."""
    return ask(Usage, get(path("organizations", organization, "usage"), since=since, until=until))


def platform_usage(
    *, since: str | None = None, until: str | None = None, limit: int | None = None
) -> Stream[Usage]:
    """What each organization used between two RFC 3339 times."""
    return pages(Usage, path("usage"), limit, since=since, until=until)


def organization_events(organization: str, *, limit: int | None = None) -> Stream[Event]:
    """What happened in an organization, newest first."""
    return pages(Event, path("organizations", organization, "events"), limit)


def platform_events(*, limit: int | None = None) -> Stream[Event]:
    """What the platform and its operators did, newest first; nothing of tenants."""
    return pages(Event, path("events"), limit)


def event_read(event: str) -> Flow[Event]:
    """One event."""
    return ask(Event, get(path("events", event)))


def event_watch(organization: str, *, after: int | None = None) -> Stream[Event]:
    """Events of an organization as they get their place in the log, from behind index `after`, for ever.

    Without `after` from now on. A lost connection is opened again behind the last event, so none is missed
    and none comes twice.
    """
    last_id = str(after if after is not None else (yield from _log_end()))
    while True:
        headers = (("Accept", "text/event-stream"), ("Last-Event-ID", last_id))
        at = path("organizations", organization, "events", "watch")
        request = Request("GET", at, (), headers, read_timeout_s=WATCH_SILENCE_S)
        yield from exchange(Open(request), POLL)
        reader = MessageReader()
        while (chunk := (yield from _chunk_read())) is not None:
            for message in reader.feed(chunk):
                yield Item(decode_json(Event, message.data.encode(), at))
                last_id = message.last_id
        yield Pause(_REOPEN_S)


def _log_end() -> Flow[int]:
    """The index of the log's last entry (tlog-checkpoint: the second line is the size)."""
    checkpoint = yield from log_checkpoint()
    lines = checkpoint.split(b"\n", 2)
    if len(lines) != 3 or not lines[1].isdigit():
        raise AnswerUnexpected("the log's checkpoint has no size: is this the URL of a Kumoi plane?")
    return max(0, int(lines[1]) - 1)


def _chunk_read() -> Flow[bytes | None]:
    try:
        chunk: bytes | None = yield Read()
    except Unreachable:
        return None
    return chunk


def health() -> Flow[Health]:
    """Whether the plane answers, and which version it is. Needs no token."""
    return ask(Health, Request("GET", "/healthz", authenticated=False))


class Secrets(Group[D]):
    """`client.secrets`"""

    list = Streaming(secret_list)
    put = Operation(secret_put)
    delete = Operation(secret_delete)


class Usages(Group[D]):
    """`client.usage`"""

    project = Operation(project_usage)
    organization = Operation(organization_usage)
    platform = Streaming(platform_usage)


class Events(Group[D]):
    """`client.events`"""

    organization = Streaming(organization_events)
    platform = Streaming(platform_events)
    get = Operation(event_read)
    watch = Streaming(event_watch)
