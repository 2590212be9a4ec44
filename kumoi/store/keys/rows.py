"""The rows of organizations' keys, and who holds them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from kumoi.store.keys.ciphers import KEY_BYTES
from kumoi.store.keys.encryption import KeyEncryption
from kumoi.store.keys.names import organization_key_additional
from kumoi.store.keys.platform import PlatformKeys
from kumoi.store.schema import AnyRow, key_holders, organization_keys


@dataclass(frozen=True, slots=True)
class OrganizationKeys:
    """The versions of an organization's key, and the row of its holder where a token holds it."""

    versions: Sequence[AnyRow]
    holder: AnyRow | None


def organization_keys_read(connection: Connection, organization_id: str) -> OrganizationKeys:
    """The versions in use, oldest first, and the holder."""
    statement = select(organization_keys).where(organization_keys.c.organization_id == organization_id)
    versions = connection.execute(statement.order_by(organization_keys.c.number)).all()
    holder = connection.execute(select(key_holders).where(key_holders.c.id == organization_id)).one_or_none()
    return OrganizationKeys(versions, holder)


def platform_keks(connection: Connection) -> Sequence[str]:
    """The names of the platform's keys that wrap anything."""
    statement = select(organization_keys.c.kek).distinct()
    found = statement.where(organization_keys.c.kek.startswith(PlatformKeys.PREFIX))
    return connection.execute(found.order_by(organization_keys.c.kek)).scalars().all()


def organization_key_id(organization_id: str, version: int) -> str:
    """The identifier of a version's row."""
    return f"{organization_id}.{version}"


def organization_key_row(
    wrapper: KeyEncryption, organization_id: str, version: int, now_us: int
) -> dict[str, Any]:
    """The row of a new current key. Raises KeyUnavailable where the wrapper does not answer."""
    additional = organization_key_additional(organization_id, version, wrapper.name)
    return {
        "id": organization_key_id(organization_id, version),
        "organization_id": organization_id,
        "number": version,
        "kek": wrapper.name,
        "wrapped_key": wrapper.wrap(os.urandom(KEY_BYTES), additional),
        "created_us": now_us,
    }
