"""Principals: the users and service accounts of an organization."""

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.model.access import Action, Actor, Principal, PrincipalCreate, PrincipalKind, ResourceKind, Target
from kumoi.model.errors import Conflict
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind, id_is
from kumoi.model.records import Page
from kumoi.model.time import time_format
from kumoi.store import principals, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.role_bindings import administrator_exists
from kumoi.store.writer import Change, Move

_ID_KINDS = {
    PrincipalKind.USER: IdKind.USER,
    PrincipalKind.SERVICE_ACCOUNT: IdKind.SERVICE_ACCOUNT,
}


def principal_target(principal_id: str, organization_id: str) -> Target:
    """The principal as the guard sees it: it belongs to itself."""
    return Target(ResourceKind.PRINCIPAL, principal_id, organization_id, owner_id=principal_id)


def self_target(actor: Actor) -> Target:
    """The caller as something acted on."""
    return principal_target(actor.id, actor.organization_id)


async def principal_authorized(plane: Plane, actor: Actor, action: Action, principal_id: str) -> Principal:
    """The principal, if `actor` may do `action` to it. Raises NotFound or Forbidden."""
    principal = None
    if any(id_is(kind, principal_id) for kind in _ID_KINDS.values()):
        principal = await plane.store.read(principals.principal_get, principal_id)
    if principal is None:
        await plane.refuse_unknown(actor, action, ResourceKind.PRINCIPAL, principal_id)
    await plane.authorize(actor, action, principal_target(principal_id, principal.organization))
    return principal


async def principal_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[Principal]:
    """Principals of an organization, oldest first of each kind."""
    organization_id = await organization_authorized(plane, actor, Action.PRINCIPAL_LIST, organization)
    listing = f"principals/{organization_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(principals.principal_list, organization_id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda principal: principal.id)


async def principal_create(
    plane: Plane, actor: Actor, organization: str, body: PrincipalCreate, key: IdempotencyKey | None
) -> Written:
    """Create a user or service account; it holds no role yet."""
    organization_id = await organization_authorized(plane, actor, Action.PRINCIPAL_CREATE, organization)
    now_us = plane.clock_us()
    created = Principal(
        id=id_new(_ID_KINDS[body.kind], plane.region.cell),
        kind=body.kind,
        organization=organization_id,
        name=body.name,
        state="active",
        created_at=time_format(now_us),
        version=1,
    )
    row = {
        "id": created.id,
        "organization_id": organization_id,
        "kind": body.kind,
        "name": body.name,
        "created_us": now_us,
    }
    event = event_row(
        Action.PRINCIPAL_CREATE,
        at_us=now_us,
        actor=actor.id,
        resource=created.id,
        organization=organization_id,
        detail={"name": body.name, "kind": body.kind},
    )
    inserts = [(schema.principals, [row]), (schema.events, [event])]
    return await plane.commit(Change(inserts, key=key, answer=answer(201, created, 1)))


async def principal_disable(
    plane: Plane, actor: Actor, principal_id: str, key: IdempotencyKey | None
) -> Written:
    """End the access of a principal at once; its tokens stop working."""
    return await _principal_move(
        plane, actor, Action.PRINCIPAL_DISABLE, principal_id, "active", "disabled", key
    )


async def principal_enable(
    plane: Plane, actor: Actor, principal_id: str, key: IdempotencyKey | None
) -> Written:
    """Let a disabled principal in again; its tokens that have not expired work again."""
    return await _principal_move(
        plane, actor, Action.PRINCIPAL_ENABLE, principal_id, "disabled", "active", key
    )


async def _principal_move(
    plane: Plane,
    actor: Actor,
    action: Action,
    principal_id: str,
    source: str,
    target: str,
    key: IdempotencyKey | None,
) -> Written:
    await principal_authorized(plane, actor, action, principal_id)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        principal = principals.principal_get(connection, principal_id)
        if principal is None:
            raise not_found(principal_id)
        if principal.state != source:
            raise Conflict(
                "principal_state",
                "the principal {name} is {state}, so it cannot become {target}",
                name=principal.name,
                state=principal.state,
                target=target,
            )
        if target == "disabled":
            administrator_keep(connection, principal)
        moved = replace(principal, state=target, version=principal.version + 1)
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=principal_id,
            organization=principal.organization,
        )
        move = Move(schema.principals, principal_id, source, target, {})
        return Change([(schema.events, [event])], [move], key, answer(200, moved, moved.version))

    written = await plane.commit_built(build, key)
    plane.access_changed()
    return written


def administrator_keep(connection: Connection, principal: Principal) -> None:
    """Raise Conflict if nobody would administer the organization without `principal`."""
    if not administrator_exists(connection, principal.organization, besides_id=principal.id):
        raise Conflict(
            "last_administrator",
            "{name} is the last administrator of the organization, and nobody could make another; "
            "give somebody else the role first",
            name=principal.name,
        )
