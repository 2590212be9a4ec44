"""Projects."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from kumoi.model.access import Project
from kumoi.model.time import time_format
from kumoi.store import schema


def project_get(connection: Connection, project_id: str) -> Project | None:
    """The project with this id."""
    table = schema.projects
    row = connection.execute(select(table).where(table.c.id == project_id)).one_or_none()
    return None if row is None else project_from_row(row)


def project_list(
    connection: Connection,
    organization_id: str,
    limit: int,
    after_id: str | None,
    only: Collection[str] | None = None,
) -> Sequence[Project]:
    """Projects of an organization (those of `only`, if given) by id, after `after_id`."""
    table = schema.projects
    statement = select(table).where(table.c.organization_id == organization_id, table.c.id > (after_id or ""))
    if only is not None:
        statement = statement.where(table.c.id.in_(only))
    rows = connection.execute(statement.order_by(table.c.id).limit(limit))
    return [project_from_row(row) for row in rows]


def project_from_row(row: Row[Any]) -> Project:
    """The project as its members see it."""
    return Project(
        id=row.id,
        organization=row.organization_id,
        name=row.name,
        state=row.state,
        data_class=row.data_class,
        jurisdiction=row.jurisdiction,
        created_at=time_format(row.created_us),
        version=row.version,
    )
