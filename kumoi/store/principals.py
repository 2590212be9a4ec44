"""Users and service accounts."""

from collections.abc import Sequence

from sqlalchemy import Connection, select

from kumoi.model.access import Principal, PrincipalKind
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow


def principal_get(connection: Connection, principal_id: str) -> Principal | None:
    """The principal with this id."""
    table = schema.principals
    row = connection.execute(select(table).where(table.c.id == principal_id)).one_or_none()
    return None if row is None else principal_from_row(row)


def principal_list(
    connection: Connection, organization_id: str, limit: int, after_id: str | None
) -> Sequence[Principal]:
    """Principals of an organization by id, after `after_id`."""
    table = schema.principals
    statement = select(table).where(table.c.organization_id == organization_id, table.c.id > (after_id or ""))
    rows = connection.execute(statement.order_by(table.c.id).limit(limit))
    return [principal_from_row(row) for row in rows]


def principal_from_row(row: AnyRow) -> Principal:
    """The principal as its organization sees it."""
    return Principal(
        id=row.id,
        kind=PrincipalKind(row.kind),
        organization=row.organization_id,
        name=row.name,
        state=row.state,
        created_at=time_format(row.created_us),
        version=row.version,
    )
