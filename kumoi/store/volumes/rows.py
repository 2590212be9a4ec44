"""The rows of volumes: the sealed password of each organization's."""

from sqlalchemy import Connection, exists, select, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from kumoi.store.keys.names import Sealed, SealedName
from kumoi.store.schema import attempts, volumes
from kumoi.store.schema.columns import LIVE_ATTEMPT


def volume_seal_name(organization_id: str) -> SealedName:
    """What the password of an organization's volume is sealed as."""
    return SealedName("volume", organization_id)


def volume_sealed_read(connection: Connection, organization_id: str) -> Sealed | None:
    """The sealed password of an organization's volume."""
    row = connection.execute(select(volumes).where(volumes.c.id == organization_id)).one_or_none()
    return None if row is None else Sealed(row.sealed, row.key_version)


def volume_sealed_add(connection: Connection, organization_id: str, sealed: Sealed, now_us: int) -> None:
    """Keep a sealed password, unless there is one."""
    insert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    row = {
        "id": organization_id,
        "organization_id": organization_id,
        "sealed": sealed.blob,
        "key_version": sealed.key_version,
        "created_us": now_us,
    }
    connection.execute(insert(volumes).values(row).on_conflict_do_nothing())


def attempts_are_live(connection: Connection, organization_id: str) -> bool:
    """Whether any attempt of the organization has not ended."""
    live = exists(select(1).where(attempts.c.organization_id == organization_id, text(LIVE_ATTEMPT)))
    return bool(connection.execute(select(live)).scalar_one())
