"""Who the caller is, who is refused, and that refusals are counted."""

import pytest
from plane_fixture import Tenant, World

from kumoi.app.access import whoami
from kumoi.app.organizations import organization_create
from kumoi.app.plane import MINUTE_US
from kumoi.core.tokens import token_format
from kumoi.model.access import OrganizationCreate, Role, TokenScope
from kumoi.model.errors import Forbidden, Unauthenticated
from kumoi.store import schema


def test_whoami_tells_roles_and_limits(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    ann = acme.actor("ann", Role.MEMBER, project=project, scopes=(TokenScope.JOBS,), token_project=project)
    found = world.run(whoami(world.plane, ann))
    assert (found.name, found.organization, found.organization_name) == ("ann", acme.id, "acme")
    assert [(role.role, role.scope) for role in found.roles] == [(Role.MEMBER, project)]
    assert (found.token.scopes, found.token.project) == ((TokenScope.JOBS,), project)


@pytest.mark.parametrize(
    "token", ["", "kumoi_", "Bearer", token_format(b"\0" * 32), token_format(b"\0" * 32)[:-1] + "0", "ü" * 55]
)
def test_unknown_and_malformed_tokens_are_nobody(world: World, token: str) -> None:
    with pytest.raises(Unauthenticated):
        world.actor(token)


def test_refusals_are_counted_in_doublings(world: World, acme: Tenant) -> None:
    for _ in range(9):
        with pytest.raises(Forbidden):
            world.run(organization_create(world.plane, acme.admin, OrganizationCreate(name="x"), None))
    rows = world.plane.store.read_wait(lambda connection: connection.execute(schema.refusals.select()).all())
    assert [(row.actor_id, row.organization_id, row.action, row.refused) for row in rows] == [
        (acme.admin.id, acme.id, "organization_create", 8)
    ]
    assert rows[0].minute_us == world.clock_us // MINUTE_US * MINUTE_US
