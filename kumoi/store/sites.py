"""Sites."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from kumoi.model.places import Site, SiteFunction
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.schema import AnyRow

_latencies = msgspec.json.Decoder(dict[str, int])


def site_get(connection: Connection, site_id: str) -> Site | None:
    """The site with this id."""
    table = schema.sites
    row = connection.execute(select(table).where(table.c.id == site_id)).one_or_none()
    return None if row is None else site_from_row(row)


def site_list(connection: Connection, limit: int, after_id: str | None) -> Sequence[Site]:
    """Sites by id, after `after_id`."""
    table = schema.sites
    statement = select(table).where(table.c.id > (after_id or "")).order_by(table.c.id).limit(limit)
    return [site_from_row(row) for row in connection.execute(statement)]


def site_from_row(row: AnyRow) -> Site:
    """The site as everybody sees it."""
    return Site(
        id=row.id,
        name=row.name,
        country=row.country,
        functions=tuple(SiteFunction(function) for function in row.functions.split(",")),
        address=row.address,
        latencies=_latencies.decode(row.latencies),
        created_at=time_format(row.created_us),
    )
