"""Principals: made, disabled at once, and never the last administrator."""

import pytest
from plane_fixture import Tenant, World, key_of

from kumoi.app.principals import principal_create, principal_disable, principal_enable, principal_list
from kumoi.model.access import PrincipalCreate, PrincipalKind, Role
from kumoi.model.errors import Conflict, Forbidden, NotFound, Unauthenticated


def test_kinds_have_ids_of_their_own(world: World, acme: Tenant) -> None:
    assert acme.principal("ann").startswith("usr_")
    assert acme.principal("bot", PrincipalKind.SERVICE_ACCOUNT).startswith("sa_")
    page = world.run(principal_list(world.plane, acme.admin, "acme", 10, None))
    assert {(p.name, p.kind) for p in page.items} == {
        ("admin", PrincipalKind.USER),
        ("ann", PrincipalKind.USER),
        ("bot", PrincipalKind.SERVICE_ACCOUNT),
    }


def test_names_are_unique_within_an_organization_only(world: World, acme: Tenant, rival: Tenant) -> None:
    acme.principal("ann")
    rival.principal("ann")
    with pytest.raises(Conflict) as refused:
        acme.principal("ann")
    assert refused.value.code == "name_in_use"


def test_creating_again_with_the_same_key_replays(world: World, acme: Tenant) -> None:
    body, key = PrincipalCreate(name="ann"), key_of(acme.admin, "ann")
    first = world.run(principal_create(world.plane, acme.admin, "acme", body, key))
    again = world.run(principal_create(world.plane, acme.admin, "acme", body, key))
    assert (again.body, again.replayed) == (first.body, True)


def test_disabling_ends_access_at_once_and_enabling_gives_it_back(world: World, acme: Tenant) -> None:
    ann = acme.actor("ann", Role.MEMBER)
    disabled = world.write(principal_disable(world.plane, acme.admin, ann.id, None))
    assert (disabled["state"], disabled["version"]) == ("disabled", 2)
    with pytest.raises(Unauthenticated):
        world.actor(acme.tokens["ann"])
    with pytest.raises(Conflict) as refused:
        world.run(principal_disable(world.plane, acme.admin, ann.id, None))
    assert refused.value.code == "principal_state"
    world.write(principal_enable(world.plane, acme.admin, ann.id, None))
    assert world.actor(acme.tokens["ann"]) == ann


def test_the_last_administrator_stays(world: World, acme: Tenant) -> None:
    acme.actor("ann", Role.MEMBER)
    with pytest.raises(Conflict) as refused:
        world.run(principal_disable(world.plane, acme.admin, acme.admin.id, None))
    assert refused.value.code == "last_administrator"
    deputy = acme.actor("deputy", Role.ORGANIZATION_ADMIN)
    world.write(principal_disable(world.plane, acme.admin, acme.admin.id, None))
    with pytest.raises(Conflict):
        world.run(principal_disable(world.plane, deputy, deputy.id, None))


def test_the_last_operator_stays(world: World) -> None:
    with pytest.raises(Conflict) as refused:
        world.run(principal_disable(world.plane, world.operator, world.operator.id, None))
    assert refused.value.code == "last_administrator"


def test_other_tenants_principals_do_not_exist(world: World, acme: Tenant, rival: Tenant) -> None:
    ann = acme.principal("ann")
    for name in (ann, acme.admin.id, "usr_" + "0" * 26, "usr_x", "", "a\0"):
        with pytest.raises(NotFound) as refused:
            world.run(principal_disable(world.plane, rival.admin, name, None))
        assert refused.value.params == {"name": name}
    with pytest.raises(NotFound):
        world.run(principal_list(world.plane, rival.admin, "acme", 10, None))
    with pytest.raises(NotFound):
        world.run(principal_create(world.plane, rival.admin, acme.id, PrincipalCreate(name="x"), None))


def test_members_may_not_administer(world: World, acme: Tenant) -> None:
    ann = acme.actor("ann", Role.MEMBER)
    for attempt in (
        principal_create(world.plane, ann, "acme", PrincipalCreate(name="x"), None),
        principal_disable(world.plane, ann, acme.admin.id, None),
    ):
        with pytest.raises((Forbidden, NotFound)):
            world.run(attempt)
