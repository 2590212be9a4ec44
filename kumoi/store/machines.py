"""Machines of providers: what a decision looks at, its intent, and what became of each machine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, exists, func, select, update

from kumoi.core.autoscale.hosts_inputs import (
    HostPhase,
    HostsDecision,
    HostsInputs,
    HostsState,
    PoolHost,
    hosts_inputs_digest,
    hosts_inputs_pack,
    hosts_state_pack,
    hosts_state_unpack,
)
from kumoi.core.lifecycles import MACHINE
from kumoi.core.placement.snapshot import Holding, PoolView
from kumoi.core.queue.prices import Prices
from kumoi.core.queue.standing import PoolUse, Standing
from kumoi.model.ids import IdKind
from kumoi.model.machines import AutoscaleWrite
from kumoi.store.budgets import prices_load
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.host_touches import host_touch
from kumoi.store.ids import id_new
from kumoi.store.placement_read import Queues, hosts_named, hosts_of_pool, pool_view, queues_read
from kumoi.store.schema import AnyRow, attempts, autoscales, events, hosts, is_live, machines, pools, sites
from kumoi.store.schema.machines import machine_is_live
from kumoi.store.shares import standings_load
from kumoi.store.writer import Move, insert_many, move_many

WINDOW = 2_000
"""Waiting tasks of a pool that are looked at."""
POOLS_MAX = 1_000
MACHINES_READ_MAX = 100_000
TERMINAL = tuple(sorted(MACHINE.terminal))


@dataclass(frozen=True, slots=True)
class PoolLook:
    """What a decision about a pool's machines is made on, and the settings that it is made by."""

    pool_id: str
    country: str
    settings: AutoscaleWrite
    version: int
    state: HostsState
    retry_us: int
    is_exclusive: bool
    machines: tuple["MachineLook", ...]
    queues: Queues
    standings: Mapping[str, Standing]
    prices: Prices
    use: PoolUse


@dataclass(frozen=True, slots=True)
class MachineLook:
    """A machine that is paid for, with what lives on its host. `host` has its slots still at 0."""

    host: PoolHost
    holdings: tuple[Holding, ...]


def looks_read(connection: Connection, now_us: int) -> list[PoolLook]:
    """Every pool that borrows machines."""
    statement = (
        select(autoscales, pools.c.state.label("pool_state"), sites.c.country)
        .join(pools, pools.c.id == autoscales.c.pool_id)
        .join(sites, sites.c.id == pools.c.site_id)
        .order_by(autoscales.c.pool_id)
        .limit(POOLS_MAX)
    )
    return [_look(connection, row, now_us) for row in connection.execute(statement).all()]


def _look(connection: Connection, row: AnyRow, now_us: int) -> PoolLook:
    pool = connection.execute(select(pools).where(pools.c.id == row.pool_id)).one()
    view: PoolView = pool_view(pool)
    is_open = row.pool_state == "open"
    queues = queues_read(connection, pool.id, WINDOW, now_us) if is_open else Queues({})
    use = PoolUse()
    for host in hosts_of_pool(connection, pool.id) if queues.waiting else ():
        use.host_enter(host)
    return PoolLook(
        pool_id=pool.id,
        country=row.country,
        settings=settings_of(row),
        version=row.version,
        state=HostsState() if row.state is None else hosts_state_unpack(row.state),
        retry_us=row.retry_us or 0,
        is_exclusive=view.exclusive,
        machines=tuple(_machines(connection, pool.id)),
        queues=queues,
        standings=standings_load(connection, pool.id, queues.waiting, now_us) if queues.waiting else {},
        prices=prices_load(connection, pool.id),
        use=use,
    )


def _machines(connection: Connection, pool_id: str) -> Sequence[MachineLook]:
    ended = (
        select(attempts.c.host_id, func.max(attempts.c.ended_us).label("ended_us"))
        .where(attempts.c.host_id.in_(select(machines.c.host_id).where(machine_is_live())))
        .group_by(attempts.c.host_id)
        .subquery()
    )
    statement = (
        select(machines, hosts.c.state.label("host_state"), hosts.c.health, ended.c.ended_us.label("idle_us"))
        .join(hosts, hosts.c.id == machines.c.host_id, isouter=True)
        .join(ended, ended.c.host_id == machines.c.host_id, isouter=True)
        .where(machine_is_live(), machines.c.pool_id == pool_id)
        .order_by(machines.c.id)
    )
    rows = connection.execute(statement).all()
    views = hosts_named(connection, [row.host_id for row in rows if row.host_id is not None])
    holdings = {view.id: view.holdings for _, view in views}
    return [_machine_look(row, holdings.get(row.host_id, ())) for row in rows]


def _machine_look(row: AnyRow, holdings: tuple[Holding, ...]) -> MachineLook:
    phase, since_us = HostPhase.LEAVING, row.requested_us
    if row.state in ("requested", "booting"):
        phase = HostPhase.BOOTING
    elif row.state == "ready" and (row.host_state, row.health) == ("schedulable", "up"):
        phase, since_us = HostPhase.READY, max(row.ready_us, row.idle_us or 0)
    return MachineLook(PoolHost(row.id, phase, since_us, 0, bool(holdings)), holdings)


def decision_write(
    connection: Connection,
    look: PoolLook,
    inputs: HostsInputs,
    decision: HostsDecision,
    *,
    platform_id: str,
    cell: int,
) -> bool:
    """Write the intent of a decision. False where its settings changed meanwhile: decide again.

    Of what it gives back goes what still has no work; its hosts take none from now on.
    """
    where = (autoscales.c.pool_id == look.pool_id, autoscales.c.version == look.version)
    values = {
        "state": hosts_state_pack(decision.state),
        "inputs": hosts_inputs_pack(inputs),
        "digest": hosts_inputs_digest(inputs),
        "reason": decision.reason,
        "figures": json.dumps(dict(decision.figures), sort_keys=True),
        "needed": decision.needed,
        "decided_us": inputs.seen.now_us,
    }
    if not connection.execute(update(autoscales).where(*where).values(**values)).rowcount:
        return False
    told = []
    for _ in range(decision.ask):
        row = _machine_row(look, inputs.seen.now_us, cell)
        insert_many(connection, machines, [row])
        detail = {"name": row["name"], "provider": row["provider"], "reason": decision.reason}
        told.append((row["id"], "machine_request", detail))
    for machine_id in decision.release:
        detail = {"reason": decision.reason}
        if _give_back(connection, machine_id, "it is not needed any more"):
            told.append((machine_id, "machine_release", detail))
    insert_many(connection, events, [_event(*one, platform_id, inputs.seen.now_us) for one in told])
    return True


def _machine_row(look: PoolLook, now_us: int, cell: int) -> dict[str, Any]:
    machine_id = id_new(IdKind.MACHINE, cell)
    return {
        "id": machine_id,
        "pool_id": look.pool_id,
        "name": machine_id.replace("_", "-"),
        "provider": look.settings.provider,
        "settings": msgspec.json.encode(look.settings).decode(),
        "host_hour_microyen": look.settings.host_hour_microyen,
        "requested_us": now_us,
    }


def _give_back(connection: Connection, machine_id: str, why: str) -> bool:
    """Begin to give a machine back if nothing lives on it; whether that began."""
    row = connection.execute(select(machines).where(machines.c.id == machine_id)).one()
    if not MACHINE.allows(row.state, "releasing") or not host_clear(connection, row.host_id):
        return False
    move_many(connection, [Move(machines, row.id, row.state, "releasing", {"detail": why})])
    return True


def host_clear(connection: Connection, host_id: str | None) -> bool:
    """Let a host take no work any more. False while work lives there, and then nothing is changed.

    The host is locked first: no plan that was made before is applied to it after.
    """
    if host_id is None:
        return True
    row = connection.execute(select(hosts).where(hosts.c.id == host_id).with_for_update(key_share=True)).one()
    live = select(exists(select(1).where(attempts.c.host_id == host_id, is_live())))
    if connection.execute(live).scalar():
        return False
    if row.state == "schedulable":
        move = Move(hosts, host_id, "schedulable", "draining", {"generation": row.generation + 1})
        move_many(connection, [move])
        host_touch(connection, [host_id])
    return True


def machines_living(connection: Connection, provider: str) -> Sequence[AnyRow]:
    """Machines of a provider that are paid for, with their host by name: `seen_id` and its health."""
    statement = (
        select(
            machines,
            hosts.c.id.label("seen_id"),
            hosts.c.health.label("host_health"),
            hosts.c.seen_us.label("host_seen_us"),
        )
        .join(hosts, hosts.c.name == machines.c.name, isouter=True)
        .where(machine_is_live(), machines.c.provider == provider)
        .order_by(machines.c.id)
        .limit(MACHINES_READ_MAX)
    )
    return connection.execute(statement).all()


def machines_ended(connection: Connection, machine_ids: Sequence[str]) -> list[str]:
    """Those of the machines that have ended as far as their rows say, and on whose host nothing lives."""
    live = exists(select(1).where(attempts.c.host_id == machines.c.host_id, is_live()))
    statement = select(machines.c.id).where(
        machines.c.id.in_(list(machine_ids)), machines.c.state.in_(TERMINAL), ~live
    )
    return list(connection.execute(statement.order_by(machines.c.id)).scalars())


def machines_known(connection: Connection, machine_ids: Sequence[str]) -> set[str]:
    """Those of the machines that have a row at all."""
    return set(
        connection.execute(select(machines.c.id).where(machines.c.id.in_(list(machine_ids)))).scalars()
    )


def machine_boot(connection: Connection, machine_id: str, ref: str) -> None:
    """Its provider answered: it boots."""
    _move(connection, machine_id, "requested", "booting", {"provider_ref": ref[:200]})


def machine_ready(
    connection: Connection, machine_id: str, host_id: str, platform_id: str, now_us: int
) -> None:
    """Its host reports: it takes work. What failed before is forgotten."""
    pool_id = _move(connection, machine_id, "booting", "ready", {"host_id": host_id, "ready_us": now_us})
    forget = {"failures": 0, "retry_us": None, "detail": ""}
    connection.execute(update(autoscales).where(autoscales.c.pool_id == pool_id).values(**forget))
    _tell(connection, machine_id, "machine_ready", {"host": host_id}, platform_id, now_us)


def machine_give_back(
    connection: Connection, machine_id: str, why: str, retry_s: int, platform_id: str, now_us: int
) -> bool:
    """Begin to give a machine back that is of no use, if nothing lives on it; whether that began."""
    if not _give_back(connection, machine_id, why):
        return False
    row = connection.execute(select(machines.c.pool_id).where(machines.c.id == machine_id)).one()
    _failed(connection, row.pool_id, why, retry_s, now_us)
    _tell(connection, machine_id, "machine_release", {"reason": why}, platform_id, now_us)
    return True


def machine_fail(
    connection: Connection, machine_id: str, why: str, retry_s: int, platform_id: str, now_us: int
) -> None:
    """Its provider has no such machine, and makes none."""
    row = connection.execute(select(machines.c.state).where(machines.c.id == machine_id)).one()
    values = {"detail": why[:400], "ended_us": now_us}
    pool_id = _move(connection, machine_id, row.state, "failed", values)
    _failed(connection, pool_id, why, retry_s, now_us)
    _tell(connection, machine_id, "machine_fail", {"reason": why[:200]}, platform_id, now_us)


def machine_released(connection: Connection, machine_id: str, platform_id: str, now_us: int) -> None:
    """Its provider has it no more: it costs nothing."""
    _move(connection, machine_id, "releasing", "released", {"ended_us": now_us})
    _tell(connection, machine_id, "machine_released", {}, platform_id, now_us)


def _move(
    connection: Connection, machine_id: str, source: str, target: str, values: Mapping[str, Any]
) -> str:
    """Move a machine; its pool."""
    move_many(connection, [Move(machines, machine_id, source, target, values)])
    pool_id: str = connection.execute(
        select(machines.c.pool_id).where(machines.c.id == machine_id)
    ).scalar_one()
    return pool_id


def _failed(connection: Connection, pool_id: str, why: str, retry_s: int, now_us: int) -> None:
    """One more machine of the pool came to nothing: the next is asked for ever later, an hour at most."""
    where = autoscales.c.pool_id == pool_id
    known = connection.execute(select(autoscales.c.failures).where(where)).scalar() or 0
    wait_s = min(3_600, retry_s * 2 ** min(known, 16))
    values = {"failures": known + 1, "retry_us": now_us + wait_s * 1_000_000, "detail": why[:400]}
    connection.execute(update(autoscales).where(where).values(**values))


def _tell(
    connection: Connection,
    machine_id: str,
    action: str,
    detail: Mapping[str, object],
    platform_id: str,
    now_us: int,
) -> None:
    insert_many(connection, events, [_event(machine_id, action, detail, platform_id, now_us)])


def _event(
    machine_id: str, action: str, detail: Mapping[str, object], platform_id: str, now_us: int
) -> dict[str, Any]:
    return event_row(
        action,
        at_us=now_us,
        actor=SYSTEM_ACTOR,
        resource=machine_id,
        organization=platform_id,
        detail=detail,
    )


def settings_of(row: AnyRow) -> AutoscaleWrite:
    """The settings in a row of `autoscales` or `machines`."""
    return msgspec.json.decode(row.settings, type=AutoscaleWrite)


def machine_pool_find(connection: Connection, engine: str, name: str) -> str | None:
    """The pool that borrowed the machine whose host has this name, if that engine runs it."""
    statement = (
        select(machines.c.pool_id)
        .join(pools, pools.c.id == machines.c.pool_id)
        .where(machine_is_live(), machines.c.name == name, pools.c.engine == engine)
    )
    found: str | None = connection.execute(statement).scalar()
    return found
