"""Events: own ones only, newest first, watched in the order of the log, and proved without us."""

import asyncio
import base64
import json

import pytest
from plane_fixture import ORIGIN, Tenant, World

from kumoi.app import events as app_events
from kumoi.app.events import event_list, event_read, event_watch, platform_event_list, receipt_read
from kumoi.app.organizations import organization_suspend
from kumoi.app.tokens import token_create, token_revoke
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.receipt import receipt_parse, receipt_verify
from kumoi.model.access import Role, TokenCreate
from kumoi.model.errors import Conflict, Forbidden, Invalid, NotFound
from kumoi.model.records import Event


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_events, "WATCH_POLL_S", 0.01)


def newest(world: World, tenant: Tenant) -> Event:
    return world.run(event_list(world.plane, tenant.admin, tenant.id, 1, None)).items[0]


def test_pages_run_from_new_to_old(world: World, acme: Tenant) -> None:
    for name in ("a", "b", "c"):
        acme.project(name)
    first = world.run(event_list(world.plane, acme.admin, "acme", 2, None))
    second = world.run(event_list(world.plane, acme.admin, "acme", 2, first.next))
    names = [event.detail.get("name") for event in (*first.items, *second.items)]
    assert names[:3] == ["c", "b", "a"]


def test_an_event_says_who_did_what_to_what(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    event = newest(world, acme)
    assert world.run(event_read(world.plane, acme.admin, event.id)) == event
    assert (event.actor, event.action, event.resource, event.project, event.outcome) == (
        acme.admin.id,
        "project_create",
        project,
        project,
        "done",
    )
    assert event.at == "2027-01-15T08:00:00.000000Z"
    assert event.log_index is None


def test_events_are_their_organizations_own(world: World, acme: Tenant, rival: Tenant) -> None:
    acme.project("apollo")
    event = newest(world, acme)
    for stranger in (rival.admin, world.operator):
        for attempt in (
            event_read(world.plane, stranger, event.id),
            receipt_read(world.plane, stranger, event.id),
        ):
            with pytest.raises(NotFound) as refused:
                world.run(attempt)
            assert refused.value.params == {"name": event.id}
        with pytest.raises((NotFound, Forbidden)):
            world.run(event_list(world.plane, stranger, "acme", 10, None))
        with pytest.raises((NotFound, Forbidden)):
            world.run(event_watch(world.plane, stranger, "acme", None))
    platform = world.run(platform_event_list(world.plane, world.operator, 100, None)).items
    assert {shown.organization for shown in platform} == {world.plane.region.platform_organization_id}
    with pytest.raises(Forbidden):
        world.run(platform_event_list(world.plane, acme.admin, 10, None))
    with pytest.raises(NotFound):
        world.run(event_read(world.plane, acme.admin, platform[0].id))
    for absent in ("evt_" + "0" * 26, "evt", "", acme.id):
        with pytest.raises(NotFound):
            world.run(event_read(world.plane, acme.admin, absent))


def test_auditors_read_events_and_members_do_not(world: World, acme: Tenant) -> None:
    auditor, member = acme.actor("auditor", Role.AUDITOR), acme.actor("member", Role.MEMBER)
    assert world.run(event_list(world.plane, auditor, "acme", 1, None)).items
    with pytest.raises((NotFound, Forbidden)):
        world.run(event_list(world.plane, member, "acme", 1, None))


def test_a_receipt_proves_an_event_offline(world: World, acme: Tenant) -> None:
    acme.project("apollo")
    event = newest(world, acme)
    with pytest.raises(Conflict) as refused:
        world.run(receipt_read(world.plane, acme.admin, event.id))
    assert refused.value.code == "event_not_logged_yet"
    for name in ("one", "two"):
        world.log_append()
        acme.project(name)
    world.log_append()
    receipt = world.run(receipt_read(world.plane, acme.admin, event.id))
    canonical, salt = base64.b64decode(receipt.canonical), base64.b64decode(receipt.salt)
    proof = receipt_parse(receipt.proof.encode())
    opened = receipt_verify(proof, event_commit(salt, canonical), vkey_parse(world.plane.region.log_vkey))
    assert (opened.checkpoint.origin, receipt.origin) == (ORIGIN, ORIGIN)
    assert proof.index == receipt.event.log_index
    assert json.loads(canonical) == {
        "action": "project_create",
        "actor": acme.admin.id,
        "at": event.at,
        "detail": event.detail,
        "id": event.id,
        "organization": acme.id,
        "outcome": "done",
        "project": event.project,
        "resource": event.resource,
    }
    with pytest.raises(Exception, match="root"):
        receipt_verify(proof, event_commit(salt, canonical + b" "), vkey_parse(world.plane.region.log_vkey))


def test_a_watch_gives_what_enters_the_log_in_its_order(world: World, acme: Tenant, rival: Tenant) -> None:
    world.log_append()
    plane = world.plane

    async def work() -> list[Event]:
        watched = await event_watch(plane, acme.admin, "acme", None)
        pending = asyncio.ensure_future(anext(watched))
        for number in range(4):
            body = TokenCreate(name=f"t{number}")
            await token_create(plane, acme.admin, body, None)
            await token_create(plane, rival.admin, body, None)
            await asyncio.to_thread(world.log_append)
        seen = [await pending]
        seen += [await anext(watched) for _ in range(3)]
        return seen

    seen = world.run(work())
    assert [event.detail["name"] for event in seen] == ["t0", "t1", "t2", "t3"]
    assert {event.organization for event in seen} == {acme.id}
    places = [event.log_index for event in seen]
    assert places == sorted(place for place in places if place is not None)

    async def resumed() -> list[Event]:
        watched = await event_watch(plane, acme.admin, "acme", places[1])
        return [await anext(watched) for _ in range(2)]

    assert world.run(resumed()) == seen[2:]


def test_a_watch_may_begin_at_the_beginning(world: World, acme: Tenant) -> None:
    world.log_append()

    async def work() -> Event:
        watched = await event_watch(world.plane, acme.admin, "acme", 0)
        return await anext(watched)

    assert world.run(work()).organization == acme.id
    for wrong in (-1, 1 << 63):
        with pytest.raises(Invalid):
            world.run(event_watch(world.plane, acme.admin, "acme", wrong))


@pytest.mark.parametrize("how", ["revoked", "suspended", "expired", "hour over"])
def test_a_watch_ends_with_the_right_to_it(world: World, acme: Tenant, how: str) -> None:
    plane = world.plane
    made = world.write(token_create(plane, acme.admin, TokenCreate(expires_s=60), None))
    actor = world.actor(made["secret"])

    async def work() -> None:
        watched = await event_watch(plane, actor, "acme", None)
        waiting = asyncio.ensure_future(anext(watched, None))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        match how:
            case "revoked":
                await token_revoke(plane, acme.admin, made["token"]["id"], None)
            case "suspended":
                await organization_suspend(plane, world.operator, "acme", None)
            case "expired":
                world.clock_us += 61 * 1_000_000
            case "hour over":
                world.clock_us += app_events.WATCH_S_MAX * 1_000_000
        async with asyncio.timeout(10):
            assert await waiting is None

    world.run(work())
