"""Who the caller is, and who is nobody."""

import pytest
from plane_fixture import Tenant, World

from kumoi.app.access import whoami
from kumoi.core.tokens import token_format
from kumoi.model.access import Role, TokenScope
from kumoi.model.errors import Unauthenticated


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
