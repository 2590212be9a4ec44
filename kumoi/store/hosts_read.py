"""Hosts as operators see them: with what their live attempts hold, summed at the moment of reading."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, or_, select

from kumoi.model.places import Device, DeviceHealth, Host, HostHealth
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow


@dataclass(frozen=True, slots=True)
class _Held:
    """What live attempts hold of a host, and how many they are."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    attempts: int = 0


def host_id_find(connection: Connection, name_or_id: str) -> str | None:
    """The id of the host with this name or id."""
    table = schema.hosts
    statement = select(table.c.id).where(or_(table.c.id == name_or_id, table.c.name == name_or_id))
    return connection.execute(statement).scalar()


def host_get(connection: Connection, host_id: str) -> Host | None:
    """The host with this id."""
    table = schema.hosts
    rows = connection.execute(select(table).where(table.c.id == host_id)).all()
    return next(iter(_hosts(connection, rows)), None)


def host_list(
    connection: Connection, limit: int, after_id: str | None, pool_id: str | None = None
) -> Sequence[Host]:
    """Hosts (of one pool) by id, after `after_id`."""
    table = schema.hosts
    statement = select(table).where(table.c.id > (after_id or ""))
    if pool_id is not None:
        statement = statement.where(table.c.pool_id == pool_id)
    return _hosts(connection, connection.execute(statement.order_by(table.c.id).limit(limit)).all())


def host_generation_lock(connection: Connection, host_id: str) -> int | None:
    """The generation of a host, which stays that in this transaction (a row lock where there are any)."""
    table = schema.hosts
    statement = select(table.c.generation).where(table.c.id == host_id)
    return connection.execute(statement.with_for_update(key_share=True)).scalar_one_or_none()


def _hosts(connection: Connection, rows: Sequence[AnyRow]) -> Sequence[Host]:
    host_ids = [row.id for row in rows]
    if not host_ids:
        return []
    held = _held(connection, host_ids)
    devices = _devices(connection, host_ids)
    return [_host(row, held.get(row.id, _Held()), tuple(devices[row.id])) for row in rows]


def _host(row: AnyRow, held: _Held, devices: tuple[Device, ...]) -> Host:
    return Host(
        id=row.id,
        name=row.name,
        pool=row.pool_id,
        state=row.state,
        health=HostHealth(row.health),
        detail=row.detail,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        disk_bytes=row.disk_bytes,
        cpu_milli_used=held.cpu_milli,
        memory_bytes_used=held.memory_bytes,
        disk_bytes_used=held.disk_bytes,
        attempts=held.attempts,
        failure_domain=row.failure_domain,
        fabric_island=row.fabric_island,
        dedicated_to=row.dedicated_to,
        devices=devices,
        seen_at=None if row.seen_us is None else time_format(row.seen_us),
        version=row.version,
    )


def _held(connection: Connection, host_ids: Sequence[str]) -> dict[str, _Held]:
    """What the live attempts of each host hold."""
    table = schema.attempts
    amounts = (table.c.cpu_milli, table.c.memory_bytes, table.c.disk_bytes)
    rows = connection.execute(
        select(table.c.host_id, *(func.sum(amount) for amount in amounts), func.count())
        .where(table.c.host_id.in_(host_ids), schema.is_live())
        .group_by(table.c.host_id)
    )
    return {host_id: _Held(*(int(amount) for amount in amounts)) for host_id, *amounts in rows}


def _devices(connection: Connection, host_ids: Sequence[str]) -> dict[str, list[Device]]:
    table, holders = schema.devices, schema.attempt_devices
    held: dict[str, list[str]] = defaultdict(list)
    for device_id, attempt_id in connection.execute(
        select(holders.c.device_id, holders.c.attempt_id)
        .join(table, table.c.id == holders.c.device_id)
        .where(table.c.host_id.in_(host_ids), schema.is_false(holders.c.released))
        .order_by(holders.c.attempt_id)
    ):
        held[device_id].append(attempt_id)
    found: dict[str, list[Device]] = defaultdict(list)
    statement = select(table).where(table.c.host_id.in_(host_ids))
    for row in connection.execute(statement.order_by(table.c.host_id, table.c.kind, table.c.ordinal)):
        found[row.host_id].append(_device(row, tuple(held[row.id])))
    return found


def _device(row: AnyRow, attempts: tuple[str, ...]) -> Device:
    return Device(
        id=row.id,
        uuid=row.uuid,
        physical_uuid=row.physical_uuid or row.uuid,
        kind=row.kind,
        model=row.model,
        partition=row.partition or None,
        memory_bytes=row.memory_bytes,
        health=DeviceHealth(row.health),
        detail=row.detail,
        service_start=None if row.service_start_us is None else time_format(row.service_start_us),
        milli_used=row.milli_used,
        attempts=attempts,
    )
