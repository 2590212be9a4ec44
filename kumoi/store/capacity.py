"""What capacity was there each day: the least that any look of the day saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import ColumnElement, Connection, and_, case, func, select, update

from kumoi.core.capacity import japan_day
from kumoi.model.places import DeviceHealth, HostHealth
from kumoi.store.device_models import figures_all
from kumoi.store.schema import AnyRow, capacity_days, devices, hosts, pools
from kumoi.store.writer import insert_many

_DAY_US = 86_400_000_000
_JAPAN_US = 9 * 3_600_000_000
_EPOCH = date(1970, 1, 1)
_DAYS = capacity_days.c


@dataclass(frozen=True, slots=True)
class ClassKey:
    """Devices of one model at one site whose service started on the same day."""

    site_id: str
    model: str
    service_start: str


def capacity_day_known(connection: Connection, now_us: int) -> bool:
    """Whether anything was recorded today."""
    today = japan_day(now_us).isoformat()
    statement = select(_DAYS.day).where(_DAYS.day == today).limit(1)
    return connection.execute(statement).first() is not None


def capacity_record(connection: Connection, now_us: int) -> None:
    """Record what is there now, where it is less than what was seen before today.

    A device counts once, however many partitions it has. It is healthy if all of it is, on a host that is
    up. Classes of which nothing is left are recorded as nothing: only a day without a row was not measured.
    """
    today = japan_day(now_us).isoformat()
    figures = figures_all(connection)
    seen = capacity_seen(connection)
    rows = connection.execute(select(capacity_days).where(_DAYS.day == today)).all()
    known = {ClassKey(row.site_id, row.model, row.service_start): row for row in rows}
    for key, row in known.items():
        _lower(connection, row, *seen.get(key, (0, 0)), now_us)
    inserted = [
        {
            "day": today,
            "site_id": key.site_id,
            "model": key.model,
            "service_start": key.service_start,
            "count": count,
            "healthy": healthy,
            "fp16_dense_gflops": figures[key.model].gflops if key.model in figures else 0,
            "updated_us": now_us,
        }
        for key, (count, healthy) in seen.items()
        if key not in known
    ]
    insert_many(connection, capacity_days, inserted)


def capacity_seen(connection: Connection) -> dict[ClassKey, tuple[int, int]]:
    """How many devices of each class there are now, and how many of these are healthy."""
    present = devices.c.health != DeviceHealth.GONE.value
    fit = and_(devices.c.health == DeviceHealth.HEALTHY.value, hosts.c.health == HostHealth.UP.value)
    whole = (
        select(
            pools.c.site_id,
            devices.c.model,
            ((func.min(devices.c.service_start_us) + _JAPAN_US) // _DAY_US).label("start_day"),
            func.max(_one(present)).label("present"),
            func.min(_one(fit, but=present)).label("fit"),
        )
        .join(hosts, hosts.c.id == devices.c.host_id)
        .join(pools, pools.c.id == hosts.c.pool_id)
        .where(devices.c.service_start_us.is_not(None))
        .group_by(pools.c.site_id, devices.c.model, devices.c.physical_uuid)
        .subquery()
    )
    statement = select(
        whole.c.site_id,
        whole.c.model,
        whole.c.start_day,
        func.sum(whole.c.present),
        func.sum(case((whole.c.present == 1, whole.c.fit), else_=0)),
    ).group_by(whole.c.site_id, whole.c.model, whole.c.start_day)
    return {
        ClassKey(site, model, (_EPOCH + timedelta(days=int(day))).isoformat()): (int(count), int(healthy))
        for site, model, day, count, healthy in connection.execute(statement)
    }


def capacity_days_list(connection: Connection, since: date, until: date, limit: int) -> Sequence[AnyRow]:
    """The rows of a period by day, at most `limit`."""
    statement = select(capacity_days).where(_DAYS.day.between(since.isoformat(), until.isoformat()))
    ordered = statement.order_by(_DAYS.day, _DAYS.site_id, _DAYS.model, _DAYS.service_start)
    return connection.execute(ordered.limit(limit)).all()


def _one(when: ColumnElement[bool], *, but: ColumnElement[bool] | None = None) -> ColumnElement[int]:
    """1 where `when`, else 0; 1 too where not `but`, so that a minimum passes over it."""
    whens = [(when, 1)] if but is None else [(~but, 1), (when, 1)]
    return case(*whens, else_=0)


def _lower(connection: Connection, row: AnyRow, count: int, healthy: int, now_us: int) -> None:
    before = int(row._mapping["count"])
    if count >= before and healthy >= row.healthy:
        return
    least = min(count, before)
    connection.execute(
        update(capacity_days)
        .where(
            _DAYS.day == row.day,
            _DAYS.site_id == row.site_id,
            _DAYS.model == row.model,
            _DAYS.service_start == row.service_start,
        )
        .values(count=least, healthy=min(healthy, row.healthy, least), updated_us=now_us)
    )
