"""Machines that a provider lends, and how pools borrow them: for operators only."""

from msgspec import to_builtins

from kumoi.app.answers import answer
from kumoi.app.plane import Plane, not_found
from kumoi.app.shares import NO_CONTENT, if_match_needed, version_check
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import Written
from kumoi.model.ids import is_reference
from kumoi.model.machines import Autoscale, AutoscaleWrite, Machine
from kumoi.model.records import Page
from kumoi.store import machines_read, schema
from kumoi.store.database import Connection
from kumoi.store.directory import PoolPlace
from kumoi.store.events import event_row
from kumoi.store.writer import Change


async def machine_list(
    plane: Plane, actor: Actor, pool: str | None, limit: int, cursor: str | None
) -> Page[Machine]:
    """Every machine, or those of `pool`, oldest first."""
    await plane.authorize(actor, Action.MACHINE_LIST, PLATFORM_TARGET)
    pool_id = None if pool is None else (await _place(plane, pool)).id
    listing = f"machines/{pool_id or ''}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(machines_read.machine_list, limit + 1, after, pool_id)
    return plane.cursors.page(listing, rows, limit, lambda machine: machine.id)


async def machine_read(plane: Plane, actor: Actor, machine: str) -> Machine:
    """One machine, by id or name."""
    await plane.authorize(actor, Action.MACHINE_READ, PLATFORM_TARGET, named=machine)
    found = await plane.store.read(machines_read.machine_get, machine) if is_reference(machine) else None
    if found is None:
        raise not_found(machine)
    return found


async def autoscale_read(plane: Plane, actor: Actor, pool: str) -> Autoscale:
    """How a pool's machines follow demand."""
    await plane.authorize(actor, Action.POOL_AUTOSCALE_READ, PLATFORM_TARGET, named=pool)
    place = await _place(plane, pool)
    found = await plane.store.read(machines_read.autoscale_get, place.id)
    if found is None:
        raise not_found(f"{place.name}/autoscale")
    return found


async def autoscale_write(
    plane: Plane, actor: Actor, pool: str, body: AutoscaleWrite, if_match: str | None
) -> Written:
    """Let a pool borrow machines, or change how. What is there stays until the next decision."""
    await plane.authorize(actor, Action.POOL_AUTOSCALE_WRITE, PLATFORM_TARGET, named=pool)
    place = await _place(plane, pool)
    _body_check(plane, place, body)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        known = machines_read.autoscale_get(connection, place.id)
        version_check(f"{place.name}/autoscale", if_match, 0 if known is None else known.version)
        written = machines_read.autoscale_put(connection, place.id, body, now_us)
        told = _event(plane, actor, Action.POOL_AUTOSCALE_WRITE, place, to_builtins(body))
        created = 201 if known is None else 200
        return Change([(schema.events, [told])], answer=answer(created, written, written.version))

    return await plane.commit_built(build, wake=("machines",))


async def autoscale_delete(plane: Plane, actor: Actor, pool: str, if_match: str | None) -> Written:
    """Let a pool borrow no more machines. Those that it has must be given back before."""
    await plane.authorize(actor, Action.POOL_AUTOSCALE_DELETE, PLATFORM_TARGET, named=pool)
    if_match_needed(if_match)
    place = await _place(plane, pool)

    def build(connection: Connection) -> Change:
        known = machines_read.autoscale_get(connection, place.id)
        version_check(f"{place.name}/autoscale", if_match, 0 if known is None else known.version)
        if known is None:
            return Change([], answer=NO_CONTENT)
        if known.machines:
            raise Conflict(
                "machines_borrowed",
                "the pool {pool} still has {count} machines; set hosts_max to 0, wait until they are given "
                "back, then delete",
                pool=place.name,
                count=known.machines,
            )
        machines_read.autoscale_drop(connection, place.id)
        told = _event(plane, actor, Action.POOL_AUTOSCALE_DELETE, place, {})
        return Change([(schema.events, [told])], answer=NO_CONTENT)

    return await plane.commit_built(build)


def _body_check(plane: Plane, place: PoolPlace, body: AutoscaleWrite) -> None:
    """Refuse what contradicts itself, or would put work where its data may not be (M-11, T-08)."""
    provider = plane.providers.get(body.provider)
    if provider is None:
        raise Invalid(
            "provider_unknown",
            "this plane has no provider {provider}; it has: {known}",
            at="/provider",
            provider=body.provider,
            known=", ".join(sorted(plane.providers)) or "-",
        )
    if provider.jurisdiction != place.facts.country:
        raise Invalid(
            "provider_jurisdiction",
            "the machines of {provider} stand in {there}, and the pool {pool} promises {here}: "
            "make a pool at a site in {there}",
            at="/provider",
            provider=body.provider,
            there=provider.jurisdiction,
            pool=place.name,
            here=place.facts.country,
        )
    if body.hosts_min > body.hosts_max:
        raise Invalid(
            "hosts_min_above_max",
            "hosts_min {least} is above hosts_max {most}; lower the one or raise the other",
            at="/hosts_min",
            least=body.hosts_min,
            most=body.hosts_max,
        )
    least_microyen = body.hosts_min * body.host_hour_microyen
    if body.budget_hour_microyen is not None and least_microyen > body.budget_hour_microyen:
        raise Invalid(
            "budget_below_min",
            "{least} machines cost {price} micro-yen an hour, more than the budget of {budget}; "
            "raise the budget or lower hosts_min",
            at="/budget_hour_microyen",
            least=body.hosts_min,
            price=least_microyen,
            budget=body.budget_hour_microyen,
        )


async def _place(plane: Plane, pool: str) -> PoolPlace:
    place = await plane.directory.pool(pool)
    if place is None:
        raise not_found(pool)
    return place


def _event(
    plane: Plane, actor: Actor, action: Action, place: PoolPlace, detail: dict[str, object]
) -> dict[str, object]:
    return event_row(
        action,
        at_us=plane.clock_us(),
        actor=actor.id,
        resource=place.id,
        organization=plane.region.platform_organization_id,
        detail={"name": place.name, **detail},
    )
