"""Organizations are made, suspended and resumed by operators, who see nothing inside them."""

import json
from pathlib import Path

import pytest
from plane_fixture import Tenant, World, key_of
from store_pages import store_bytes

from kumoi.app.events import event_list, platform_event_list
from kumoi.app.organizations import (
    organization_create,
    organization_list,
    organization_read,
    organization_resume,
    organization_suspend,
)
from kumoi.app.principals import principal_create, principal_list
from kumoi.app.projects import project_list
from kumoi.app.tokens import token_create, token_list
from kumoi.model.access import OrganizationCreate, PrincipalCreate, TokenCreate
from kumoi.model.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated


def test_creating_shows_the_token_once_and_it_works(world: World) -> None:
    body = OrganizationCreate(name="acme", admin_name="boss", display_name="ACME K.K.")
    key = key_of(world.operator, "once")
    first = world.run(organization_create(world.plane, world.operator, body, key))
    created = json.loads(first.body)
    assert (first.status, first.etag, first.replayed) == (201, '"1"', False)
    assert created["organization"]["display_name"] == "ACME K.K."
    actor = world.actor(created["admin_token"])
    assert actor.id == created["admin"]["id"]
    assert created["admin"]["name"] == "boss"

    replay = world.run(organization_create(world.plane, world.operator, body, key))
    assert replay.replayed
    assert json.loads(replay.body) == created | {"admin_token": None}


def test_the_token_is_nowhere_in_the_store(world: World, tmp_path: Path) -> None:
    body = OrganizationCreate(name="acme")
    created = world.write(organization_create(world.plane, world.operator, body, key_of(world.operator, "k")))
    token = created["admin_token"].encode()
    kept = store_bytes(tmp_path)
    assert created["organization"]["id"].encode() in kept
    assert token not in kept
    assert token[6:40] not in kept


def test_a_name_is_used_once(world: World, acme: Tenant) -> None:
    with pytest.raises(Conflict) as refused:
        world.tenant("acme")
    assert refused.value.code == "name_in_use"


def test_a_key_is_for_one_request(world: World) -> None:
    world.write(
        organization_create(
            world.plane, world.operator, OrganizationCreate(name="one"), key_of(world.operator, "k")
        )
    )
    other = key_of(world.operator, "k", b"\1" * 32)
    with pytest.raises(Conflict) as refused:
        world.run(organization_create(world.plane, world.operator, OrganizationCreate(name="two"), other))
    assert refused.value.code == "idempotency_key_reused"
    with pytest.raises(NotFound):
        world.run(organization_read(world.plane, world.operator, "two"))


def test_operators_list_organizations_in_pages(world: World, acme: Tenant, rival: Tenant) -> None:
    first = world.run(organization_list(world.plane, world.operator, 2, None))
    assert [organization.name for organization in first.items] == ["platform", "acme"]
    second = world.run(organization_list(world.plane, world.operator, 2, first.next))
    assert ([organization.name for organization in second.items], second.next) == (["rival"], None)
    assert first.next is not None
    for forged in (first.next[:-2] + "AA", "!", "", "ü"):
        with pytest.raises(Invalid):
            world.run(organization_list(world.plane, world.operator, 2, forged))


def test_a_cursor_is_of_one_list(world: World, acme: Tenant, rival: Tenant) -> None:
    for tenant in (acme, rival):
        for name in ("a", "b"):
            tenant.project(name)
    page = world.run(project_list(world.plane, acme.admin, acme.id, 1, None))
    with pytest.raises(Invalid):
        world.run(project_list(world.plane, rival.admin, rival.id, 1, page.next))


def test_tenants_see_themselves_only(world: World, acme: Tenant, rival: Tenant) -> None:
    assert world.run(organization_read(world.plane, acme.admin, "acme")).id == acme.id
    for name in (rival.id, "rival", "platform", "absent", "", "a\0b", "org_" + "0" * 26):
        with pytest.raises(NotFound) as refused:
            world.run(organization_read(world.plane, acme.admin, name))
        assert refused.value.params == {"name": name}
    with pytest.raises(Forbidden):
        world.run(organization_list(world.plane, acme.admin, 10, None))
    with pytest.raises(Forbidden):
        world.run(organization_create(world.plane, acme.admin, OrganizationCreate(name="mine"), None))
    with pytest.raises(Forbidden):
        world.run(organization_suspend(world.plane, acme.admin, "acme", None))


def test_operators_see_nothing_inside(world: World, acme: Tenant) -> None:
    acme.project("apollo")
    plane, operator = world.plane, world.operator
    assert world.run(organization_read(plane, operator, "acme")).name == "acme"
    for attempt in (
        principal_list(plane, operator, "acme", 10, None),
        project_list(plane, operator, "acme", 10, None),
        event_list(plane, operator, "acme", 10, None),
        principal_create(plane, operator, "acme", PrincipalCreate(name="spy"), None),
    ):
        with pytest.raises(Forbidden):
            world.run(attempt)
    for hidden in (
        token_create(plane, operator, TokenCreate(principal=acme.admin.id), None),
        token_list(plane, operator, acme.admin.id, 10, None),
    ):
        with pytest.raises(NotFound):
            world.run(hidden)


def test_suspending_locks_out_at_once_and_resuming_lets_in(world: World, acme: Tenant) -> None:
    suspended = world.run(organization_suspend(world.plane, world.operator, "acme", None))
    assert json.loads(suspended.body)["state"] == "suspended"
    assert suspended.etag == '"2"'
    with pytest.raises(Unauthenticated):
        world.actor(acme.admin_token)
    with pytest.raises(Conflict) as refused:
        world.run(organization_suspend(world.plane, world.operator, "acme", None))
    assert refused.value.code == "organization_state"
    world.run(organization_resume(world.plane, world.operator, "acme", None))
    assert world.actor(acme.admin_token) == acme.admin


def test_suspending_again_with_the_same_key_replays(world: World, acme: Tenant) -> None:
    key = key_of(world.operator, "suspend")
    first = world.run(organization_suspend(world.plane, world.operator, "acme", key))
    again = world.run(organization_suspend(world.plane, world.operator, "acme", key))
    assert (again.body, again.etag, again.replayed) == (first.body, first.etag, True)


def test_the_platform_cannot_suspend_itself(world: World) -> None:
    with pytest.raises(Forbidden):
        world.run(organization_suspend(world.plane, world.operator, "platform", None))


def test_tenant_and_operators_both_see_what_operators_did(world: World, acme: Tenant) -> None:
    world.run(organization_suspend(world.plane, world.operator, "acme", None))
    world.run(organization_resume(world.plane, world.operator, "acme", None))
    expected = [("organization_resume", acme.id), ("organization_suspend", acme.id)]
    of_tenant = world.run(event_list(world.plane, acme.admin, "acme", 2, None))
    of_platform = world.run(platform_event_list(world.plane, world.operator, 2, None))
    for page in (of_tenant, of_platform):
        assert [(event.action, event.resource) for event in page.items] == expected
        assert {event.actor for event in page.items} == {world.operator.id}
    acme.project("apollo")
    latest = world.run(platform_event_list(world.plane, world.operator, 1, None)).items[0]
    assert latest.action == "organization_resume"
