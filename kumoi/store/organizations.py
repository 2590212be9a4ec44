"""Organizations, and the region that they live in."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from kumoi.model.access import Organization
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow


@dataclass(frozen=True, slots=True)
class RegionRow:
    """The region that this store is of. `incarnation` names this store: a restored copy is another."""

    name: str
    cell: int
    incarnation: str
    platform_organization_id: str


def region_get(connection: Connection) -> RegionRow | None:
    """The region; None before it was founded."""
    region, organizations = schema.region, schema.organizations
    row = connection.execute(
        select(region, organizations.c.id).join(organizations, organizations.c.is_platform)
    ).one_or_none()
    return None if row is None else RegionRow(row.name, row.cell, row.incarnation, row.id)


def organization_get(connection: Connection, organization_id: str) -> Organization | None:
    """The organization with this id."""
    table = schema.organizations
    row = connection.execute(select(table).where(table.c.id == organization_id)).one_or_none()
    return None if row is None else organization_from_row(row)


def organization_list(connection: Connection, limit: int, after_id: str | None) -> Sequence[Organization]:
    """Organizations by id, after `after_id`."""
    table = schema.organizations
    statement = select(table).where(table.c.id > (after_id or "")).order_by(table.c.id).limit(limit)
    return [organization_from_row(row) for row in connection.execute(statement)]


def organization_from_row(row: AnyRow) -> Organization:
    """The organization as its members and operators see it."""
    return Organization(
        id=row.id,
        name=row.name,
        display_name=row.display_name,
        state=row.state,
        created_at=time_format(row.created_us),
        version=row.version,
    )


def organization_lock(connection: Connection, organization_id: str) -> None:
    """Let nobody else decide about an organization until this transaction ends.

    For what is decided on several rows: two planes that look at once must not both find that they may.
    """
    organizations = schema.organizations
    own = select(organizations.c.id).where(organizations.c.id == organization_id)
    connection.execute(own.with_for_update())
