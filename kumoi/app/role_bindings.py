"""Role bindings: which principal holds which role, in an organization or one of its projects."""

from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized, organization_target
from kumoi.app.plane import Plane, not_found
from kumoi.app.principals import administrator_keep
from kumoi.model.access import (
    PLATFORM,
    Action,
    Actor,
    PrincipalKind,
    ResourceKind,
    Role,
    RoleBinding,
    RoleBindingCreate,
    ScopeKind,
)
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind, id_is
from kumoi.model.records import Page
from kumoi.model.time import time_format
from kumoi.store import role_bindings, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.principals import principal_get
from kumoi.store.writer import Change

# What each scope knows. The operators' own organization has the platform as its scope and nothing else,
# so that nobody becomes an operator by way of a role that tenants use.
_ROLES_OF_SCOPES = {
    ScopeKind.PLATFORM: {Role.PLATFORM_OPERATOR, Role.AUDITOR},
    ScopeKind.ORGANIZATION: {
        Role.ORGANIZATION_ADMIN,
        Role.AUDITOR,
        Role.MEMBER,
        Role.VIEWER,
        Role.SERVICE_ACCOUNT,
    },
    ScopeKind.PROJECT: {Role.MEMBER, Role.VIEWER, Role.SERVICE_ACCOUNT},
}
_ROLES_OF_KINDS = {
    PrincipalKind.USER: set(Role) - {Role.SERVICE_ACCOUNT},
    PrincipalKind.SERVICE_ACCOUNT: {Role.SERVICE_ACCOUNT, Role.VIEWER, Role.AUDITOR},
}


async def role_binding_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[RoleBinding]:
    """Role bindings of an organization, oldest first."""
    organization_id = await organization_authorized(plane, actor, Action.ROLE_BINDING_LIST, organization)
    listing = f"role-bindings/{organization_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(role_bindings.role_binding_list, organization_id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda binding: binding.id)


async def role_binding_create(
    plane: Plane, actor: Actor, organization: str, body: RoleBindingCreate, key: IdempotencyKey | None
) -> Written:
    """Give a principal of the organization a role, over the organization or one project of it."""
    organization_id = await organization_authorized(plane, actor, Action.ROLE_BINDING_CREATE, organization)
    scope_kind, scope_id = await _scope_find(plane, organization_id, body)
    now_us = plane.clock_us()
    binding = RoleBinding(
        id=id_new(IdKind.ROLE_BINDING, plane.region.cell),
        organization=organization_id,
        principal=body.principal,
        role=body.role,
        scope_kind=scope_kind,
        scope=scope_id,
        created_at=time_format(now_us),
    )
    row = {
        "id": binding.id,
        "organization_id": organization_id,
        "principal_id": body.principal,
        "role": body.role,
        "scope_kind": scope_kind,
        "scope_id": scope_id,
        "created_us": now_us,
    }
    event = event_row(
        Action.ROLE_BINDING_CREATE,
        at_us=now_us,
        actor=actor.id,
        resource=binding.id,
        organization=organization_id,
        project=body.project,
        detail={"principal": body.principal, "role": body.role, "scope": scope_id},
    )

    def build(connection: Connection) -> Change:
        _binding_check(connection, binding)
        inserts = [(schema.role_bindings, [row]), (schema.events, [event])]
        return Change(inserts, key=key, answer=answer(201, binding))

    written = await plane.commit_built(build, key)
    plane.access_changed()
    return written


async def role_binding_delete(plane: Plane, actor: Actor, role_binding_id: str) -> Written:
    """Take a role away; it ends at once."""
    binding = None
    if id_is(IdKind.ROLE_BINDING, role_binding_id):
        binding = await plane.store.read(role_bindings.role_binding_get, role_binding_id)
    if binding is None:
        await plane.refuse_unknown(
            actor, Action.ROLE_BINDING_DELETE, ResourceKind.ORGANIZATION, role_binding_id
        )
    await plane.authorize(
        actor,
        Action.ROLE_BINDING_DELETE,
        organization_target(binding.organization),
        named=role_binding_id,
        reading=Action.ROLE_BINDING_LIST,
    )
    event = event_row(
        Action.ROLE_BINDING_DELETE,
        at_us=plane.clock_us(),
        actor=actor.id,
        resource=role_binding_id,
        organization=binding.organization,
        project=binding.scope if binding.scope_kind == ScopeKind.PROJECT else None,
        detail={"principal": binding.principal, "role": binding.role, "scope": binding.scope},
    )

    def build(connection: Connection) -> Change:
        principal = principal_get(connection, binding.principal)
        if principal is not None and binding.role in role_bindings.ADMINISTERING:
            administrator_keep(connection, principal)
        if not role_bindings.role_binding_delete(connection, role_binding_id):
            raise not_found(role_binding_id)
        return Change([(schema.events, [event])])

    written = await plane.commit_built(build)
    plane.access_changed()
    return written


async def _scope_find(plane: Plane, organization_id: str, body: RoleBindingCreate) -> tuple[ScopeKind, str]:
    """What the binding covers. Raises Invalid where the role does not exist there."""
    scope_kind, scope_id = ScopeKind.ORGANIZATION, organization_id
    if body.project is not None:
        place = await plane.directory.project(body.project)
        if place is None or place.organization_id != organization_id:
            raise Invalid(
                "project_unknown",
                "the organization has no project {project}; take an id from its list of projects",
                at="/project",
                project=body.project,
            )
        scope_kind, scope_id = ScopeKind.PROJECT, body.project
    elif organization_id == plane.region.platform_organization_id:
        scope_kind, scope_id = ScopeKind.PLATFORM, PLATFORM
    if body.role not in _ROLES_OF_SCOPES[scope_kind]:
        raise Invalid(
            "role_not_of_scope",
            "the role {role} does not exist for a {scope}; use one of {roles}",
            at="/role",
            role=body.role.value,
            scope=scope_kind.value,
            roles=", ".join(sorted(_ROLES_OF_SCOPES[scope_kind])),
        )
    return scope_kind, scope_id


def _binding_check(connection: Connection, binding: RoleBinding) -> None:
    """Raise Invalid if the principal cannot hold the role, Conflict if it does already."""
    principal = principal_get(connection, binding.principal)
    if principal is None or principal.organization != binding.organization:
        raise Invalid(
            "principal_unknown",
            "the organization has no principal {principal}; take an id from its list of principals",
            at="/principal",
            principal=binding.principal,
        )
    if binding.role not in _ROLES_OF_KINDS[principal.kind]:
        raise Invalid(
            "role_not_of_kind",
            "a {kind} cannot hold the role {role}; use one of {roles}",
            at="/role",
            kind=principal.kind.value,
            role=binding.role.value,
            roles=", ".join(sorted(_ROLES_OF_KINDS[principal.kind])),
        )
    held = role_bindings.role_binding_list_of(connection, binding.principal)
    if any((other.role, other.scope) == (binding.role, binding.scope) for other in held):
        raise Conflict(
            "role_held",
            "{name} holds the role {role} there already",
            name=principal.name,
            role=binding.role.value,
        )
