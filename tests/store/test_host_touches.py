"""Whoever changes a host's room tells placement, in the same transaction."""

from sqlalchemy import Connection, select

from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.host_touches import host_touch


def _touched(connection: Connection) -> list[str]:
    table = schema.host_touches
    return list(connection.execute(select(table.c.host_id).order_by(table.c.id)).scalars())


def test_a_touch_is_a_row_for_each_host_that_changed(store: Store) -> None:
    store.transact_wait(None, host_touch, ["host_b", "host_a", "host_b"])
    store.transact_wait(None, host_touch, ["host_a"])
    assert store.read_wait(_touched) == ["host_a", "host_b", "host_a"]


def test_nothing_is_written_for_no_host(store: Store) -> None:
    store.transact_wait(None, host_touch, [])
    assert store.read_wait(_touched) == []
