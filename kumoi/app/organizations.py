"""Organizations: the tenants, and the platform's own."""

import os

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.founding import Founder, organization_founding
from kumoi.app.plane import Plane, not_found
from kumoi.core.tokens import SECRET_BYTES, token_format
from kumoi.model.access import (
    PLATFORM_TARGET,
    Action,
    Actor,
    Organization,
    OrganizationCreate,
    OrganizationCreated,
    ResourceKind,
    Target,
)
from kumoi.model.errors import Conflict
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.records import Page
from kumoi.store import organizations, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.writer import Change, Move


def organization_target(organization_id: str) -> Target:
    """The organization as the guard sees it."""
    return Target(ResourceKind.ORGANIZATION, organization_id, organization_id)


async def organization_authorized(plane: Plane, actor: Actor, action: Action, name_or_id: str) -> str:
    """The id of the organization, if `actor` may do `action` in it. Raises NotFound or Forbidden."""
    organization_id = await plane.directory.organization_id(name_or_id)
    if organization_id is None:
        await plane.refuse_unknown(actor, action, ResourceKind.ORGANIZATION, name_or_id)
    await plane.authorize(actor, action, organization_target(organization_id), named=name_or_id)
    return organization_id


async def organization_list(plane: Plane, actor: Actor, limit: int, cursor: str | None) -> Page[Organization]:
    """Every organization, oldest first: for operators."""
    await plane.authorize(actor, Action.ORGANIZATION_LIST, PLATFORM_TARGET)
    after = plane.cursors.open("organizations", cursor)
    rows = await plane.store.read(organizations.organization_list, limit + 1, after)
    return plane.cursors.page("organizations", rows, limit, lambda organization: organization.id)


async def organization_read(plane: Plane, actor: Actor, organization: str) -> Organization:
    """One organization."""
    organization_id = await organization_authorized(plane, actor, Action.ORGANIZATION_READ, organization)
    found = await plane.store.read(organizations.organization_get, organization_id)
    if found is None:
        raise not_found(organization)
    return found


async def organization_create(
    plane: Plane, actor: Actor, body: OrganizationCreate, key: IdempotencyKey | None
) -> Written:
    """Create an organization with its first administrator, whose token only the first answer shows."""
    await plane.authorize(actor, Action.ORGANIZATION_CREATE, PLATFORM_TARGET)
    token = token_format(os.urandom(SECRET_BYTES))
    platform_key = plane.keys.encryptions.platform.current
    founder = Founder(actor.id, plane.region.cell, plane.clock_us(), token, platform_key)
    founded = organization_founding(
        body.name, body.display_name or body.name, body.admin_name, founder, is_platform=False
    )
    seen_by_operators = event_row(
        Action.ORGANIZATION_CREATE,
        at_us=founder.now_us,
        actor=actor.id,
        resource=founded.organization.id,
        organization=plane.region.platform_organization_id,
        detail={"name": body.name},
    )
    kept = OrganizationCreated(founded.organization, founded.admin, None)
    inserts = [*founded.change.inserts, (schema.events, [seen_by_operators])]
    written = await plane.commit(Change(inserts, key=key, answer=answer(201, kept, 1)))
    return written if written.replayed else answer(201, replace(kept, admin_token=token), 1)


async def organization_suspend(
    plane: Plane, actor: Actor, organization: str, key: IdempotencyKey | None
) -> Written:
    """Lock an organization out at once; what it holds, and what it runs, stays."""
    return await _organization_move(
        plane, actor, Action.ORGANIZATION_SUSPEND, organization, "active", "suspended", key
    )


async def organization_resume(
    plane: Plane, actor: Actor, organization: str, key: IdempotencyKey | None
) -> Written:
    """Let a suspended organization in again."""
    return await _organization_move(
        plane, actor, Action.ORGANIZATION_RESUME, organization, "suspended", "active", key
    )


async def _organization_move(
    plane: Plane,
    actor: Actor,
    action: Action,
    name: str,
    source: str,
    target: str,
    key: IdempotencyKey | None,
) -> Written:
    organization_id = await organization_authorized(plane, actor, action, name)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        organization = organizations.organization_get(connection, organization_id)
        if organization is None:
            raise not_found(name)
        if organization.state != source:
            raise Conflict(
                "organization_state",
                "the organization {name} is {state}, so it cannot become {target}",
                name=organization.name,
                state=organization.state,
                target=target,
            )
        moved = replace(organization, state=target, version=organization.version + 1)
        events = [
            event_row(action, at_us=now_us, actor=actor.id, resource=organization_id, organization=reader)
            for reader in (organization_id, plane.region.platform_organization_id)
        ]
        move = Move(schema.organizations, organization_id, source, target, {})
        return Change([(schema.events, events)], [move], key, answer(200, moved, moved.version))

    written = await plane.commit_built(build, key)
    plane.access_changed()
    return written
