"""Machines and their pools' settings as operators see and write them."""

import json
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from kumoi.model.machines import Autoscale, AutoscaleWrite, Machine
from kumoi.model.time import time_format
from kumoi.store.machines import settings_of
from kumoi.store.schema import AnyRow, autoscales, machines
from kumoi.store.schema.machines import machine_is_live


def machine_list(
    connection: Connection, limit: int, after_id: str | None, pool_id: str | None
) -> Sequence[Machine]:
    """Machines by id, after `after_id`, of one pool where it is given; those that have ended too."""
    statement = select(machines).where(machines.c.id > (after_id or ""))
    if pool_id is not None:
        statement = statement.where(machines.c.pool_id == pool_id)
    rows = connection.execute(statement.order_by(machines.c.id).limit(limit))
    return [machine_from_row(row) for row in rows]


def machine_get(connection: Connection, machine: str) -> Machine | None:
    """The machine with this id or name."""
    found = connection.execute(
        select(machines).where((machines.c.id == machine) | (machines.c.name == machine))
    ).one_or_none()
    return None if found is None else machine_from_row(found)


def autoscale_get(connection: Connection, pool_id: str) -> Autoscale | None:
    """How a pool's machines follow demand, None where it borrows none."""
    row = connection.execute(select(autoscales).where(autoscales.c.pool_id == pool_id)).one_or_none()
    return None if row is None else _autoscale(connection, row)


def autoscale_put(connection: Connection, pool_id: str, body: AutoscaleWrite, now_us: int) -> Autoscale:
    """Write a pool's settings. What came to nothing before may be tried again at once."""
    values = {
        "provider": body.provider,
        "settings": msgspec.json.encode(body).decode(),
        "failures": 0,
        "retry_us": None,
        "detail": "",
        "updated_us": now_us,
    }
    where = autoscales.c.pool_id == pool_id
    changed = connection.execute(
        update(autoscales).where(where).values(**values, version=autoscales.c.version + 1)
    )
    if not changed.rowcount:
        connection.execute(insert(autoscales).values(pool_id=pool_id, **values))
    return _autoscale(connection, connection.execute(select(autoscales).where(where)).one())


def autoscale_drop(connection: Connection, pool_id: str) -> None:
    """The pool borrows no machines any more."""
    connection.execute(delete(autoscales).where(autoscales.c.pool_id == pool_id))


def machine_from_row(row: AnyRow) -> Machine:
    """The machine as operators see it."""
    return Machine(
        id=row.id,
        name=row.name,
        pool=row.pool_id,
        provider=row.provider,
        provider_ref=row.provider_ref,
        state=row.state,
        detail=row.detail,
        host=row.host_id,
        host_hour_microyen=row.host_hour_microyen,
        requested_at=time_format(row.requested_us),
        ready_at=None if row.ready_us is None else time_format(row.ready_us),
        ended_at=None if row.ended_us is None else time_format(row.ended_us),
        version=row.version,
    )


def _autoscale(connection: Connection, row: AnyRow) -> Autoscale:
    living = (
        select(func.count()).select_from(machines).where(machine_is_live(), machines.c.pool_id == row.pool_id)
    )
    return Autoscale(
        pool=row.pool_id,
        settings=settings_of(row),
        machines=connection.execute(living).scalar_one(),
        needed=row.needed,
        code=row.reason if row.decided_us else "",
        figures=json.loads(row.figures),
        digest=row.digest,
        decided_at=None if row.decided_us is None else time_format(row.decided_us),
        failures=row.failures,
        retry_at=None if row.retry_us is None else time_format(row.retry_us),
        detail=row.detail,
        version=row.version,
    )
