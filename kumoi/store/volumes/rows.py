"""The rows of volumes: the sealed password of each organization's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, exists, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from kumoi.store.errors import StaleState
from kumoi.store.keys.names import Sealed, SealedName
from kumoi.store.schema import attempts, key_holders, volumes
from kumoi.store.schema.columns import LIVE_ATTEMPT


@dataclass(frozen=True, slots=True)
class VolumeId:
    """The volume of an organization in the data directory that `place` names."""

    organization_id: str
    place: str

    def __str__(self) -> str:
        return f"{self.organization_id}.{self.place}"

    @property
    def next_id(self) -> str:
        """The row of the volume that is to take this one's place."""
        return f"{self}.next"


def volume_seal_name(organization_id: str) -> SealedName:
    """What the password of an organization's volume is sealed as."""
    return SealedName("volume", organization_id)


def volume_sealed_read(connection: Connection, volume: VolumeId) -> Sealed | None:
    """The sealed password of an organization's volume."""
    row = connection.execute(select(volumes).where(volumes.c.id == str(volume))).one_or_none()
    return None if row is None else Sealed(row.sealed, row.key_version)


def volume_sealed_add(connection: Connection, volume: VolumeId, sealed: Sealed, now_us: int) -> None:
    """Keep a sealed password, unless there is one."""
    insert_new = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    row = _row(volume, sealed, now_us)
    connection.execute(insert_new(volumes).values(row).on_conflict_do_nothing())


def volume_next_put(connection: Connection, volume: VolumeId, sealed: Sealed, now_us: int) -> None:
    """Keep the password of the volume that is to take the volume's place, instead of an earlier one."""
    connection.execute(delete(volumes).where(volumes.c.id == volume.next_id))
    row = _row(volume, sealed, now_us) | {"id": volume.next_id}
    connection.execute(insert(volumes).values(row))


def volume_next_is_kept(connection: Connection, volume: VolumeId) -> bool:
    """Whether there is a password of a volume that is to take the volume's place."""
    kept = exists(select(1).where(volumes.c.id == volume.next_id))
    return bool(connection.execute(select(kept)).scalar_one())


def volume_next_take(connection: Connection, volume: VolumeId) -> None:
    """Let the next password be the volume's, and forget the old one."""
    connection.execute(delete(volumes).where(volumes.c.id == str(volume)))
    taken = update(volumes).where(volumes.c.id == volume.next_id).values(id=str(volume))
    if connection.execute(taken).rowcount != 1:
        raise StaleState(f"the next password of the volume {volume} is gone")


def volumes_outdated(connection: Connection, place: str) -> Sequence[str]:
    """Organizations that hold their key, whose volume's password was made before they attached it."""
    older = volumes.c.made_version < key_holders.c.from_number
    here = volumes.c.id == volumes.c.organization_id + f".{place}"
    statement = select(key_holders.c.id).join(volumes, key_holders.c.id == volumes.c.organization_id)
    return connection.execute(statement.where(older, here, key_holders.c.state == "held")).scalars().all()


def volumes_made_version(connection: Connection, organization_id: str) -> int | None:
    """The oldest version of the key under which the password of a volume was made; None without a volume."""
    is_next = volumes.c.id.endswith(".next")
    statement = select(func.min(volumes.c.made_version)).where(volumes.c.organization_id == organization_id)
    oldest: int | None = connection.execute(statement.where(~is_next)).scalar_one()
    return oldest


def attempts_are_live(connection: Connection, organization_id: str) -> bool:
    """Whether any attempt of the organization has not ended."""
    live = exists(select(1).where(attempts.c.organization_id == organization_id, text(LIVE_ATTEMPT)))
    return bool(connection.execute(select(live)).scalar_one())


def _row(volume: VolumeId, sealed: Sealed, now_us: int) -> dict[str, Any]:
    return {
        "id": str(volume),
        "organization_id": volume.organization_id,
        "sealed": sealed.blob,
        "key_version": sealed.key_version,
        "made_version": sealed.key_version,
        "created_us": now_us,
    }
