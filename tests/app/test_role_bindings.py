"""Role bindings: roles that exist for the scope and the principal, given and taken at once."""

import pytest
from plane_fixture import Tenant, World, key_of

from kumoi.app.principals import principal_create
from kumoi.app.projects import project_list, project_read
from kumoi.app.role_bindings import role_binding_create, role_binding_delete, role_binding_list
from kumoi.model.access import PrincipalCreate, PrincipalKind, Role, RoleBindingCreate
from kumoi.model.errors import Conflict, Invalid, NotFound

TENANT_ROLES = set(Role) - {Role.PLATFORM_OPERATOR}
PROJECT_ROLES = {Role.MEMBER, Role.VIEWER, Role.SERVICE_ACCOUNT}
PROGRAM_ROLES = {Role.SERVICE_ACCOUNT, Role.VIEWER, Role.AUDITOR}


@pytest.mark.parametrize("kind", PrincipalKind)
@pytest.mark.parametrize("in_project", [False, True])
def test_a_role_fits_its_scope_and_its_holder(
    world: World, acme: Tenant, kind: PrincipalKind, in_project: bool
) -> None:
    principal = acme.principal("someone", kind)
    project = acme.project("apollo") if in_project else None
    given, places = set(), set()
    for role in Role:
        try:
            acme.bind(principal, role, project)
            given.add(role)
        except Invalid as refused:
            places.add(refused.at)
    assert places == {"/role"}
    of_kind = PROGRAM_ROLES if kind == PrincipalKind.SERVICE_ACCOUNT else set(Role) - {Role.SERVICE_ACCOUNT}
    assert given == of_kind & (PROJECT_ROLES if in_project else TENANT_ROLES)


def test_operators_have_platform_roles_only(world: World) -> None:
    platform = world.plane.region.platform_organization_id
    body = PrincipalCreate(name="second")
    second = world.write(principal_create(world.plane, world.operator, platform, body, None))["id"]
    given, codes = set(), set()
    for role in Role:
        try:
            asked = RoleBindingCreate(principal=second, role=role)
            made = world.write(role_binding_create(world.plane, world.operator, platform, asked, None))
            assert (made["scope_kind"], made["scope"]) == ("platform", "platform")
            given.add(role)
        except Invalid as refused:
            codes.add(refused.code)
    assert codes == {"role_not_of_scope"}
    assert given == {Role.PLATFORM_OPERATOR, Role.AUDITOR}


def test_principal_and_project_are_of_the_organization(world: World, acme: Tenant, rival: Tenant) -> None:
    ann, foreign = acme.principal("ann"), rival.principal("ann")
    elsewhere = rival.project("apollo")
    for body, code in (
        (RoleBindingCreate(principal=foreign, role=Role.MEMBER), "principal_unknown"),
        (RoleBindingCreate(principal="usr_" + "0" * 26, role=Role.MEMBER), "principal_unknown"),
        (RoleBindingCreate(principal=ann, role=Role.MEMBER, project=elsewhere), "project_unknown"),
        (RoleBindingCreate(principal=ann, role=Role.MEMBER, project="prj_" + "0" * 26), "project_unknown"),
    ):
        with pytest.raises(Invalid) as refused:
            world.run(role_binding_create(world.plane, acme.admin, "acme", body, None))
        assert refused.value.code == code
    page = world.run(role_binding_list(world.plane, acme.admin, "acme", 10, None))
    assert [binding.principal for binding in page.items] == [acme.admin.id]


def test_a_role_is_held_once(world: World, acme: Tenant) -> None:
    ann = acme.principal("ann")
    body, key = RoleBindingCreate(principal=ann, role=Role.VIEWER), key_of(acme.admin, "bind")
    first = world.run(role_binding_create(world.plane, acme.admin, "acme", body, key))
    again = world.run(role_binding_create(world.plane, acme.admin, "acme", body, key))
    assert (again.body, again.replayed) == (first.body, True)
    with pytest.raises(Conflict) as refused:
        world.run(role_binding_create(world.plane, acme.admin, "acme", body, None))
    assert refused.value.code == "role_held"
    acme.bind(ann, Role.MEMBER)
    acme.bind(ann, Role.VIEWER, acme.project("apollo"))


def test_taking_a_role_away_ends_it_at_once(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    ann = acme.actor("ann", Role.VIEWER, project=project)
    (binding,) = [
        binding
        for binding in world.run(role_binding_list(world.plane, acme.admin, "acme", 10, None)).items
        if binding.principal == ann.id
    ]
    assert world.run(project_read(world.plane, ann, project)).id == project
    written = world.run(role_binding_delete(world.plane, acme.admin, binding.id))
    assert (written.status, written.body) == (204, b"")
    stripped = world.actor(acme.tokens["ann"])
    assert stripped.grants == ()
    with pytest.raises(NotFound):
        world.run(project_read(world.plane, stripped, project))
    with pytest.raises(NotFound):
        world.run(role_binding_delete(world.plane, acme.admin, binding.id))


def test_the_last_administrator_keeps_the_role(world: World, acme: Tenant) -> None:
    (binding,) = world.run(role_binding_list(world.plane, acme.admin, "acme", 10, None)).items
    with pytest.raises(Conflict) as refused:
        world.run(role_binding_delete(world.plane, acme.admin, binding.id))
    assert refused.value.code == "last_administrator"
    acme.actor("deputy", Role.ORGANIZATION_ADMIN)
    assert world.run(role_binding_delete(world.plane, acme.admin, binding.id)).status == 204


def test_other_tenants_bindings_do_not_exist(world: World, acme: Tenant, rival: Tenant) -> None:
    (binding,) = world.run(role_binding_list(world.plane, acme.admin, "acme", 10, None)).items
    for actor in (rival.admin, world.operator):
        for name in (binding.id, "rb_" + "0" * 26, "rb"):
            with pytest.raises(NotFound) as refused:
                world.run(role_binding_delete(world.plane, actor, name))
            assert refused.value.params == {"name": name}


def test_a_role_in_one_project_shows_that_project_only(world: World, acme: Tenant) -> None:
    apollo, zeus = acme.project("apollo"), acme.project("zeus")
    ann = acme.actor("ann", Role.MEMBER, project=apollo)
    page = world.run(project_list(world.plane, ann, "acme", 10, None))
    assert [project.name for project in page.items] == ["apollo"]
    with pytest.raises(NotFound):
        world.run(project_read(world.plane, ann, zeus))
    page = world.run(project_list(world.plane, acme.admin, "acme", 10, None))
    assert [project.name for project in page.items] == ["apollo", "zeus"]
