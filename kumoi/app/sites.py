"""Sites: places with an address, a country and functions."""

import msgspec

from kumoi.app.answers import answer
from kumoi.app.plane import Plane
from kumoi.model.access import PLATFORM_TARGET, Action, Actor
from kumoi.model.errors import Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.places import Site, SiteCreate
from kumoi.model.records import Page
from kumoi.model.time import time_format
from kumoi.store import schema, sites
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.writer import Change


async def site_list(plane: Plane, actor: Actor, limit: int, cursor: str | None) -> Page[Site]:
    """Every site, oldest first."""
    await plane.authorize(actor, Action.SITE_LIST, PLATFORM_TARGET)
    after = plane.cursors.open("sites", cursor)
    rows = await plane.store.read(sites.site_list, limit + 1, after)
    return plane.cursors.page("sites", rows, limit, lambda site: site.id)


async def site_create(plane: Plane, actor: Actor, body: SiteCreate, key: IdempotencyKey | None) -> Written:
    """Add a site."""
    await plane.authorize(actor, Action.SITE_CREATE, PLATFORM_TARGET)
    if len(set(body.functions)) < len(body.functions):
        raise Invalid("functions_repeated", "each function of a site is named once", at="/functions")
    now_us = plane.clock_us()
    created = Site(
        id=id_new(IdKind.SITE, plane.region.cell),
        name=body.name,
        country=body.country,
        functions=body.functions,
        address=body.address,
        latencies=body.latencies,
        created_at=time_format(now_us),
    )
    row = {
        "id": created.id,
        "name": body.name,
        "country": body.country,
        "functions": ",".join(body.functions),
        "address": body.address,
        "latencies": msgspec.json.encode(body.latencies, order="deterministic").decode(),
        "created_us": now_us,
    }
    event = event_row(
        Action.SITE_CREATE,
        at_us=now_us,
        actor=actor.id,
        resource=created.id,
        organization=plane.region.platform_organization_id,
        detail={
            "name": body.name,
            "country": body.country,
            "functions": body.functions,
            "address": body.address,
            "latencies": body.latencies,
        },
    )
    inserts = [(schema.sites, [row]), (schema.events, [event])]
    return await plane.commit(Change(inserts, key=key, answer=answer(201, created)))
