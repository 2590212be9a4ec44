"""Shares: how much of the region an organization may hold, and its weight where organizations compete."""

from collections.abc import Mapping
from typing import Any

from kumoi.app.answers import answer, etag_matches
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.model.access import Action, Actor
from kumoi.model.errors import PreconditionFailed, PreconditionRequired
from kumoi.model.idempotency import Written
from kumoi.model.records import Page
from kumoi.model.shares import FairShare, FairShareWrite, Quota, QuotaResource, QuotaWrite
from kumoi.store import schema, shares
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.writer import Change

NO_CONTENT = Written(204, b"")


async def quota_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[Quota]:
    """The quotas of an organization: resources that are not named have no limit."""
    organization_id = await organization_authorized(plane, actor, Action.QUOTA_LIST, organization)
    listing = f"quotas/{organization_id}"
    after = plane.cursors.open(listing, cursor) or ""
    rows = [row for row in await plane.store.read(shares.quota_list, organization_id) if row.resource > after]
    return plane.cursors.page(listing, rows, limit, lambda quota: quota.resource)


async def quota_write(
    plane: Plane,
    actor: Actor,
    organization: str,
    resource: QuotaResource,
    body: QuotaWrite,
    if_match: str | None,
) -> Written:
    """Limit what live attempts of an organization hold at once. Less than it holds now ends nothing."""
    organization_id = await organization_authorized(plane, actor, Action.QUOTA_WRITE, organization)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        known = shares.quota_get(connection, organization_id, resource)
        version_check(resource.value, if_match, None if known is None else known.version)
        written = shares.quota_put(connection, organization_id, resource, body.most, now_us)
        told = events_of(
            plane, actor, Action.QUOTA_WRITE, organization_id, {"resource": resource, "most": body.most}
        )
        return Change([told], answer=answer(201 if known is None else 200, written, written.version))

    return await plane.commit_built(build, wake=("placement",))


async def quota_delete(
    plane: Plane, actor: Actor, organization: str, resource: QuotaResource, if_match: str | None
) -> Written:
    """Lift a quota."""
    organization_id = await organization_authorized(plane, actor, Action.QUOTA_DELETE, organization)
    if_match_needed(if_match)

    def build(connection: Connection) -> Change:
        known = shares.quota_get(connection, organization_id, resource)
        if known is None:
            raise not_found(resource.value)
        version_check(resource.value, if_match, known.version)
        shares.quota_drop(connection, organization_id, resource)
        told = events_of(plane, actor, Action.QUOTA_DELETE, organization_id, {"resource": resource})
        return Change([told], answer=NO_CONTENT)

    return await plane.commit_built(build, wake=("placement",))


async def fair_share_read(plane: Plane, actor: Actor, organization: str) -> FairShare:
    """The weight of an organization."""
    organization_id = await organization_authorized(plane, actor, Action.FAIR_SHARE_READ, organization)
    return await plane.store.read(shares.fair_share_get, organization_id)


async def fair_share_write(
    plane: Plane, actor: Actor, organization: str, body: FairShareWrite, if_match: str | None
) -> Written:
    """Give an organization a weight: twice the weight is twice the share where organizations compete."""
    organization_id = await organization_authorized(plane, actor, Action.FAIR_SHARE_WRITE, organization)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        known = shares.fair_share_get(connection, organization_id)
        version_check("fair-share", if_match, known.version)
        written = shares.fair_share_put(connection, organization_id, body.weight, now_us)
        told = events_of(plane, actor, Action.FAIR_SHARE_WRITE, organization_id, {"weight": body.weight})
        return Change([told], answer=answer(200, written, written.version))

    return await plane.commit_built(build, wake=("placement",))


def version_check(name: str, if_match: str | None, version: int | None) -> None:
    """Refuse a write that was decided on another version than `version`, None for what does not exist."""
    if if_match is not None and not etag_matches(if_match, version):
        raise PreconditionFailed(
            "version_differs",
            "{name} is not at the version {if_match}; read it again, then decide again",
            at="If-Match",
            name=name,
            if_match=if_match,
        )


def if_match_needed(if_match: str | None) -> None:
    """Refuse to delete what was not looked at."""
    if if_match is None:
        raise PreconditionRequired(
            "if_match_missing",
            "deleting needs an If-Match; send the ETag of the version meant, or * for any",
            at="If-Match",
        )


def events_of(
    plane: Plane,
    actor: Actor,
    action: Action,
    organization_id: str,
    detail: Mapping[str, object],
    resource: str | None = None,
) -> tuple[Any, list[dict[str, Any]]]:
    """What the provider allots is told to the organization and to the provider's own auditors."""
    readers = dict.fromkeys((organization_id, plane.region.platform_organization_id))
    return schema.events, [
        event_row(
            action,
            at_us=plane.clock_us(),
            actor=actor.id,
            resource=resource or organization_id,
            organization=reader,
            detail=detail,
        )
        for reader in readers
    ]
