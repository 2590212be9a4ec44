"""What operators do with access: recorded before it is answered, and cut off when it ends."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kumoi.app.plane import Plane
from kumoi.model.access import AccessGrant, Action, Actor, Target
from kumoi.model.ids import IdKind
from kumoi.store import schema
from kumoi.store.access import actor_of_token
from kumoi.store.access_requests import access_grants
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.writer import Change

LOOK_S = 0.25
"""How often it is looked whether a stream's access still holds: a revocation ends it well within a second."""
ACCESS_USE = "access_use"


@dataclass(frozen=True, slots=True)
class Sent:
    """What an answer was, or will be: the call that got it, and the bytes of its body.

    `phase` is `whole`, or `begin` and `end` of what is streamed, whose size and digest are known at the end.
    """

    call: str
    phase: str
    status: int
    size_bytes: int = 0
    sha256: str = ""


async def use_record(plane: Plane, actor: Actor, sent: Sent) -> None:
    """Write durably what `actor` used and gets for it: for each grant a row, and an event of the tenant."""
    now_us = plane.clock_us()
    uses: list[dict[str, Any]] = []
    events: list[dict[str, Any]] = []
    for grant, action, target in _used(actor):
        use_id = id_new(IdKind.ACCESS_USE, plane.region.cell)
        detail = {
            "action": action,
            "call": sent.call,
            "phase": sent.phase,
            "project": target.project_id,
            "request": grant.request_id,
            "resource": target.id,
            "sha256": sent.sha256,
            "size_bytes": sent.size_bytes,
            "status": sent.status,
        }
        event = event_row(
            ACCESS_USE,
            at_us=now_us,
            actor=actor.id,
            resource=use_id,
            organization=grant.organization_id,
            detail=detail,
        )
        events.append(event)
        uses.append(
            {
                "id": use_id,
                "request_id": grant.request_id,
                "at_us": now_us,
                "action": action,
                "resource": target.id,
                "call": sent.call,
                "phase": sent.phase,
                "status": sent.status,
                "size_bytes": sent.size_bytes,
                "sha256": sent.sha256,
                "event_id": event["id"],
            }
        )
    await plane.commit(Change([(schema.events, events), (schema.access_uses, uses)]))


async def access_over(plane: Plane, actor: Actor) -> None:
    """Return when something that `actor` uses is no longer granted, or its token no longer works."""
    grants = {grant for grant, _, _ in _used(actor)}
    while await plane.store.read(_holds, actor, grants, plane.clock_us()):
        await asyncio.sleep(LOOK_S)


def _holds(connection: Connection, actor: Actor, grants: Iterable[AccessGrant], now_us: int) -> bool:
    if actor_of_token(connection, actor.token_id, now_us) is None:
        return False
    return all(
        grant in access_grants(connection, actor.id, grant.organization_id, now_us) for grant in grants
    )


def _used(actor: Actor) -> Iterable[tuple[AccessGrant, Action, Target]]:
    return () if actor.session is None else actor.session.used
