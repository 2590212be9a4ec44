"""Leases of the loops: one plane runs each loop, and every write of a loop carries the epoch of its lease."""

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from kumoi.store.database import database_now_us
from kumoi.store.schema import leases

FOREVER_US = 1 << 62


def leases_hold(
    connection: Connection, names: tuple[str, ...], holder: str, ttl_us: int | None
) -> dict[str, int]:
    """Take or renew the leases that are free, expired or our own; returns their epochs by name.

    A lease that changes hands gets a new epoch, so whatever its last holder still writes is refused.
    `ttl_us` None is for a store that only one plane can open: it takes all of them for good.
    """
    now_us = database_now_us(connection)
    expires_us = FOREVER_US if ttl_us is None else now_us + ttl_us
    statement = select(leases).where(leases.c.name.in_(names)).order_by(leases.c.name).with_for_update()
    rows = {row.name: row for row in connection.execute(statement)}
    held: dict[str, int] = {}
    for name in sorted(names):
        row = rows.get(name)
        if row is None:
            if _lease_create(connection, name, holder, expires_us):
                held[name] = 1
        elif row.holder == holder or row.expires_us < now_us or ttl_us is None:
            held[name] = row.epoch if row.holder == holder else row.epoch + 1
            connection.execute(
                update(leases)
                .where(leases.c.name == name)
                .values(holder=holder, epoch=held[name], expires_us=expires_us)
            )
    return held


def leases_release(connection: Connection, holder: str) -> None:
    """Let go of every lease of `holder`, so that another plane need not wait for the end of them."""
    connection.execute(update(leases).where(leases.c.holder == holder).values(expires_us=0))


def _lease_create(connection: Connection, name: str, holder: str, expires_us: int) -> bool:
    """The first lease of its name; False where another plane was faster."""
    build = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    values = {"name": name, "holder": holder, "epoch": 1, "expires_us": expires_us}
    statement = build(leases).values(values).on_conflict_do_nothing().returning(leases.c.name)
    return connection.execute(statement).first() is not None
