"""Pools."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from kumoi.model.places import IsolationClass, Pool
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow

_data_classes = msgspec.json.Decoder(tuple[str, ...])


def pool_get(connection: Connection, pool_id: str) -> Pool | None:
    """The pool with this id."""
    table = schema.pools
    row = connection.execute(select(table).where(table.c.id == pool_id)).one_or_none()
    return None if row is None else pool_from_row(row)


def pool_row(connection: Connection, pool_id: str) -> AnyRow:
    """The row of a pool that is known to be there."""
    table = schema.pools
    return connection.execute(select(table).where(table.c.id == pool_id)).one()


def pool_list(connection: Connection, limit: int, after_id: str | None) -> Sequence[Pool]:
    """Pools by id, after `after_id`."""
    table = schema.pools
    statement = select(table).where(table.c.id > (after_id or "")).order_by(table.c.id).limit(limit)
    return [pool_from_row(row) for row in connection.execute(statement)]


def pool_from_row(row: AnyRow) -> Pool:
    """The pool as everybody sees it."""
    return Pool(
        id=row.id,
        name=row.name,
        site=row.site_id,
        engine=row.engine,
        isolation=IsolationClass(row.isolation),
        network_allowed=row.network_allowed,
        shared_by_organizations=row.shared_by_organizations,
        data_classes=_data_classes.decode(row.data_classes),
        defragment=row.defragment,
        state=row.state,
        created_at=time_format(row.created_us),
        version=row.version,
    )
