"""Events: what was done or refused, as lists, as a watch, and with what proves them."""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from kumoi.app.log import head_published
from kumoi.app.organizations import organization_authorized, organization_target
from kumoi.app.plane import Plane, Region
from kumoi.ledger.receipt import receipt_build, receipt_format
from kumoi.model.access import PLATFORM_TARGET, AccessGrant, Action, Actor, ResourceKind, Target
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.ids import IdKind, id_is
from kumoi.model.records import Event, Page, Receipt
from kumoi.model.time import US_PER_S
from kumoi.store import events, log
from kumoi.store.access import actor_of_token
from kumoi.store.access_requests import access_grants
from kumoi.store.database import Connection
from kumoi.store.schema import AnyRow

WATCH_S_MAX = 600
WATCH_POLL_S = 1.0
WATCH_EVENTS_MAX = 500
_INDEX_MAX = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class _Watched:
    """What one look at the store gave: who the watcher is by now, and what happened."""

    actor: Actor | None
    grants: Sequence[AccessGrant]
    events: Sequence[Event]


async def event_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[Event]:
    """Events of an organization, newest first."""
    organization_id = await organization_authorized(
        plane, actor, Action.ORGANIZATION_EVENT_LIST, organization
    )
    return await _page(plane, organization_id, limit, cursor)


async def platform_event_list(plane: Plane, actor: Actor, limit: int, cursor: str | None) -> Page[Event]:
    """Events of the operators' own organization, newest first; what tenants do is not among them."""
    await plane.authorize(actor, Action.PLATFORM_EVENT_LIST, PLATFORM_TARGET)
    return await _page(plane, plane.region.platform_organization_id, limit, cursor)


async def event_watch(
    plane: Plane, actor: Actor, organization: str, after: int | None
) -> AsyncIterator[Event]:
    """Events of an organization in the order of the log, as they get their place in it.

    Resumes behind the log index `after`, or begins with what comes next. Ends after WATCH_S_MAX, and as
    soon as the caller's token, role or organization does not allow it any more; whoever is still allowed
    resumes. Await it for the refusals, then iterate.
    """
    organization_id = await organization_authorized(
        plane, actor, Action.ORGANIZATION_EVENT_LIST, organization
    )
    if after is not None and not 0 <= after <= _INDEX_MAX:
        raise Invalid(
            "event_index_invalid",
            "Last-Event-ID is the log index of an event, not {after}",
            at="Last-Event-ID",
            after=after,
        )
    if after is None:
        head = await plane.store.read(log.head_read, plane.region.log_origin)
        after = -1 if head is None else head.size - 1
    return _watch(plane, actor, organization_id, after)


async def event_read(plane: Plane, actor: Actor, event_id: str) -> Event:
    """One event."""
    return events.event_from_row(await _event_authorized(plane, actor, event_id))


async def receipt_read(plane: Plane, actor: Actor, event_id: str) -> Receipt:
    """What proves an event to anybody who has the log's key, without asking the plane again."""
    row = await _event_authorized(plane, actor, event_id)
    proof = None
    if row.log_index is not None:
        proof = await plane.store.read(_proof, plane.region, row.log_index)
    if proof is None:
        raise Conflict(
            "event_not_logged_yet",
            "the event {id} is not in the published log yet; ask again in a few seconds",
            id=event_id,
        )
    return Receipt(
        event=events.event_from_row(row),
        canonical=base64.b64encode(row.canonical.encode()).decode(),
        salt=base64.b64encode(row.salt).decode(),
        proof=proof.decode(),
        origin=plane.region.log_origin,
    )


async def _page(plane: Plane, organization_id: str, limit: int, cursor: str | None) -> Page[Event]:
    listing = f"events/{organization_id}"
    before = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(events.event_list, organization_id, limit + 1, before)
    return plane.cursors.page(listing, rows, limit, lambda event: event.id)


async def _watch(plane: Plane, actor: Actor, organization_id: str, after: int) -> AsyncIterator[Event]:
    end_us = plane.clock_us() + WATCH_S_MAX * US_PER_S
    target = organization_target(organization_id)
    while (now_us := plane.clock_us()) < end_us:
        seen = await plane.store.read(_look, actor, organization_id, after, now_us)
        if seen.actor is None or not _may_watch(plane, seen.actor, target, seen.grants):
            return
        for event in seen.events:
            yield event
            after = event.log_index if event.log_index is not None else after
        if len(seen.events) < WATCH_EVENTS_MAX:
            await asyncio.sleep(WATCH_POLL_S)


def _may_watch(plane: Plane, actor: Actor, target: Target, grants: Sequence[AccessGrant]) -> bool:
    action = Action.ORGANIZATION_EVENT_LIST
    return any(plane.guard.decide(actor, action, target, grant).allowed for grant in (None, *grants))


def _look(connection: Connection, actor: Actor, organization_id: str, after: int, now_us: int) -> _Watched:
    recorded = actor.session is not None
    return _Watched(
        actor_of_token(connection, actor.token_id, now_us),
        access_grants(connection, actor.id, organization_id, now_us) if recorded else (),
        events.event_list_logged(connection, organization_id, after, WATCH_EVENTS_MAX),
    )


async def _event_authorized(plane: Plane, actor: Actor, event_id: str) -> AnyRow:
    row = None
    if id_is(IdKind.EVENT, event_id):
        row = await plane.store.read(events.event_get, event_id)
    if row is None:
        await plane.refuse_unknown(actor, Action.EVENT_READ, ResourceKind.EVENT, event_id)
    target = Target(ResourceKind.EVENT, event_id, row.organization_id, row.project_id)
    await plane.authorize(actor, Action.EVENT_READ, target)
    return row


def _proof(connection: Connection, region: Region, index: int) -> bytes | None:
    """The receipt of an entry under the newest checkpoint, None where there is none yet that covers it."""
    head = head_published(connection, region)
    if head is None or index >= head.size:
        return None
    return receipt_format(receipt_build(log.StoredTiles(connection), index, head.checkpoint.encode()))
