"""Hosts as operators see them: with what their live attempts hold, summed at the moment of reading."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, func, or_, select

from kumoi.model.places import Device, Host, HostHealth
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow


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
    statement = select(table.c.generation).where(table.c.id == host_id).with_for_update()
    return connection.execute(statement).scalar_one_or_none()


def _hosts(connection: Connection, rows: Sequence[AnyRow]) -> Sequence[Host]:
    host_ids = [row.id for row in rows]
    if not host_ids:
        return []
    held = _held(connection, host_ids)
    devices = _devices(connection, host_ids)
    hosts = []
    for row in rows:
        cpu_milli_used, memory_bytes_used, attempts = held.get(row.id, (0, 0, 0))
        hosts.append(
            Host(
                id=row.id,
                name=row.name,
                pool=row.pool_id,
                state=row.state,
                health=HostHealth(row.health),
                detail=row.detail,
                cpu_milli=row.cpu_milli,
                memory_bytes=row.memory_bytes,
                cpu_milli_used=cpu_milli_used,
                memory_bytes_used=memory_bytes_used,
                attempts=attempts,
                failure_domain=row.failure_domain,
                devices=tuple(devices[row.id]),
                seen_at=None if row.seen_us is None else time_format(row.seen_us),
                version=row.version,
            )
        )
    return hosts


def _held(connection: Connection, host_ids: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """CPU, memory and number of the live attempts of each host."""
    table = schema.attempts
    rows = connection.execute(
        select(table.c.host_id, func.sum(table.c.cpu_milli), func.sum(table.c.memory_bytes), func.count())
        .where(table.c.host_id.in_(host_ids), schema.is_live())
        .group_by(table.c.host_id)
    )
    return {host_id: (int(cpu_milli), int(memory), count) for host_id, cpu_milli, memory, count in rows}


def _devices(connection: Connection, host_ids: Sequence[str]) -> dict[str, list[Device]]:
    devices, holders = schema.devices, schema.attempt_devices
    rows = connection.execute(
        select(devices, holders.c.attempt_id)
        .outerjoin(holders, (holders.c.device_id == devices.c.id) & ~holders.c.released)
        .where(devices.c.host_id.in_(host_ids))
        .order_by(devices.c.host_id, devices.c.kind, devices.c.ordinal)
    )
    found: dict[str, list[Device]] = defaultdict(list)
    for row in rows:
        found[row.host_id].append(Device(id=row.id, kind=row.kind, model=row.model, attempt=row.attempt_id))
    return found
