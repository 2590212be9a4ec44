"""Events: what was done or refused, written in the same transaction as what it tells of."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select

from kumoi.model.ids import IdKind
from kumoi.model.records import Event
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.ids import id_new

DONE = "done"
REFUSED = "refused"
SYSTEM_ACTOR = "plane"

# Sorted ASCII keys, no floats: on such values this encoding equals RFC 8785 (a property test holds them
# together). With other keys it would not: RFC 8785 sorts by UTF-16, this by Unicode.
_canonical = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(type=dict[str, Any])


def event_row(
    action: str,
    *,
    at_us: int,
    actor: str,
    resource: str,
    organization: str,
    project: str | None = None,
    outcome: str = DONE,
    detail: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """The row of a new event. `detail` holds what a reader needs and no secret."""
    event_id = id_new(IdKind.EVENT)
    body = {
        "action": action,
        "actor": actor,
        "at": time_format(at_us),
        "detail": detail or {},
        "id": event_id,
        "organization": organization,
        "outcome": outcome,
        "project": project,
        "resource": resource,
    }
    return {
        "id": event_id,
        "at_us": at_us,
        "organization_id": organization,
        "project_id": project,
        "canonical": _canonical.encode(body).decode(),
        "salt": os.urandom(32),
    }


def event_from_row(row: Row[Any]) -> Event:
    """The event as its organization sees it."""
    return Event(log_index=row.log_index, **_decoder.decode(row.canonical))


def event_list(
    connection: Connection, organization_id: str, limit: int, before_id: str | None
) -> Sequence[Event]:
    """Events of an organization, newest first, older than `before_id`."""
    table = schema.events
    statement = select(table).where(table.c.organization_id == organization_id)
    if before_id is not None:
        statement = statement.where(table.c.id < before_id)
    rows = connection.execute(statement.order_by(table.c.id.desc()).limit(limit))
    return [event_from_row(row) for row in rows]


def event_list_logged(
    connection: Connection, organization_id: str, after_index: int, limit: int
) -> Sequence[Event]:
    """Events of an organization that have a place in the log above `after_index`, in its order."""
    table = schema.events
    statement = (
        select(table)
        .where(table.c.organization_id == organization_id, table.c.log_index > after_index)
        .order_by(table.c.log_index)
        .limit(limit)
    )
    return [event_from_row(row) for row in connection.execute(statement)]


def event_get(connection: Connection, event_id: str) -> Row[Any] | None:
    """The row of one event: canonical text, salt, log index, organization."""
    return connection.execute(select(schema.events).where(schema.events.c.id == event_id)).one_or_none()
