"""Who the caller is."""

from kumoi.app.plane import Plane, not_found
from kumoi.app.principals import self_target
from kumoi.model.access import Action, Actor, Whoami
from kumoi.store.database import Connection
from kumoi.store.organizations import organization_get
from kumoi.store.principals import principal_get
from kumoi.store.role_bindings import role_binding_list_of
from kumoi.store.tokens import token_get


async def whoami(plane: Plane, actor: Actor) -> Whoami:
    """The caller: principal, organization, roles, and the token in use."""
    await plane.authorize(actor, Action.SELF_READ, self_target(actor))
    found = await plane.store.read(_whoami, actor)
    if found is None:
        raise not_found(actor.id)
    return found


def _whoami(connection: Connection, actor: Actor) -> Whoami | None:
    principal = principal_get(connection, actor.id)
    organization = organization_get(connection, actor.organization_id)
    used = token_get(connection, actor.token_id)
    if principal is None or organization is None or used is None:
        return None
    return Whoami(
        id=principal.id,
        kind=principal.kind,
        name=principal.name,
        organization=organization.id,
        organization_name=organization.name,
        roles=tuple(role_binding_list_of(connection, actor.id)),
        token=used.token,
    )
