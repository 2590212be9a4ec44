"""Who a token belongs to, and the cached view of it that every request starts from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select
from sqlalchemy.dialects import postgresql, sqlite

from kumoi.model.access import Actor, Grant, PrincipalKind, Role, ScopeKind, TokenScope
from kumoi.store import schema


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """The actor of a token, and until when the token is good (microseconds UTC)."""

    actor: Actor
    expires_us: int


def token_holder_find(connection: Connection, token_hash: bytes) -> TokenHolder | None:
    """The holder of an active token of an active principal of an active organization."""
    return _holder(connection, schema.tokens.c.hash == token_hash)


def actor_of_token(connection: Connection, token_id: str, now_us: int) -> Actor | None:
    """Who a token works for at `now_us`, None where it works no more: for what outlives one request."""
    holder = _holder(connection, schema.tokens.c.id == token_id)
    return None if holder is None or holder.expires_us <= now_us else holder.actor


def _holder(connection: Connection, which: ColumnElement[bool]) -> TokenHolder | None:
    tokens, principals, organizations = schema.tokens, schema.principals, schema.organizations
    row = connection.execute(
        select(tokens, principals.c.kind)
        .join(principals, principals.c.id == tokens.c.principal_id)
        .join(organizations, organizations.c.id == principals.c.organization_id)
        .where(
            which,
            tokens.c.state == "active",
            principals.c.state == "active",
            organizations.c.state == "active",
        )
    ).one_or_none()
    if row is None:
        return None
    bindings = connection.execute(
        select(schema.role_bindings).where(schema.role_bindings.c.principal_id == row.principal_id)
    )
    return TokenHolder(_actor(row, bindings.all()), row.expires_us)


def _actor(row: Row[Any], bindings: Sequence[Row[Any]]) -> Actor:
    return Actor(
        id=row.principal_id,
        kind=PrincipalKind(row.kind),
        organization_id=row.organization_id,
        grants=tuple(Grant(Role(b.role), ScopeKind(b.scope_kind), b.scope_id) for b in bindings),
        token_id=row.id,
        token_scopes=frozenset(TokenScope(scope) for scope in row.scopes.split(",")),
        token_project_id=row.project_id,
    )


def refusal_add(
    connection: Connection, actor_id: str, organization_id: str, action: str, minute_us: int, refused: int
) -> None:
    """Count `refused` more refusals of an actor and action in a minute."""
    table = schema.refusals
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = build(table).values(
        actor_id=actor_id,
        organization_id=organization_id,
        action=action,
        minute_us=minute_us,
        refused=refused,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["actor_id", "action", "minute_us"],
            set_={"refused": table.c.refused + statement.excluded.refused},
        )
    )


def platform_organization_id(connection: Connection) -> str | None:
    """The organization that the operators belong to; None before the region was founded."""
    table = schema.organizations
    return connection.execute(select(table.c.id).where(table.c.is_platform)).scalar_one_or_none()


def project_number_next(connection: Connection) -> int:
    """The next free project number, which its operating-system user is derived from."""
    return (
        int(connection.execute(select(func.coalesce(func.max(schema.projects.c.number), 0))).scalar_one()) + 1
    )
