"""Hosts: the machines, seen and drained by operators."""

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.plane import Plane, not_found
from kumoi.core.lifecycles import HOST
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.errors import Conflict
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import is_reference
from kumoi.model.places import Host
from kumoi.model.records import Page
from kumoi.store import hosts_read, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.writer import Change, Move


async def host_list(
    plane: Plane, actor: Actor, pool: str | None, limit: int, cursor: str | None
) -> Page[Host]:
    """Every host, or those of `pool` (name or id), oldest first."""
    await plane.authorize(actor, Action.HOST_LIST, PLATFORM_TARGET)
    pool_id = None
    if pool is not None:
        place = await plane.directory.pool(pool)
        if place is None:
            raise not_found(pool)
        pool_id = place.id
    listing = f"hosts/{pool_id or ''}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(hosts_read.host_list, limit + 1, after, pool_id)
    return plane.cursors.page(listing, rows, limit, lambda host: host.id)


async def host_read(plane: Plane, actor: Actor, host: str) -> Host:
    """One host, by name or id, with what its live attempts hold."""
    await plane.authorize(actor, Action.HOST_READ, PLATFORM_TARGET, named=host)
    found = await plane.store.read(hosts_read.host_get, await _host_id_find(plane, host))
    if found is None:
        raise not_found(host)
    return found


async def host_drain(plane: Plane, actor: Actor, host: str, key: IdempotencyKey | None) -> Written:
    """Give a host no new work; when its last attempt ended it is in maintenance."""
    return await _host_move(plane, actor, Action.HOST_DRAIN, host, "draining", key)


async def host_resume(plane: Plane, actor: Actor, host: str, key: IdempotencyKey | None) -> Written:
    """Give a drained or quarantined host work again."""
    return await _host_move(plane, actor, Action.HOST_RESUME, host, "schedulable", key)


async def _host_move(
    plane: Plane, actor: Actor, action: Action, name_or_id: str, target: str, key: IdempotencyKey | None
) -> Written:
    await plane.authorize(actor, action, PLATFORM_TARGET, named=name_or_id)
    host_id = await _host_id_find(plane, name_or_id)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        generation = hosts_read.host_generation_lock(connection, host_id)
        host = hosts_read.host_get(connection, host_id)
        if host is None or generation is None:
            raise not_found(name_or_id)
        if not HOST.allows(host.state, target):
            raise Conflict(
                "host_state",
                "the host {name} is {state}, so it cannot become {target}",
                name=host.name,
                state=host.state,
                target=target,
            )
        moved = replace(host, state=target, version=host.version + 1)
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=host_id,
            organization=plane.region.platform_organization_id,
            detail={"name": host.name},
        )
        # A plan that was made before this one is decided again: its generation does not hold any more.
        move = Move(schema.hosts, host_id, host.state, target, {"generation": generation + 1})
        return Change([(schema.events, [event])], [move], key, answer(200, moved, moved.version))

    return await plane.commit_built(build, key, wake=("hosts", "placement"))


async def _host_id_find(plane: Plane, name_or_id: str) -> str:
    host_id = None
    if is_reference(name_or_id):
        host_id = await plane.store.read(hosts_read.host_id_find, name_or_id)
    if host_id is None:
        raise not_found(name_or_id)
    return host_id
