"""Projects: made, archived and restored."""

import json

import pytest
from plane_fixture import Tenant, World, key_of

from kumoi.app.projects import (
    project_archive,
    project_create,
    project_list,
    project_read,
    project_restore,
)
from kumoi.model.access import ProjectCreate, Role
from kumoi.model.errors import Conflict, Forbidden, NotFound
from kumoi.store import schema


def test_numbers_are_never_shared(world: World, acme: Tenant, rival: Tenant) -> None:
    made = [acme.project("a"), rival.project("a"), acme.project("b")]
    rows = world.plane.store.read_wait(
        lambda connection: connection.execute(schema.projects.select().order_by(schema.projects.c.id)).all()
    )
    assert {row.id: row.number for row in rows} == dict(zip(made, (1, 2, 3), strict=True))


def test_archiving_and_restoring(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    key = key_of(acme.admin, "archive")
    archived = world.run(project_archive(world.plane, acme.admin, project, key))
    assert (json.loads(archived.body)["state"], archived.etag) == ("archived", '"2"')
    assert world.run(project_archive(world.plane, acme.admin, project, key)).replayed
    with pytest.raises(Conflict) as refused:
        world.run(project_archive(world.plane, acme.admin, project, None))
    assert refused.value.code == "project_state"
    assert world.write(project_restore(world.plane, acme.admin, project, None))["state"] == "active"
    assert world.run(project_read(world.plane, acme.admin, project)).version == 3


def test_who_may_not(world: World, acme: Tenant, rival: Tenant) -> None:
    project = acme.project("apollo")
    member = acme.actor("ann", Role.MEMBER)
    with pytest.raises(Forbidden):
        world.run(project_archive(world.plane, member, project, None))
    for stranger in (rival.admin, world.operator):
        with pytest.raises(NotFound):
            world.run(project_read(world.plane, stranger, project))
        with pytest.raises((NotFound, Forbidden)):
            world.run(project_create(world.plane, stranger, acme.id, ProjectCreate(name="x"), None))
    with pytest.raises(NotFound) as refused:
        world.run(project_list(world.plane, rival.admin, "acme", 10, None))
    assert refused.value.params == {"name": "acme"}
