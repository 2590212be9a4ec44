"""Secrets of projects; the store holds them sealed."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from kumoi.model.records import Secret
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.errors import StaleState
from kumoi.store.keys.names import Sealed, SealedName
from kumoi.store.schema import AnyRow


def secret_seal_name(organization_id: str, project_id: str, name: str) -> SealedName:
    """What a secret is sealed as."""
    return SealedName("secret", organization_id, (project_id, name))


def secret_get(connection: Connection, project_id: str, name: str) -> Secret | None:
    """The secret of a project with this name, without its value."""
    table = schema.secrets
    statement = select(table).where(table.c.project_id == project_id, table.c.name == name)
    row = connection.execute(statement).one_or_none()
    return None if row is None else secret_from_row(row)


def secret_list(
    connection: Connection, project_id: str, limit: int, after_name: str | None
) -> Sequence[Secret]:
    """Secrets of a project by name, after `after_name`, without their values."""
    table = schema.secrets
    statement = select(table).where(table.c.project_id == project_id, table.c.name > (after_name or ""))
    rows = connection.execute(statement.order_by(table.c.name).limit(limit))
    return [secret_from_row(row) for row in rows]


def secret_replace(connection: Connection, secret_id: str, sealed: Sealed, version: int, now_us: int) -> None:
    """Put another value in the place of a secret's; `version` is the new one, one above the old.

    Raises StaleState if another plane was first.
    """
    table = schema.secrets
    replaced = connection.execute(
        update(table)
        .where(table.c.id == secret_id, table.c.version == version - 1)
        .values(
            sealed=sealed.blob,
            key_version=sealed.key_version,
            updated_us=now_us,
            version=version,
        )
    )
    if replaced.rowcount != 1:
        raise StaleState(f"the secret {secret_id} is not at version {version - 1} any more")


def secret_delete(connection: Connection, secret_id: str, version: int) -> None:
    """Remove a secret and its value. Raises StaleState if it is not at `version`."""
    table = schema.secrets
    statement = delete(table).where(table.c.id == secret_id, table.c.version == version)
    if connection.execute(statement).rowcount != 1:
        raise StaleState(f"the secret {secret_id} is not at version {version} any more")


def secret_from_row(row: AnyRow) -> Secret:
    """The secret without its value."""
    return Secret(
        id=row.id,
        project=row.project_id,
        name=row.name,
        key_version=row.key_version,
        created_at=time_format(row.created_us),
        updated_at=time_format(row.updated_us),
        version=row.version,
    )
