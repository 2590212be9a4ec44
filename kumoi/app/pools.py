"""Pools: hosts that take work together."""

import msgspec
from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.plane import Plane, not_found
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.places import Pool, PoolCreate
from kumoi.model.records import Page
from kumoi.model.time import time_format
from kumoi.store import pools, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.sites import site_get
from kumoi.store.writer import Change, Move


async def pool_list(plane: Plane, actor: Actor, limit: int, cursor: str | None) -> Page[Pool]:
    """Every pool, oldest first."""
    await plane.authorize(actor, Action.POOL_LIST, PLATFORM_TARGET)
    after = plane.cursors.open("pools", cursor)
    rows = await plane.store.read(pools.pool_list, limit + 1, after)
    return plane.cursors.page("pools", rows, limit, lambda pool: pool.id)


async def pool_create(plane: Plane, actor: Actor, body: PoolCreate, key: IdempotencyKey | None) -> Written:
    """Add a pool at a site; one of this plane's engines runs it."""
    return await plane.replay_or(key, _pool_create(plane, actor, body, key))


async def _pool_create(plane: Plane, actor: Actor, body: PoolCreate, key: IdempotencyKey | None) -> Written:
    await plane.authorize(actor, Action.POOL_CREATE, PLATFORM_TARGET)
    if body.engine not in plane.engines:
        raise Invalid(
            "engine_unknown",
            "this plane has no engine {engine}; use one of: {engines}",
            at="/engine",
            engine=body.engine,
            engines=", ".join(sorted(plane.engines)),
        )
    if await plane.store.read(site_get, body.site) is None:
        raise Invalid(
            "site_unknown",
            "there is no site {site}; take an id from the list of sites",
            at="/site",
            site=body.site,
        )
    if body.network_allowed and body.shared_by_organizations:
        raise Invalid(
            "network_shared",
            "tasks with a network share the host's, where organizations would reach each other: "
            "leave out network_allowed or shared_by_organizations",
            at="/network_allowed",
        )
    now_us = plane.clock_us()
    facts = {
        "name": body.name,
        "engine": body.engine,
        "isolation": body.isolation,
        "network_allowed": body.network_allowed,
        "shared_by_organizations": body.shared_by_organizations,
        "data_classes": body.data_classes,
        "defragment": body.defragment,
    }
    created = Pool(
        id=id_new(IdKind.POOL, plane.region.cell),
        name=body.name,
        site=body.site,
        engine=body.engine,
        isolation=body.isolation,
        network_allowed=body.network_allowed,
        shared_by_organizations=body.shared_by_organizations,
        data_classes=body.data_classes,
        defragment=body.defragment,
        state="open",
        created_at=time_format(now_us),
        version=1,
    )
    event = event_row(
        Action.POOL_CREATE,
        at_us=now_us,
        actor=actor.id,
        resource=created.id,
        organization=plane.region.platform_organization_id,
        detail={**facts, "site": body.site},
    )
    row = {
        **facts,
        "id": created.id,
        "site_id": body.site,
        "data_classes": msgspec.json.encode(body.data_classes).decode(),
        "created_us": now_us,
    }
    inserts = [(schema.pools, [row]), (schema.events, [event])]
    return await plane.commit(Change(inserts, key=key, answer=answer(201, created, 1)))


async def pool_pause(plane: Plane, actor: Actor, pool: str, key: IdempotencyKey | None) -> Written:
    """Hold a pool: it accepts work and starts none."""
    return await _pool_move(plane, actor, Action.POOL_PAUSE, pool, "open", "paused", key)


async def pool_resume(plane: Plane, actor: Actor, pool: str, key: IdempotencyKey | None) -> Written:
    """Let a paused pool start work again."""
    return await _pool_move(plane, actor, Action.POOL_RESUME, pool, "paused", "open", key)


async def _pool_move(
    plane: Plane,
    actor: Actor,
    action: Action,
    name_or_id: str,
    source: str,
    target: str,
    key: IdempotencyKey | None,
) -> Written:
    await plane.authorize(actor, action, PLATFORM_TARGET, named=name_or_id)
    place = await plane.directory.pool(name_or_id)
    if place is None:
        raise not_found(name_or_id)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        pool = pools.pool_get(connection, place.id)
        if pool is None:
            raise not_found(name_or_id)
        if pool.state != source:
            raise Conflict(
                "pool_state",
                "the pool {name} is {state}, so it cannot become {target}",
                name=pool.name,
                state=pool.state,
                target=target,
            )
        moved = replace(pool, state=target, version=pool.version + 1)
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=pool.id,
            organization=plane.region.platform_organization_id,
            detail={"name": pool.name},
        )
        move = Move(schema.pools, pool.id, source, target, {})
        return Change([(schema.events, [event])], [move], key, answer(200, moved, moved.version))

    written = await plane.commit_built(build, key, wake=("jobs", "placement"))
    plane.access_changed()
    return written
