"""Rollouts of services: revisions and replicas, and why there are so many."""

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.keys import spec_shown
from kumoi.app.plane import Plane, not_found
from kumoi.app.services import (
    WAKES,
    service_authorized,
    service_event,
    service_locked,
    service_told,
    service_written,
)
from kumoi.model.access import Action, Actor
from kumoi.model.errors import Conflict
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.records import Page
from kumoi.model.services import Replica, Revision, RolloutUndo, ServiceWhy
from kumoi.store import schema, services
from kumoi.store.database import Connection
from kumoi.store.schema import AnyRow
from kumoi.store.specs import sealed_of, sealed_values
from kumoi.store.writer import Change

_UNDONE = "undone before it took over"


async def revision_list(
    plane: Plane, actor: Actor, service: str, limit: int, cursor: str | None
) -> Page[Revision]:
    """Revisions of a service, newest first."""
    await service_authorized(plane, actor, Action.SERVICE_READ, service)
    listing = f"revisions/{service}"
    before = plane.cursors.open(listing, cursor)
    number = None if before is None else int(before)
    rows = await plane.store.read(services.revision_list, service, limit + 1, number)
    shown = [await _revision_shown(plane, row) for row in rows]
    return plane.cursors.page(listing, shown, limit, lambda revision: str(revision.number))


async def _revision_shown(plane: Plane, row: AnyRow) -> Revision:
    revision = services.revision_from_row(row)
    run, withheld = await spec_shown(plane, row, revision.run)
    return replace(revision, run=run, withheld=withheld)


async def replica_list(
    plane: Plane, actor: Actor, service: str, limit: int, cursor: str | None
) -> Page[Replica]:
    """Replicas of a service, newest first, ended ones too as long as their jobs are kept."""
    await service_authorized(plane, actor, Action.SERVICE_READ, service)
    listing = f"replicas/{service}"
    before = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(services.replica_list, service, limit + 1, before)
    return plane.cursors.page(listing, rows, limit, lambda replica: replica.id)


async def service_why(plane: Plane, actor: Actor, service: str, limit: int) -> ServiceWhy:
    """Why a service has as many replicas as it has: the last decisions, and what stands in the way.

    By their codes: the sentences are made where the reader's language is known.
    """
    row = await service_authorized(plane, actor, Action.SERVICE_READ, service)
    steps = await plane.store.read(services.scaling_list, service, limit)
    return ServiceWhy(service, row.state, services.conditions_of(row), tuple(steps))


async def rollout_pause(plane: Plane, actor: Actor, service: str, key: IdempotencyKey | None) -> Written:
    """Stop replacing replicas; what serves goes on, new revisions wait."""
    return await _pause(plane, actor, service, key, paused=True)


async def rollout_resume(plane: Plane, actor: Actor, service: str, key: IdempotencyKey | None) -> Written:
    """Go on replacing replicas."""
    return await _pause(plane, actor, service, key, paused=False)


async def rollout_undo(
    plane: Plane, actor: Actor, service: str, body: RolloutUndo, key: IdempotencyKey | None
) -> Written:
    """Go back to a revision: the one named, the one that serves while another takes over, or the last
    before that; where none serves, the newest is tried again."""
    await service_authorized(plane, actor, Action.SERVICE_UPDATE, service)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        current = service_locked(connection, service)
        number = body.revision or _revision_before(connection, current)
        wanted = services.revision_get(connection, service, number)
        if wanted is None:
            raise not_found(f"revision {number}")
        is_all_there_is = not current.target and services.run_same(current, wanted)
        if wanted.state == "rolling" or (wanted.state == "serving" and is_all_there_is):
            raise _nothing_to_undo(current, number)
        if current.target:
            services.revision_move(connection, service, current.target, "rolling", "retired", _UNDONE)
        target = 0
        if wanted.state != "serving":
            services.revision_move(connection, service, number, wanted.state, "rolling", None)
            target = number
        spec = replace(services.spec_of(current), run=services.run_of(wanted))
        values = {"target": target, "failures": 0, "retry_us": None, **sealed_values(sealed_of(wanted))}
        changed = services.service_change(connection, current, spec, values)
        told = service_event(changed, "service_rollout_undo", actor, now_us, {"revision": number})
        return service_told(connection, changed, told, key)

    return await service_written(plane, await plane.commit_built(build, key, wake=WAKES))


async def replica_stop(
    plane: Plane, actor: Actor, service: str, replica: str, key: IdempotencyKey | None
) -> Written:
    """Take a replica out of service and end it when its requests are answered. Another may replace it."""
    await service_authorized(plane, actor, Action.SERVICE_UPDATE, service)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        current = services.service_lock(connection, service)
        found = services.replica_get(connection, service, replica)
        if current is None or found is None:
            raise not_found(replica)
        if found.state == "ended":
            raise Conflict("replica_ended", "the replica {id} has ended and cannot be stopped", id=replica)
        told = []
        if found.state != "draining":
            services.replica_drain(connection, found, now_us, f"stopped by {actor.id}")
            told.append(service_event(current, "replica_stop", actor, now_us, {"replica": replica}))
            found = services.replica_get(connection, service, replica)
            assert found is not None
        shown = services.replica_from_row(found)
        return Change([(schema.events, told)], key=key, answer=answer(200, shown))

    return await plane.commit_built(build, key, wake=WAKES)


async def _pause(
    plane: Plane, actor: Actor, service: str, key: IdempotencyKey | None, *, paused: bool
) -> Written:
    await service_authorized(plane, actor, Action.SERVICE_UPDATE, service)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        current = service_locked(connection, service)
        if current.paused == paused:
            return service_told(connection, current, None, key)
        spec = services.spec_of(current)
        changed = services.service_change(connection, current, spec, {"paused": paused})
        what = "service_rollout_pause" if paused else "service_rollout_resume"
        return service_told(connection, changed, service_event(changed, what, actor, now_us), key)

    return await service_written(plane, await plane.commit_built(build, key, wake=WAKES))


def _revision_before(connection: Connection, current: AnyRow) -> int:
    """The revision to go back to where none is named. Raises Conflict if there is none."""
    if current.target and current.revision:
        return int(current.revision)
    newest = services.revision_newest(connection, current.id)
    if newest is None or (current.revision and newest.number != current.revision):
        raise _nothing_to_undo(current, current.revision)
    if not current.revision and not current.target:
        return int(newest.number)
    states = ("retired", "failed") if current.target else ("retired",)
    before = services.revision_newest(connection, current.id, below=newest.number, states=states)
    if before is None:
        raise _nothing_to_undo(current, newest.number)
    return int(before.number)


def _nothing_to_undo(current: AnyRow, number: int) -> Conflict:
    return Conflict(
        "nothing_to_undo",
        "the service {name} is at revision {number} already and has none to go back to by itself; "
        "name one of `kumoi service revisions {name}`",
        at="/revision",
        name=current.name,
        number=number,
    )
