"""Which hosts' room changed: rows that placement takes, written by whoever changed it."""

from collections.abc import Iterable

from sqlalchemy import Connection, insert

from kumoi.store.schema import host_touches

_TOUCH = insert(host_touches)


def host_touch(connection: Connection, host_ids: Iterable[str]) -> None:
    """Tell placement to look at these hosts again. Call it in the transaction that changed their room."""
    rows = [{"host_id": host_id} for host_id in sorted(set(host_ids))]
    if rows:
        connection.execute(_TOUCH, rows)
