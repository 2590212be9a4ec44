"""Hosts: the machines, seen and drained by operators."""

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.plane import Plane, not_found
from kumoi.core.lifecycles import HOST
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import is_reference
from kumoi.model.places import Host, HostDedicate, HostHealth
from kumoi.model.records import Page
from kumoi.model.time import US_PER_S, time_parse
from kumoi.store import hosts_read, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.host_touches import host_touch
from kumoi.store.hosts import host_attempts_lose
from kumoi.store.writer import Change, Move

SILENT_US = 30 * US_PER_S
"""A host that was heard of within this time is not silent."""


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


async def host_dedicate(
    plane: Plane, actor: Actor, host: str, body: HostDedicate, key: IdempotencyKey | None
) -> Written:
    """Keep a host for one organization's work, or give it to everybody's again. What runs there goes on."""
    return await plane.replay_or(key, _host_dedicate(plane, actor, host, body, key))


async def _host_dedicate(
    plane: Plane, actor: Actor, name_or_id: str, body: HostDedicate, key: IdempotencyKey | None
) -> Written:
    await plane.authorize(actor, Action.HOST_DEDICATE, PLATFORM_TARGET, named=name_or_id)
    host_id = await _host_id_find(plane, name_or_id)
    owner = None
    if body.organization is not None:
        owner = await plane.directory.organization_id(body.organization)
        if owner is None:
            raise Invalid(
                "organization_unknown",
                "there is no organization {organization}; take a name or id from the list of organizations",
                at="/organization",
                organization=body.organization,
            )
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        host, generation = _host_lock(connection, host_id, name_or_id)
        dedicated = replace(host, dedicated_to=owner, version=host.version + 1)
        event = _event(plane, actor, Action.HOST_DEDICATE, host, now_us, organization=owner)
        values = {"generation": generation + 1, "dedicated_to": owner}
        host_touch(connection, [host_id])
        return Change(
            [(schema.events, [event])],
            [Move(schema.hosts, host_id, host.state, host.state, values)],
            key,
            answer(200, dedicated, dedicated.version),
        )

    return await plane.commit_built(build, key, wake=("placement",))


async def host_declare_lost(plane: Plane, actor: Actor, host: str, key: IdempotencyKey | None) -> Written:
    """End what a silent host ran, so that it may run elsewhere: the operator knows that the machine is dead.

    Tasks that wait for their host, too. A host that took work is quarantined: it gets work again only when
    an operator resumes it, should it ever come back.
    """
    await plane.authorize(actor, Action.HOST_DECLARE_LOST, PLATFORM_TARGET, named=host)
    host_id = await _host_id_find(plane, host)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        found, generation = _host_lock(connection, host_id, host)
        seen_us = time_parse(found.seen_at) if found.seen_at else 0
        if found.health is not HostHealth.LOST or now_us - seen_us < SILENT_US:
            raise Conflict(
                "host_not_lost",
                "the host {name} was heard of at {seen_at}; only one that is silent can be declared lost: "
                "switch the machine off, wait until its health is lost, then ask again",
                name=found.name,
                seen_at=found.seen_at,
            )
        ended = host_attempts_lose(connection, host_id, now_us)
        target = "quarantined" if found.state == "schedulable" else found.state
        lost = replace(
            found,
            state=target,
            cpu_milli_used=0,
            memory_bytes_used=0,
            disk_bytes_used=0,
            attempts=0,
            devices=tuple(replace(device, milli_used=0, attempts=()) for device in found.devices),
            version=found.version + 1,
        )
        event = _event(plane, actor, Action.HOST_DECLARE_LOST, found, now_us, attempts=ended)
        move = Move(schema.hosts, host_id, found.state, target, {"generation": generation + 1})
        host_touch(connection, [host_id])
        return Change([(schema.events, [event])], [move], key, answer(200, lost, lost.version))

    return await plane.commit_built(build, key, wake=("hosts", "jobs", "placement"))


async def _host_move(
    plane: Plane, actor: Actor, action: Action, name_or_id: str, target: str, key: IdempotencyKey | None
) -> Written:
    await plane.authorize(actor, action, PLATFORM_TARGET, named=name_or_id)
    host_id = await _host_id_find(plane, name_or_id)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        host, generation = _host_lock(connection, host_id, name_or_id)
        if not HOST.allows(host.state, target):
            raise Conflict(
                "host_state",
                "the host {name} is {state}, so it cannot become {target}",
                name=host.name,
                state=host.state,
                target=target,
            )
        moved = replace(host, state=target, version=host.version + 1)
        event = _event(plane, actor, action, host, now_us)
        # A plan that was made before this one is decided again: its generation does not hold any more.
        move = Move(schema.hosts, host_id, host.state, target, {"generation": generation + 1})
        host_touch(connection, [host_id])
        return Change([(schema.events, [event])], [move], key, answer(200, moved, moved.version))

    return await plane.commit_built(build, key, wake=("hosts", "placement"))


def _host_lock(connection: Connection, host_id: str, name_or_id: str) -> tuple[Host, int]:
    """The host and its generation, which stays that in this transaction."""
    generation = hosts_read.host_generation_lock(connection, host_id)
    host = hosts_read.host_get(connection, host_id)
    if host is None or generation is None:
        raise not_found(name_or_id)
    return host, generation


def _event(
    plane: Plane, actor: Actor, action: Action, host: Host, now_us: int, **detail: object
) -> dict[str, object]:
    return event_row(
        action,
        at_us=now_us,
        actor=actor.id,
        resource=host.id,
        organization=plane.region.platform_organization_id,
        detail={"name": host.name, **detail},
    )


async def _host_id_find(plane: Plane, name_or_id: str) -> str:
    host_id = None
    if is_reference(name_or_id):
        host_id = await plane.store.read(hosts_read.host_id_find, name_or_id)
    if host_id is None:
        raise not_found(name_or_id)
    return host_id
