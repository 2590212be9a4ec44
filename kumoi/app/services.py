"""Services: what a tenant wants to be kept running."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace as written_replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.keys import spec_open, spec_seal, spec_shown
from kumoi.app.plane import Plane
from kumoi.app.pool_choice import PoolChoice
from kumoi.app.projects import project_authorized
from kumoi.app.shares import version_check
from kumoi.core.placement.possible import DataBinding, job_contradiction
from kumoi.core.replica_jobs import replica_job
from kumoi.core.service_specs import (
    job_error_placed,
    pin_contradiction,
    service_contradiction,
)
from kumoi.model.access import Action, Actor, ResourceKind, Target
from kumoi.model.errors import Conflict, Invalid, PreconditionRequired
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind, id_is
from kumoi.model.records import Page
from kumoi.model.services import Service, ServicePin, ServiceSpec, ServiceSummary
from kumoi.store import jobs, schema, services
from kumoi.store.database import Connection
from kumoi.store.directory import PoolPlace, ProjectPlace
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.keys.names import Sealed
from kumoi.store.schema import AnyRow
from kumoi.store.specs import content_strip, sealed_values
from kumoi.store.writer import Change, insert_many

_service_decoder = msgspec.json.Decoder(Service)
WAKES = ("services",)
SERVICES_MAX = 1_000
"""How many services a project has at most."""


async def service_create(
    plane: Plane, actor: Actor, project: str, body: ServiceSpec, key: IdempotencyKey | None
) -> Written:
    """Create a service. Its replicas follow the demand from now on."""
    return await plane.replay_or(key, _service_create(plane, actor, project, body, key))


async def _service_create(
    plane: Plane, actor: Actor, project: str, body: ServiceSpec, key: IdempotencyKey | None
) -> Written:
    place = await project_authorized(plane, actor, Action.SERVICE_CREATE, project)
    pool = await _spec_checked(plane, place, body)
    sealed = await spec_seal(plane, place.organization_id, place.id, body.run)
    kept = _stripped(body)
    now_us = plane.clock_us()
    service_id = id_new(IdKind.SERVICE, plane.region.cell)
    row = {
        "id": service_id,
        "organization_id": place.organization_id,
        "project_id": place.id,
        "pool_id": pool.id,
        "name": body.name,
        "spec": services.spec_text(kept),
        **sealed_values(sealed),
        "target": 1,
        "data_class": place.data_class,
        "jurisdiction": place.jurisdiction,
        "created_us": now_us,
        "created_by": actor.id,
    }

    def build(connection: Connection) -> Change:
        if services.service_count(connection, place.id) >= SERVICES_MAX:
            raise Conflict(
                "services_too_many",
                "a project has at most {limit} services; delete one, or use another project",
                limit=SERVICES_MAX,
            )
        _secrets_check(connection, place.id, body)
        insert_many(connection, schema.services, [row])
        services.revision_add(connection, service_id, 1, kept.run, now_us, actor.id, sealed)
        _routes_claim(connection, service_id, place.id, body)
        written = services.service_get(connection, service_id)
        assert written is not None
        detail = {"pool": pool.name, "revision": 1}
        told = service_event(written, Action.SERVICE_CREATE, actor, now_us, detail)
        made = services.service_show(connection, written)
        return Change([(schema.events, [told])], key=key, answer=answer(201, made, made.version))

    return await service_written(plane, await plane.commit_built(build, key, wake=WAKES))


async def service_list(
    plane: Plane, actor: Actor, project: str, limit: int, cursor: str | None, name: str | None
) -> Page[ServiceSummary]:
    """Services of a project that are not deleted, oldest first; the one of a name where it is given."""
    await project_authorized(plane, actor, Action.SERVICE_LIST, project)
    listing = f"services/{project}/{name or ''}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(services.service_list, project, name, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda service: service.id)


async def service_read(plane: Plane, actor: Actor, service: str) -> Service:
    """One service with its replicas; a deleted one too."""
    row = await service_authorized(plane, actor, Action.SERVICE_READ, service)
    return await _service_filled(plane, row, await plane.store.read(services.service_show, row))


async def service_update(
    plane: Plane, actor: Actor, service: str, body: ServiceSpec, if_match: str | None
) -> Written:
    """Replace what a service is. Another `run` is rolled out as a new revision; the rest holds at once."""
    row = await service_authorized(plane, actor, Action.SERVICE_UPDATE, service)
    _if_match_needed(if_match)
    place = await plane.directory.project(row.project_id)
    assert place is not None
    known = services.spec_of(row)
    if body.name != row.name:
        raise Invalid(
            "service_name_fixed",
            "the service {name} keeps its name; send `name` {name}, or create another service",
            at="/name",
            name=row.name,
        )
    pool = await _spec_checked(plane, place, body)
    sealed = await spec_seal(plane, place.organization_id, place.id, body.run)
    pool_id = row.pool_id if _is_placed_alike(known, body) else pool.id
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        current = service_locked(connection, service)
        version_check(current.name, if_match, current.generation)
        _secrets_check(connection, place.id, body)
        _routes_claim(connection, service, place.id, body)
        values: dict[str, Any] = {"pool_id": pool_id}
        if body.run != spec_open(plane, current, services.spec_of(current).run):
            values |= _revision_next(connection, current, body, sealed, actor, now_us)
        changed = services.service_change(connection, current, _stripped(body), values)
        detail = {"revision": changed.target or changed.revision}
        told = service_event(changed, Action.SERVICE_UPDATE, actor, now_us, detail)
        return service_told(connection, changed, told)

    return await service_written(plane, await plane.commit_built(build, wake=WAKES))


async def service_delete(plane: Plane, actor: Actor, service: str, if_match: str | None) -> Written:
    """Delete a service: it gets no requests any more, its replicas finish theirs and end."""
    await service_authorized(plane, actor, Action.SERVICE_DELETE, service)
    _if_match_needed(if_match)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        current = services.service_lock(connection, service)
        assert current is not None
        version_check(current.name, if_match, current.generation)
        if current.state != "active":
            return service_told(connection, current, None, status=202)
        services.service_delete(connection, current)
        deleted = services.service_get(connection, service)
        assert deleted is not None
        told = service_event(deleted, Action.SERVICE_DELETE, actor, now_us)
        return service_told(connection, deleted, told, status=202)

    return await service_written(plane, await plane.commit_built(build, wake=WAKES))


async def service_pin(
    plane: Plane, actor: Actor, service: str, body: ServicePin, key: IdempotencyKey | None
) -> Written:
    """Keep a number of replicas, whatever the demand is, until it is unpinned."""
    return await _pin(plane, actor, service, body.replicas, key)


async def service_unpin(plane: Plane, actor: Actor, service: str, key: IdempotencyKey | None) -> Written:
    """Let the replicas follow the demand again."""
    return await _pin(plane, actor, service, None, key)


async def _pin(
    plane: Plane, actor: Actor, service: str, replicas: int | None, key: IdempotencyKey | None
) -> Written:
    await service_authorized(plane, actor, Action.SERVICE_UPDATE, service)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        current = service_locked(connection, service)
        spec = services.spec_of(current)
        above = None if replicas is None else pin_contradiction(spec.scale, replicas)
        if above is not None:
            above.at = "/replicas"
            raise above
        if spec.scale.pin == replicas:
            return service_told(connection, current, None, key)
        pinned = replace(spec, scale=replace(spec.scale, pin=replicas))
        changed = services.service_change(connection, current, pinned)
        detail = {} if replicas is None else {"replicas": replicas}
        what = "service_unpin" if replicas is None else "service_pin"
        told = service_event(changed, what, actor, now_us, detail)
        return service_told(connection, changed, told, key)

    return await service_written(plane, await plane.commit_built(build, key, wake=WAKES))


async def service_authorized(plane: Plane, actor: Actor, action: Action, service_id: str) -> AnyRow:
    """The row of a service, if `actor` may do `action` to it. Raises NotFound or Forbidden."""
    is_id = id_is(IdKind.SERVICE, service_id)
    row = await plane.store.read(services.service_get, service_id) if is_id else None
    if row is None:
        await plane.refuse_unknown(actor, action, ResourceKind.SERVICE, service_id)
    target = Target(ResourceKind.SERVICE, service_id, row.organization_id, row.project_id)
    await plane.authorize(actor, action, target)
    return row


def service_locked(connection: Connection, service_id: str) -> AnyRow:
    """The row of a service that is not deleted, locked. Raises Conflict."""
    row = services.service_lock(connection, service_id)
    if row is None or row.state != "active":
        raise Conflict(
            "service_deleted", "the service {id} is deleted and cannot be changed; create one", id=service_id
        )
    return row


def service_event(
    row: AnyRow, action: str, actor: Actor, now_us: int, detail: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """What the log says of a change."""
    return event_row(
        action,
        at_us=now_us,
        actor=actor.id,
        resource=row.id,
        organization=row.organization_id,
        project=row.project_id,
        detail={"generation": row.generation, "name": row.name, **(detail or {})},
    )


def service_told(
    connection: Connection,
    row: AnyRow,
    event: dict[str, Any] | None,
    key: IdempotencyKey | None = None,
    *,
    status: int = 200,
) -> Change:
    """The change whose answer is the service as it is now; without an event nothing changed."""
    shown = services.service_show(connection, row)
    told = [] if event is None else [event]
    return Change([(schema.events, told)], key=key, answer=answer(status, shown, shown.version))


async def _spec_checked(plane: Plane, place: ProjectPlace, spec: ServiceSpec) -> PoolPlace:
    """The pool of the replicas. Raises Invalid or Conflict for what a specification alone can tell."""
    if place.state != "active":
        raise Conflict("project_archived", "the project {id} is archived; restore it first", id=place.id)
    contradiction = service_contradiction(place.id, spec)
    if contradiction is not None:
        raise contradiction
    await asyncio.to_thread(_time_zones_check, spec)
    job = replica_job(spec, spec.run)
    try:
        contradiction = job_contradiction(job)
        if contradiction is not None:
            raise contradiction
        bound = DataBinding(place.data_class, place.jurisdiction)
        return await PoolChoice(plane, place.organization_id, bound).pool(job, "")
    except Invalid as error:
        raise job_error_placed(error) from None


def _time_zones_check(spec: ServiceSpec) -> None:
    for index, schedule in enumerate(spec.scale.schedules):
        try:
            ZoneInfo(schedule.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Invalid(
                "time_zone_unknown",
                "{name} is no time zone; use a name of the IANA database, as Asia/Tokyo or UTC",
                at=f"/scale/schedules/{index}/time_zone",
                name=repr(schedule.time_zone),
            ) from None


def _secrets_check(connection: Connection, project_id: str, spec: ServiceSpec) -> None:
    names = set(spec.run.secrets.values())
    unknown = jobs.secrets_missing(connection, project_id, sorted(names)) if names else set()
    for file, name in spec.run.secrets.items():
        if name in unknown:
            raise Invalid(
                "secret_unknown",
                "the project has no secret {name}; write it with `kumoi secret put {name}`",
                at=f"/run/secrets/{file}",
                name=name,
            )


def _routes_claim(connection: Connection, service_id: str, project_id: str, spec: ServiceSpec) -> None:
    taken = services.routes_claim(connection, service_id, project_id, spec)
    if taken is not None:
        raise Conflict(
            "route_taken",
            "requests for {route} go to another service already; choose another host or path",
            at="/route",
            route=taken,
        )


def _is_placed_alike(known: ServiceSpec, asked: ServiceSpec) -> bool:
    """Whether replicas of both would be placed in the same pool."""
    same_rules = known.pool == asked.pool and known.rules == asked.rules
    same_run = known.run.resources == asked.run.resources and known.run.image == asked.run.image
    return same_rules and same_run


def _revision_next(
    connection: Connection, current: AnyRow, spec: ServiceSpec, sealed: Sealed, actor: Actor, now_us: int
) -> dict[str, Any]:
    """Add the next revision; what follows for the service's row."""
    newest = services.revision_newest(connection, current.id)
    number = 1 if newest is None else newest.number + 1
    if current.target:
        why = f"revision {number} came before it took over"
        services.revision_move(connection, current.id, current.target, "rolling", "retired", why)
    run = content_strip(spec.run)
    services.revision_add(connection, current.id, number, run, now_us, actor.id, sealed)
    return {"target": number, "failures": 0, "retry_us": None, **sealed_values(sealed)}


def _stripped(spec: ServiceSpec) -> ServiceSpec:
    """What stands in plain text of a specification."""
    return replace(spec, run=content_strip(spec.run))


async def service_written(plane: Plane, written: Written) -> Written:
    """The answer with what is sealed of the service, which is kept nowhere: as it is now, in a replay too."""
    shown = _service_decoder.decode(written.body)
    row = await plane.store.read(services.service_get, shown.id)
    if row is None:
        return written
    filled = await _service_filled(plane, row, shown)
    return written_replace(written, body=answer(written.status, filled).body)


async def _service_filled(plane: Plane, row: AnyRow, shown: Service) -> Service:
    run, withheld = await spec_shown(plane, row, shown.spec.run)
    return replace(shown, spec=replace(shown.spec, run=run), withheld=withheld)


def _if_match_needed(if_match: str | None) -> None:
    if if_match is None:
        raise PreconditionRequired(
            "service_if_match_missing",
            "changing a service needs an If-Match; send the ETag of the version meant, or * for any",
            at="If-Match",
        )
