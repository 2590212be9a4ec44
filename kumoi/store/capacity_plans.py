"""Plans of capacity: devices that are to serve at a site."""

from collections.abc import Sequence

from sqlalchemy import Connection, delete, select

from kumoi.model.capacity import CapacityPlan
from kumoi.model.time import time_format
from kumoi.store.errors import StaleState
from kumoi.store.schema import AnyRow, capacity_plans

PLANS_MAX = 10_000


def capacity_plan_get(connection: Connection, plan_id: str) -> CapacityPlan | None:
    """The plan with this id."""
    row = connection.execute(select(capacity_plans).where(capacity_plans.c.id == plan_id)).one_or_none()
    return None if row is None else _plan(row)


def capacity_plan_list(connection: Connection, limit: int, after_id: str | None) -> Sequence[CapacityPlan]:
    """Plans by id, after `after_id`."""
    statement = select(capacity_plans).where(capacity_plans.c.id > (after_id or ""))
    return [_plan(row) for row in connection.execute(statement.order_by(capacity_plans.c.id).limit(limit))]


def capacity_plan_delete(connection: Connection, plan_id: str) -> None:
    """Drop a plan. StaleState if it is gone already."""
    if connection.execute(delete(capacity_plans).where(capacity_plans.c.id == plan_id)).rowcount != 1:
        raise StaleState(f"the plan {plan_id} is gone")


def _plan(row: AnyRow) -> CapacityPlan:
    return CapacityPlan(
        id=row.id,
        site=row.site_id,
        model=row.model,
        count=row._mapping["count"],
        service_start=row.service_start,
        service_end=row.service_end,
        note=row.note,
        created_at=time_format(row.created_us),
        version=row.version,
    )
