"""Hosts as the loops see them: registered from what engines report, lost when nothing is heard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, exists, select, update

from kumoi.model.ids import IdKind
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.places import HostHealth
from kumoi.store.attempts import AttemptEnd, attempts_end
from kumoi.store.capacity import capacity_day_known, capacity_record
from kumoi.store.devices import DeviceChanges, DeviceSeen, devices_digest, devices_new, devices_see
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.host_touches import host_touch
from kumoi.store.ids import id_new
from kumoi.store.locks import rows_lock
from kumoi.store.machines import machine_pool_find
from kumoi.store.schema import AnyRow, attempts, devices, events, hosts, is_live, pools
from kumoi.store.writer import Move, insert_many, move_many


@dataclass(frozen=True, slots=True)
class HostSeen:
    """What a health check found on one host. Without a failure domain the host is one of its own."""

    name: str
    cpu_milli: int
    memory_bytes: int
    boot_id: str
    healthy: bool
    detail: str
    disk_bytes: int = 0
    failure_domain: str = ""
    fabric_island: str = ""
    devices: tuple[DeviceSeen, ...] = ()


_OF_ENGINE = (
    select(hosts)
    .join(pools, pools.c.id == hosts.c.pool_id)
    .where(pools.c.engine == bindparam("of_engine"))
    .order_by(hosts.c.id)
)


def hosts_of_engine(connection: Connection, engine: str) -> Sequence[AnyRow]:
    """The hosts in the pools of an engine."""
    return connection.execute(_OF_ENGINE, {"of_engine": engine}).all()


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

    Silent hosts are lost. A host waits outside until its pool is there. A device that became unhealthy
    drains its host. What capacity that leaves for today is recorded with it.
    """
    look = _Look(connection, platform_id, now_us, cell)
    known = {row.name: row for row in _hosts_lock(connection, engine, seen)}
    for report in seen:
        row = known.pop(report.name, None)
        if row is None:
            look.host_register(engine, report, pool)
        else:
            look.host_update(row, report)
    for row in known.values():
        if row.health == "up" and now_us - (row.seen_us or 0) > lost_after_us:
            look.host_lose(row)
    look.finish()


def hosts_settle(connection: Connection, engine: str, platform_id: str, now_us: int) -> int:
    """Move drained hosts without live attempts to maintenance. Returns how many."""
    live = exists(select(1).where(attempts.c.host_id == hosts.c.id, is_live()))
    statement = (
        select(hosts.c.id, hosts.c.generation)
        .join(pools, pools.c.id == hosts.c.pool_id)
        .where(pools.c.engine == engine, hosts.c.state == "draining", ~live)
        .order_by(hosts.c.id)
        .with_for_update(of=hosts, key_share=True)
    )
    drained = connection.execute(statement).all()
    move_many(
        connection,
        [
            Move(hosts, row.id, "draining", "maintenance", {"generation": row.generation + 1})
            for row in drained
        ],
    )
    host_touch(connection, [row.id for row in drained])
    insert_many(
        connection, events, [_event("host_drained", row.id, platform_id, now_us, {}) for row in drained]
    )
    return len(drained)


def host_attempts_lose(connection: Connection, host_id: str, now_us: int) -> int:
    """End the live attempts of a host that was declared lost, as of when it was last seen. Returns how many.

    Whoever declares it answers for it that nothing runs there any more: their tasks may start elsewhere.
    """
    seen_us = connection.execute(select(hosts.c.seen_us).where(hosts.c.id == host_id)).scalar() or 0
    rows = connection.execute(select(attempts).where(attempts.c.host_id == host_id, is_live())).all()
    ends = [
        AttemptEnd(
            attempt_id=row.id,
            outcome=AttemptOutcome.HOST_LOST,
            exit_code=None,
            signal=None,
            started_us=row.started_us,
            ended_us=max(seen_us, row.started_us or 0, row.metered_us or 0),
            cpu_us=0,
            memory_peak_bytes=0,
            detail="the operator declared the host lost",
        )
        for row in rows
    ]
    # All at once: pieces would lock jobs, devices and quotas in turns.
    attempts_end(connection, ends, now_us)
    return len(ends)


@dataclass(slots=True)
class _Look:
    """One look at the hosts of an engine: rows are written as it goes, what is alike together at its end."""

    connection: Connection
    platform_id: str
    now_us: int
    cell: int
    touched: list[str] = field(default_factory=list)
    same: list[dict[str, Any]] = field(default_factory=list)
    hosts: list[Mapping[str, Any]] = field(default_factory=list)
    devices: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    pool_id: str | None = None
    is_capacity_changed: bool = False

    def host_register(self, engine: str, report: HostSeen, pool: str) -> None:
        """A host that was never seen before."""
        # A machine of a provider joins the pool that borrowed it.
        pool_id = machine_pool_find(self.connection, engine, report.name)
        if pool_id is None:
            pool_id = self.pool_id = self.pool_id or _pool_find(self.connection, engine, pool)
        if pool_id is None:
            return
        host_id = id_new(IdKind.HOST, self.cell)
        rows, changes = devices_new(host_id, report.devices, self.now_us, self.cell)
        state = "draining" if changes.sick else "schedulable"
        row = {"id": host_id, "pool_id": pool_id, "name": report.name, "state": state}
        self.hosts.append(row | _facts(report) | {"seen_us": self.now_us})
        self.devices += rows
        detail = {
            "name": report.name,
            "cpu_milli": report.cpu_milli,
            "memory_bytes": report.memory_bytes,
            "disk_bytes": report.disk_bytes,
        }
        self.event("host_register", host_id, detail)
        self.touched.append(host_id)
        self.is_capacity_changed |= bool(report.devices)
        self.devices_tell(host_id, report, changes)

    def host_update(self, row: AnyRow, report: HostSeen) -> None:
        """A host that is known."""
        facts = _facts(report)
        if all(getattr(row, name) == value for name, value in facts.items()):
            self.same.append({"of_id": row.id, "at_us": self.now_us})
            return
        # What was decided on the old facts must be decided again.
        values = facts | {
            "seen_us": self.now_us,
            "generation": hosts.c.generation + 1,
            "version": hosts.c.version + 1,
        }
        self.connection.execute(update(hosts).where(hosts.c.id == row.id).values(**values))
        self.touched.append(row.id)
        # The account of the day reads every device: only for what may change it.
        same_capacity = row.health == facts["health"] and row.devices_digest == facts["devices_digest"]
        self.is_capacity_changed |= not same_capacity
        if row.health != facts["health"]:
            action = "host_up" if report.healthy else "host_lost"
            self.event(action, row.id, {"name": row.name})
        if row.devices_digest != facts["devices_digest"]:
            self.devices_write(row.id, report, row.state)

    def host_lose(self, row: AnyRow) -> None:
        """A host that nothing was heard of for too long."""
        values = {
            "health": HostHealth.LOST,
            "detail": "no health report",
            "generation": hosts.c.generation + 1,
        }
        self.connection.execute(update(hosts).where(hosts.c.id == row.id).values(**values))
        self.touched.append(row.id)
        self.is_capacity_changed = True
        self.event("host_lost", row.id, {"name": row.name})

    def devices_write(self, host_id: str, report: HostSeen, state: str) -> None:
        """The devices of a host; those that became unhealthy drain it."""
        changes = devices_see(self.connection, host_id, report.devices, self.now_us, self.cell)
        self.devices_tell(host_id, report, changes)
        if changes.sick and state == "schedulable":
            move_many(self.connection, [Move(hosts, host_id, "schedulable", "draining", {})])

    def devices_tell(self, host_id: str, report: HostSeen, changes: DeviceChanges) -> None:
        """The events of what changed."""
        if changes.added:
            self.event("device_register", host_id, {"name": report.name, "devices": list(changes.added)})
        for uuid, why in changes.sick.items():
            self.event("device_unhealthy", host_id, {"name": report.name, "device": uuid, "why": why[:200]})
        if changes.healed:
            self.event("device_healthy", host_id, {"name": report.name, "devices": list(changes.healed)})

    def event(self, action: str, host_id: str, detail: Mapping[str, object]) -> None:
        """Tell of it at the end of the look."""
        self.events.append(_event(action, host_id, self.platform_id, self.now_us, detail))

    def finish(self) -> None:
        """Write what was gathered."""
        insert_many(self.connection, hosts, self.hosts)
        insert_many(self.connection, devices, self.devices)
        if self.same:
            self.connection.execute(_SAME, self.same)
        host_touch(self.connection, self.touched)
        insert_many(self.connection, events, self.events)
        if self.is_capacity_changed or not capacity_day_known(self.connection, self.now_us):
            capacity_record(self.connection, self.now_us)


def _hosts_lock(connection: Connection, engine: str, seen: Sequence[HostSeen]) -> Sequence[AnyRow]:
    """The hosts of an engine, locked, as are the devices of those that report others than before."""
    locked = _OF_ENGINE.with_for_update(of=hosts, key_share=True)
    rows = connection.execute(locked, {"of_engine": engine}).all()
    digests = {report.name: devices_digest(report.devices) for report in seen}
    changed = [row.id for row in rows if digests.get(row.name, row.devices_digest) != row.devices_digest]
    if changed:
        rows_lock(connection, devices, devices.c.host_id.in_(changed))
    return rows


_SAME = update(hosts).where(hosts.c.id == bindparam("of_id")).values(seen_us=bindparam("at_us"))


def _pool_find(connection: Connection, engine: str, pool: str) -> str | None:
    """The pool that new hosts of an engine join: the one of this name, or the engine's first."""
    joined = select(pools.c.id).where(pools.c.engine == engine).order_by(pools.c.id).limit(1)
    if pool:
        joined = joined.where(pools.c.name == pool)
    return connection.execute(joined).scalar()


def _facts(report: HostSeen) -> dict[str, Any]:
    return {
        "health": HostHealth.UP if report.healthy else HostHealth.LOST,
        "detail": report.detail[:400],
        "cpu_milli": report.cpu_milli,
        "memory_bytes": report.memory_bytes,
        "disk_bytes": report.disk_bytes,
        "failure_domain": report.failure_domain or report.name,
        "fabric_island": report.fabric_island,
        "boot_id": report.boot_id,
        "devices_digest": devices_digest(report.devices),
    }


def _event(
    action: str, host_id: str, platform_id: str, now_us: int, detail: Mapping[str, object]
) -> dict[str, Any]:
    return event_row(
        action, at_us=now_us, actor=SYSTEM_ACTOR, resource=host_id, organization=platform_id, detail=detail
    )
