"""What operators do with access: recorded before it is answered, and cut off when it ends."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from kumoi.app.plane import Plane, not_found
from kumoi.model.access import AccessGrant, Action, Actor, Target
from kumoi.model.ids import IdKind
from kumoi.store import schema
from kumoi.store.access import actor_of_token
from kumoi.store.access_requests import access_grants_hold
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

    `phase` is `whole`, or `begin` and `end` of what is streamed. The size of a begin is what was announced, 0
    where nothing was; what was sent, and its digest, is known at the end.
    """

    call: str
    phase: str
    status: int
    size_bytes: int = 0
    sha256: str = ""


async def use_record(plane: Plane, actor: Actor, sent: Sent) -> None:
    """Write durably what `actor` used and gets for it: for each grant a row, and an event of the tenant.

    Raises NotFound, and writes nothing, where a grant ended since it was looked at: what took long to find
    is not sent after a revocation. The end of a stream is recorded in any case.
    """
    change = _use_change(plane, actor, sent)
    grants = {grant.request_id for grant, _, _ in _used(actor)}

    def build(connection: Connection) -> Change:
        if sent.phase != "end" and not access_grants_hold(connection, grants, plane.clock_us()):
            raise not_found(", ".join(sorted({target.id for _, _, target in _used(actor)})))
        return change

    await plane.commit_built(build)


def _use_change(plane: Plane, actor: Actor, sent: Sent) -> Change:
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
        row = {"id": use_id, "at_us": now_us, "request_id": grant.request_id, "event_id": event["id"]}
        told = ("action", "call", "phase", "resource", "sha256", "size_bytes", "status")
        uses.append(row | {name: detail[name] for name in told})
    return Change([(schema.events, events), (schema.access_uses, uses)])


def access_detail(actor: Actor) -> dict[str, object]:
    """What the event of an operator's act holds, so that the act is never without its reason."""
    requests = sorted({grant.request_id for grant, _, _ in _used(actor)})
    return {"access_requests": requests} if requests else {}


async def access_over(plane: Plane, actor: Actor) -> None:
    """Return when something that `actor` uses is no longer granted to it, or its token no longer works."""
    requests = {grant.request_id for grant, _, _ in _used(actor)}
    while True:
        now = await plane.store.read(_actor_now, actor.token_id, requests, plane.clock_us())
        if now is None or not all(
            plane.guard.decide(now, action, target, grant).allowed for grant, action, target in _used(actor)
        ):
            return
        await asyncio.sleep(LOOK_S)


def _actor_now(connection: Connection, token_id: str, requests: Collection[str], now_us: int) -> Actor | None:
    """Whom the token works for, if the requests still grant."""
    if not access_grants_hold(connection, requests, now_us):
        return None
    return actor_of_token(connection, token_id, now_us)


def _used(actor: Actor) -> Iterable[tuple[AccessGrant, Action, Target]]:
    return () if actor.session is None else actor.session.used
