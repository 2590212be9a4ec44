"""Reservations: whole hosts held for an organization, from one time to another."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import Connection, func, select, update

from kumoi.core.queue.reserve import HostTimes, Shortfall, hosts_reserve
from kumoi.model.shares import Reservation
from kumoi.model.time import time_format
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.host_touches import host_touch
from kumoi.store.placement import ENDS_US
from kumoi.store.schema import (
    AnyRow,
    attempts,
    events,
    hosts,
    in_state,
    is_live,
    jobs,
    reservation_hosts,
    reservations,
)
from kumoi.store.writer import Move, insert_many, move_many


def reservation_list(
    connection: Connection, organization_id: str, limit: int, after_id: str | None
) -> Sequence[Reservation]:
    """The reservations of an organization by id, after `after_id`, past ones too."""
    statement = (
        select(reservations)
        .where(reservations.c.organization_id == organization_id, reservations.c.id > (after_id or ""))
        .order_by(reservations.c.id)
        .limit(limit)
    )
    return [reservation_from_row(row) for row in connection.execute(statement)]


def reservation_get(connection: Connection, organization_id: str, reservation_id: str) -> Reservation | None:
    """A reservation of an organization."""
    statement = select(reservations).where(
        reservations.c.id == reservation_id, reservations.c.organization_id == organization_id
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else reservation_from_row(row)


def reservation_hosts_choose(
    connection: Connection, pool_id: str, organization_id: str, count: int, start_us: int, end_us: int
) -> tuple[str, ...] | Shortfall:
    """Hosts of the pool that nobody else's work or reservation needs then, or what could be had instead.

    The hosts are locked and counted as changed, so that no plan which was made without the reservation is
    applied to them. The organization's own work may go on.
    """
    usable = (
        select(hosts.c.id, hosts.c.dedicated_to)
        .where(hosts.c.pool_id == pool_id, hosts.c.state == "schedulable", hosts.c.health == "up")
        .order_by(hosts.c.id)
        .with_for_update(key_share=True)
    )
    names = [
        row.id for row in connection.execute(usable).all() if row.dedicated_to in (None, organization_id)
    ]
    free_us = _free_us(connection, pool_id, organization_id)
    windows = _windows(connection, pool_id, start_us)
    times = [HostTimes(name, free_us.get(name, 0), tuple(windows[name])) for name in names]
    chosen = hosts_reserve(times, count, start_us, end_us)
    if not isinstance(chosen, Shortfall):
        for start in range(0, len(chosen), 500):
            part = chosen[start : start + 500]
            advanced = update(hosts).where(hosts.c.id.in_(part)).values(generation=hosts.c.generation + 1)
            connection.execute(advanced)
    return chosen


def reservation_host_ids(connection: Connection, reservation_id: str) -> list[str]:
    """The hosts of a reservation."""
    statement = select(reservation_hosts.c.host_id).where(
        reservation_hosts.c.reservation_id == reservation_id
    )
    return list(connection.execute(statement.order_by(reservation_hosts.c.host_id)).scalars())


def reservations_over(connection: Connection, now_us: int) -> bool:
    """Whether the time of some held reservation ran out."""
    statement = select(reservations.c.id).where(
        in_state(reservations, "held"), reservations.c.end_us <= now_us
    )
    return connection.execute(statement.limit(1)).first() is not None


def reservations_end(connection: Connection, now_us: int, limit: int) -> int:
    """End reservations whose time ran out, and free their hosts. Returns how many."""
    statement = (
        select(reservations)
        .where(in_state(reservations, "held"), reservations.c.end_us <= now_us)
        .order_by(reservations.c.end_us, reservations.c.id)
        .limit(limit)
    )
    over = connection.execute(statement).all()
    move_many(connection, [Move(reservations, row.id, "held", "ended", {}) for row in over])
    told = [
        event_row(
            "reservation_end",
            at_us=now_us,
            actor=SYSTEM_ACTOR,
            resource=row.id,
            organization=row.organization_id,
            detail={"name": row.name},
        )
        for row in over
    ]
    insert_many(connection, events, told)
    for row in over:
        host_touch(connection, reservation_host_ids(connection, row.id))
    return len(over)


def reservation_from_row(row: AnyRow) -> Reservation:
    """The reservation as its organization sees it."""
    return Reservation(
        id=row.id,
        organization=row.organization_id,
        name=row.name,
        pool=row.pool_id,
        host_count=row.host_count,
        start_at=time_format(row.start_us),
        end_at=time_format(row.end_us),
        state=row.state,
        created_at=time_format(row.created_us),
        version=row.version,
    )


def _free_us(connection: Connection, pool_id: str, organization_id: str) -> dict[str, int]:
    """Until when, at the latest, others' live work holds each host of the pool."""
    statement = (
        select(attempts.c.host_id, func.max(ENDS_US).label("ends_us"))
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(hosts, hosts.c.id == attempts.c.host_id)
        .where(is_live(), hosts.c.pool_id == pool_id, attempts.c.organization_id != organization_id)
        .group_by(attempts.c.host_id)
    )
    return {row.host_id: int(row.ends_us) for row in connection.execute(statement)}


def _windows(connection: Connection, pool_id: str, after_us: int) -> dict[str, list[tuple[int, int]]]:
    """When the hosts of the pool are held, from `after_us` on."""
    statement = (
        select(reservation_hosts.c.host_id, reservations.c.start_us, reservations.c.end_us)
        .join(reservations, reservations.c.id == reservation_hosts.c.reservation_id)
        .where(
            in_state(reservations, "held"),
            reservations.c.pool_id == pool_id,
            reservations.c.end_us > after_us,
        )
    )
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for host_id, start_us, end_us in connection.execute(statement):
        found[host_id].append((start_us, end_us))
    return found
