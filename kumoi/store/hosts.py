"""Hosts as the loops see them: registered from what engines report, lost when nothing is heard."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, exists, select, update

from kumoi.model.ids import IdKind
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.ids import id_new
from kumoi.store.schema import AnyRow, attempts, events, hosts, is_live, pools
from kumoi.store.writer import Move, insert_many, move_many


@dataclass(frozen=True, slots=True)
class HostSeen:
    """What a health check found on one host."""

    name: str
    cpu_milli: int
    memory_bytes: int
    boot_id: str
    healthy: bool
    detail: str


def hosts_of_engine(connection: Connection, engine: str) -> Sequence[AnyRow]:
    """The hosts in the pools of an engine."""
    statement = select(hosts).join(pools, pools.c.id == hosts.c.pool_id).where(pools.c.engine == engine)
    return connection.execute(statement.order_by(hosts.c.id)).all()


def hosts_see(
    connection: Connection,
    engine: str,
    seen: Sequence[HostSeen],
    *,
    pool: str = "",
    platform_id: str,
    now_us: int,
    lost_after_us: int,
    cell: int,
) -> None:
    """Write what was seen: new hosts join `pool` (the engine's first one if it is empty).

    Silent hosts are lost. A host waits outside until its pool is there.
    """
    known = {row.name: row for row in hosts_of_engine(connection, engine)}
    for report in seen:
        row = known.pop(report.name, None)
        if row is None:
            _host_register(connection, engine, report, pool, platform_id, now_us, cell)
        else:
            _host_update(connection, row, report, platform_id, now_us)
    for row in known.values():
        if row.health == "up" and now_us - (row.seen_us or 0) > lost_after_us:
            values = {"health": "lost", "detail": "no health report", "generation": row.generation + 1}
            connection.execute(update(hosts).where(hosts.c.id == row.id).values(**values))
            _event(connection, "host_lost", row.id, platform_id, now_us, {"name": row.name})


def hosts_settle(connection: Connection, engine: str, platform_id: str, now_us: int) -> int:
    """Move drained hosts without live attempts to maintenance. Returns how many."""
    live = exists(select(1).where(attempts.c.host_id == hosts.c.id, is_live()))
    statement = (
        select(hosts.c.id)
        .join(pools, pools.c.id == hosts.c.pool_id)
        .where(pools.c.engine == engine, hosts.c.state == "draining", ~live)
    )
    drained = connection.execute(statement).scalars().all()
    move_many(connection, [Move(hosts, host_id, "draining", "maintenance", {}) for host_id in drained])
    for host_id in drained:
        _event(connection, "host_drained", host_id, platform_id, now_us, {})
    return len(drained)


def _host_register(
    connection: Connection,
    engine: str,
    report: HostSeen,
    pool: str,
    platform_id: str,
    now_us: int,
    cell: int,
) -> None:
    joined = select(pools.c.id).where(pools.c.engine == engine).order_by(pools.c.id).limit(1)
    if pool:
        joined = joined.where(pools.c.name == pool)
    pool_id = connection.execute(joined).scalar()
    if pool_id is None:
        return
    host_id = id_new(IdKind.HOST, cell)
    row = {
        "id": host_id,
        "pool_id": pool_id,
        "name": report.name,
        "health": "up" if report.healthy else "lost",
        "detail": report.detail[:400],
        "cpu_milli": report.cpu_milli,
        "memory_bytes": report.memory_bytes,
        "failure_domain": report.name,
        "boot_id": report.boot_id,
        "seen_us": now_us,
    }
    insert_many(connection, hosts, [row])
    detail = {"name": report.name, "cpu_milli": report.cpu_milli, "memory_bytes": report.memory_bytes}
    _event(connection, "host_register", host_id, platform_id, now_us, detail)


def _host_update(
    connection: Connection, row: AnyRow, report: HostSeen, platform_id: str, now_us: int
) -> None:
    health = "up" if report.healthy else "lost"
    facts = {
        "health": health,
        "detail": report.detail[:400],
        "cpu_milli": report.cpu_milli,
        "memory_bytes": report.memory_bytes,
        "boot_id": report.boot_id,
    }
    changed = any(getattr(row, name) != value for name, value in facts.items())
    values: dict[str, object] = {**facts, "seen_us": now_us}
    if changed:
        # What was decided on the old facts must be decided again.
        values |= {"generation": row.generation + 1, "version": row.version + 1}
    connection.execute(update(hosts).where(hosts.c.id == row.id).values(**values))
    if row.health != health:
        action = "host_up" if health == "up" else "host_lost"
        _event(connection, action, row.id, platform_id, now_us, {"name": row.name})


def _event(
    connection: Connection,
    action: str,
    host_id: str,
    platform_id: str,
    now_us: int,
    detail: dict[str, object],
) -> None:
    row = event_row(
        action, at_us=now_us, actor=SYSTEM_ACTOR, resource=host_id, organization=platform_id, detail=detail
    )
    insert_many(connection, events, [row])
