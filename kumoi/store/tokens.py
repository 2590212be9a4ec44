"""API tokens, of which only hashes are kept."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from kumoi.model.access import Token, TokenScope
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token, the organization of its owner, and from when to when it was made for (microseconds UTC)."""

    token: Token
    organization_id: str
    created_us: int
    expires_us: int


def token_get(connection: Connection, token_id: str) -> TokenRow | None:
    """The token with this id."""
    table = schema.tokens
    row = connection.execute(select(table).where(table.c.id == token_id)).one_or_none()
    if row is None:
        return None
    return TokenRow(token_from_row(row), row.organization_id, row.created_us, row.expires_us)


def token_list(
    connection: Connection, principal_id: str, limit: int, after_id: str | None
) -> Sequence[Token]:
    """Tokens of a principal by id, after `after_id`; those that ended as well."""
    table = schema.tokens
    statement = select(table).where(table.c.principal_id == principal_id, table.c.id > (after_id or ""))
    return [token_from_row(row) for row in connection.execute(statement.order_by(table.c.id).limit(limit))]


def scopes_format(scopes: Sequence[TokenScope]) -> str:
    """The scopes as the store keeps them: each once, in order."""
    return ",".join(sorted(set(scopes)))


def scopes_parse(text: str) -> tuple[TokenScope, ...]:
    """The inverse of `scopes_format`."""
    return tuple(TokenScope(scope) for scope in text.split(","))


def token_from_row(row: AnyRow) -> Token:
    """The token without anything that it could be used with."""
    return Token(
        id=row.id,
        principal=row.principal_id,
        name=row.name,
        scopes=scopes_parse(row.scopes),
        project=row.project_id,
        state=row.state,
        created_at=time_format(row.created_us),
        expires_at=time_format(row.expires_us),
    )
