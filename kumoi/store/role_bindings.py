"""Role bindings: who holds which role, and where."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, exists, select

from kumoi.model.access import PrincipalKind, Role, RoleBinding, ScopeKind
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow

ADMINISTERING = (Role.ORGANIZATION_ADMIN, Role.PLATFORM_OPERATOR)


def role_binding_get(connection: Connection, role_binding_id: str) -> RoleBinding | None:
    """The role binding with this id."""
    table = schema.role_bindings
    row = connection.execute(select(table).where(table.c.id == role_binding_id)).one_or_none()
    return None if row is None else role_binding_from_row(row)


def role_binding_list(
    connection: Connection, organization_id: str, limit: int, after_id: str | None
) -> Sequence[RoleBinding]:
    """Role bindings of an organization by id, after `after_id`."""
    table = schema.role_bindings
    statement = select(table).where(table.c.organization_id == organization_id, table.c.id > (after_id or ""))
    rows = connection.execute(statement.order_by(table.c.id).limit(limit))
    return [role_binding_from_row(row) for row in rows]


def role_binding_list_of(connection: Connection, principal_id: str) -> Sequence[RoleBinding]:
    """Every role of one principal; a role and scope occur once, so there are few."""
    table = schema.role_bindings
    statement = select(table).where(table.c.principal_id == principal_id).order_by(table.c.id)
    return [role_binding_from_row(row) for row in connection.execute(statement)]


def role_binding_delete(connection: Connection, role_binding_id: str) -> bool:
    """Remove a role binding; whether it was there."""
    table = schema.role_bindings
    return connection.execute(delete(table).where(table.c.id == role_binding_id)).rowcount == 1


def administrator_exists(connection: Connection, organization_id: str, *, besides_id: str) -> bool:
    """Whether an active user other than `besides_id` administers the organization.

    Locks the organization's row where the database has row locks: two administrators who remove each
    other at once must not both succeed.
    """
    organizations, principals, bindings = schema.organizations, schema.principals, schema.role_bindings
    connection.execute(
        select(organizations.c.id).where(organizations.c.id == organization_id).with_for_update()
    )
    other = (
        select(bindings.c.id)
        .join(principals, principals.c.id == bindings.c.principal_id)
        .where(
            bindings.c.organization_id == organization_id,
            bindings.c.role.in_(ADMINISTERING),
            principals.c.kind == PrincipalKind.USER,
            principals.c.state == "active",
            principals.c.id != besides_id,
        )
    )
    return bool(connection.execute(select(exists(other))).scalar_one())


def role_binding_from_row(row: AnyRow) -> RoleBinding:
    """The role binding as its organization sees it."""
    return RoleBinding(
        id=row.id,
        organization=row.organization_id,
        principal=row.principal_id,
        role=Role(row.role),
        scope_kind=ScopeKind(row.scope_kind),
        scope=row.scope_id,
        created_at=time_format(row.created_us),
    )
