"""Reservations: whole hosts, held for an organization at a date."""

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.app.shares import events_of
from kumoi.core.queue.reserve import Shortfall
from kumoi.model.access import Action, Actor
from kumoi.model.errors import Conflict, Invalid, KumoiError
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.records import Page
from kumoi.model.shares import Reservation, ReservationCreate
from kumoi.model.time import US_PER_S, time_format, time_parse
from kumoi.store import reservations, schema
from kumoi.store.database import Connection
from kumoi.store.host_touches import host_touch
from kumoi.store.ids import id_new
from kumoi.store.writer import Change, Move

DAYS_AHEAD_MAX = 800
DAYS_LONG_MAX = 400
_DAY_US = 86_400 * US_PER_S


async def reservation_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[Reservation]:
    """Reservations of an organization, oldest first, past ones too."""
    organization_id = await organization_authorized(plane, actor, Action.RESERVATION_LIST, organization)
    listing = f"reservations/{organization_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(reservations.reservation_list, organization_id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda reservation: reservation.id)


async def reservation_read(plane: Plane, actor: Actor, organization: str, reservation_id: str) -> Reservation:
    """One reservation."""
    organization_id = await organization_authorized(plane, actor, Action.RESERVATION_READ, organization)
    found = await plane.store.read(reservations.reservation_get, organization_id, reservation_id)
    if found is None:
        raise not_found(reservation_id)
    return found


async def reservation_create(
    plane: Plane, actor: Actor, organization: str, body: ReservationCreate, key: IdempotencyKey | None
) -> Written:
    """Hold hosts of a pool for an organization: they take only work that ends before, then only its own."""
    return await plane.replay_or(key, _reservation_create(plane, actor, organization, body, key))


async def _reservation_create(
    plane: Plane, actor: Actor, organization: str, body: ReservationCreate, key: IdempotencyKey | None
) -> Written:
    organization_id = await organization_authorized(plane, actor, Action.RESERVATION_CREATE, organization)
    now_us = plane.clock_us()
    start_us, end_us = _span(body, now_us)
    place = await plane.directory.pool(body.pool)
    if place is None:
        raise Invalid(
            "pool_unknown",
            "there is no pool {name}; list them with `kumoi pool list`",
            at="/pool",
            name=body.pool,
        )
    made = Reservation(
        id=id_new(IdKind.RESERVATION, plane.region.cell),
        organization=organization_id,
        name=body.name,
        pool=place.id,
        host_count=body.host_count,
        start_at=time_format(start_us),
        end_at=time_format(end_us),
        state="held",
        created_at=time_format(now_us),
        version=1,
    )
    row = {
        "id": made.id,
        "organization_id": organization_id,
        "pool_id": place.id,
        "name": body.name,
        "host_count": body.host_count,
        "start_us": start_us,
        "end_us": end_us,
        "created_us": now_us,
    }

    def build(connection: Connection) -> Change:
        chosen = reservations.reservation_hosts_choose(
            connection, place.id, organization_id, body.host_count, start_us, end_us
        )
        if isinstance(chosen, Shortfall):
            raise _unavailable(body, chosen)
        host_touch(connection, chosen)
        held = [{"reservation_id": made.id, "host_id": host_id} for host_id in chosen]
        told = events_of(plane, actor, Action.RESERVATION_CREATE, organization_id, _detail(made), made.id)
        return Change(
            [(schema.reservations, [row]), (schema.reservation_hosts, held), told],
            key=key,
            answer=answer(201, made, 1),
        )

    return await plane.commit_built(build, key, wake=("placement",))


async def reservation_cancel(
    plane: Plane, actor: Actor, organization: str, reservation_id: str, key: IdempotencyKey | None
) -> Written:
    """Give the hosts of a reservation back. Work that runs there goes on."""
    organization_id = await organization_authorized(plane, actor, Action.RESERVATION_CANCEL, organization)

    def build(connection: Connection) -> Change:
        found = reservations.reservation_get(connection, organization_id, reservation_id)
        if found is None:
            raise not_found(reservation_id)
        if found.state != "held":
            raise Conflict(
                "reservation_state",
                "the reservation {name} is {state}, so there is nothing to cancel",
                name=found.name,
                state=found.state,
            )
        host_touch(connection, reservations.reservation_host_ids(connection, reservation_id))
        moved = replace(found, state="cancelled", version=found.version + 1)
        told = events_of(plane, actor, Action.RESERVATION_CANCEL, organization_id, _detail(found), found.id)
        move = Move(schema.reservations, found.id, "held", "cancelled", {})
        return Change([told], [move], key, answer(200, moved, moved.version))

    return await plane.commit_built(build, key, wake=("placement",))


def _span(body: ReservationCreate, now_us: int) -> tuple[int, int]:
    """Start and end. Raises Invalid for times that are none, in the past, in the wrong order or far away."""
    start_us, end_us = (
        _time(text, at) for text, at in ((body.start_at, "start_at"), (body.end_at, "end_at"))
    )
    if start_us < now_us:
        raise Invalid(
            "reservation_past",
            "the reservation would start at {start}, and it is {now}; choose a later start",
            at="/start_at",
            start=time_format(start_us),
            now=time_format(now_us),
        )
    if end_us <= start_us:
        raise Invalid(
            "reservation_empty",
            "the reservation would end at {end}, not after its start at {start}; choose a later end",
            at="/end_at",
            end=time_format(end_us),
            start=time_format(start_us),
        )
    if start_us - now_us > DAYS_AHEAD_MAX * _DAY_US or end_us - start_us > DAYS_LONG_MAX * _DAY_US:
        raise Invalid(
            "reservation_far",
            "a reservation starts at most {ahead} days from now and lasts at most {long} days",
            at="/start_at",
            ahead=DAYS_AHEAD_MAX,
            long=DAYS_LONG_MAX,
        )
    return start_us, end_us


def _time(text: str, at: str) -> int:
    try:
        return time_parse(text)
    except ValueError:
        raise Invalid(
            "time_invalid",
            "{parameter} is not an RFC 3339 time with an offset; write it as 2026-01-31T09:00:00Z",
            at=f"/{at}",
            parameter=at,
        ) from None


def _unavailable(body: ReservationCreate, shortfall: Shortfall) -> KumoiError:
    """What there is instead: fewer hosts then, or as many later."""
    if shortfall.earliest_us is None:
        return Conflict(
            "reservation_too_large",
            "the pool {pool} has fewer than {count} hosts to reserve; {available} are free at that time",
            at="/host_count",
            pool=body.pool,
            count=body.host_count,
            available=shortfall.available,
        )
    return Conflict(
        "reservation_unavailable",
        "{available} hosts of the pool {pool} are free at that time, not {count}; "
        "ask for as many, or for a start at {earliest}",
        at="/start_at",
        available=shortfall.available,
        pool=body.pool,
        count=body.host_count,
        earliest=time_format(shortfall.earliest_us),
    )


def _detail(reservation: Reservation) -> dict[str, object]:
    return {
        "name": reservation.name,
        "pool": reservation.pool,
        "host_count": reservation.host_count,
        "start_at": reservation.start_at,
        "end_at": reservation.end_at,
    }
