"""Secrets: written, replaced and removed by version, and readable nowhere."""

import base64
from pathlib import Path
from typing import Any

import pytest
from plane_fixture import Tenant, World
from store_pages import bytes_of

from kumoi.app.events import event_list
from kumoi.app.projects import project_archive
from kumoi.app.secrets import secret_delete, secret_list, secret_write
from kumoi.model.access import Actor, Role
from kumoi.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from kumoi.model.idempotency import Written
from kumoi.model.records import SECRET_BYTES_MAX, SecretWrite
from kumoi.store import schema
from kumoi.store.keys.errors import SealBroken
from kumoi.store.keys.names import Sealed
from kumoi.store.secrets import secret_seal_name

VALUE = b"correct horse battery staple"


def put(
    world: World, actor: Actor, project: str, name: str, value: bytes = VALUE, if_match: str | None = None
) -> Written:
    body = SecretWrite(value=base64.b64encode(value).decode())
    return world.run(secret_write(world.plane, actor, project, name, body, if_match))


def rows(world: World) -> list[Any]:
    return list(
        world.plane.store.read_wait(lambda connection: connection.execute(schema.secrets.select()).all())
    )


def test_a_secret_is_created_replaced_and_removed(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    created = put(world, acme.admin, project, "db-password")
    assert (created.status, created.etag) == (201, '"1"')
    world.clock_us += 1_000_000
    replaced = put(world, acme.admin, project, "db-password", b"other")
    assert (replaced.status, replaced.etag) == (200, '"2"')
    (listed,) = world.run(secret_list(world.plane, acme.admin, project, 10, None)).items
    assert (listed.name, listed.version, listed.key_version) == ("db-password", 2, 1)
    assert listed.created_at < listed.updated_at
    removed = world.run(secret_delete(world.plane, acme.admin, project, "db-password", '"2"'))
    assert (removed.status, removed.body) == (204, b"")
    assert world.run(secret_list(world.plane, acme.admin, project, 10, None)).items == ()


def test_the_value_opens_only_as_what_it_was_sealed_for(world: World, acme: Tenant) -> None:
    project, other = acme.project("apollo"), acme.project("zeus")
    put(world, acme.admin, project, "key", VALUE)
    (row,) = rows(world)
    sealed = Sealed(row.sealed, row.key_version)
    assert world.plane.keys.open(secret_seal_name(acme.id, project, "key"), sealed) == VALUE
    for owner in (secret_seal_name(acme.id, other, "key"), secret_seal_name(acme.id, project, "key2")):
        with pytest.raises(SealBroken):
            world.plane.keys.open(owner, sealed)


def test_the_value_is_nowhere_in_the_data_directory(world: World, acme: Tenant, tmp_path: Path) -> None:
    project = acme.project("apollo")
    for _ in range(2):
        put(world, acme.admin, project, "key")
    world.log_append()
    texts = [VALUE, base64.b64encode(VALUE)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = bytes_of(path)
        assert not [text for text in texts if text in content], path
    events = world.run(event_list(world.plane, acme.admin, "acme", 2, None)).items
    assert [event.detail for event in events] == [
        {"name": "key", "version": 2},
        {"name": "key", "version": 1},
    ]


@pytest.mark.parametrize("if_match", ['"2"', '"0"', '"', "1", 'W/"1"', "", '"3", "4"'])
def test_another_version_is_neither_replaced_nor_removed(world: World, acme: Tenant, if_match: str) -> None:
    project = acme.project("apollo")
    put(world, acme.admin, project, "key")
    before = rows(world)
    with pytest.raises(PreconditionFailed):
        put(world, acme.admin, project, "key", b"other", if_match)
    with pytest.raises(PreconditionFailed):
        world.run(secret_delete(world.plane, acme.admin, project, "key", if_match))
    assert rows(world) == before


@pytest.mark.parametrize("if_match", ['"1"', "*", ' "7" , "1"'])
def test_the_version_meant_is_replaced(world: World, acme: Tenant, if_match: str) -> None:
    project = acme.project("apollo")
    put(world, acme.admin, project, "key")
    assert put(world, acme.admin, project, "key", b"other", if_match).status == 200


@pytest.mark.parametrize("if_match", ["*", '"1"'])
def test_what_does_not_exist_matches_nothing(world: World, acme: Tenant, if_match: str) -> None:
    project = acme.project("apollo")
    with pytest.raises(PreconditionFailed):
        put(world, acme.admin, project, "key", VALUE, if_match)
    with pytest.raises(NotFound):
        world.run(secret_delete(world.plane, acme.admin, project, "key", if_match))
    assert rows(world) == []


def test_removing_needs_to_say_which_version(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    put(world, acme.admin, project, "key")
    with pytest.raises(PreconditionRequired):
        world.run(secret_delete(world.plane, acme.admin, project, "key", None))
    assert len(rows(world)) == 1


def test_values_are_base64_of_bounded_size(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    assert put(world, acme.admin, project, "largest", b"x" * SECRET_BYTES_MAX).status == 201
    assert put(world, acme.admin, project, "empty", b"").status == 201
    with pytest.raises(Invalid) as refused:
        put(world, acme.admin, project, "larger", b"x" * (SECRET_BYTES_MAX + 1))
    assert refused.value.code == "secret_too_large"
    for text in ("not base64!", "abc", "YQ=", "Y===", "ü"):
        body = SecretWrite(value=text)
        with pytest.raises(Invalid) as invalid:
            world.run(secret_write(world.plane, acme.admin, project, "bad", body, None))
        assert invalid.value.code == "value_not_base64"
        assert text not in str(invalid.value)


@pytest.mark.parametrize("name", ["", "Upper", "a_b", "-a", "a" * 64, "a/b", "a\0", "a\n"])
def test_names_are_names(world: World, acme: Tenant, name: str) -> None:
    project = acme.project("apollo")
    with pytest.raises(Invalid):
        put(world, acme.admin, project, name)
    with pytest.raises(NotFound):
        world.run(secret_delete(world.plane, acme.admin, project, name, "*"))


def test_secrets_are_listed_by_name_in_pages(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    for name in ("c", "a", "b"):
        put(world, acme.admin, project, name)
    first = world.run(secret_list(world.plane, acme.admin, project, 2, None))
    second = world.run(secret_list(world.plane, acme.admin, project, 2, first.next))
    assert [secret.name for secret in (*first.items, *second.items)] == ["a", "b", "c"]
    assert second.next is None


def test_who_may_not(world: World, acme: Tenant, rival: Tenant) -> None:
    project = acme.project("apollo")
    put(world, acme.admin, project, "key")
    viewer = acme.actor("viewer", Role.VIEWER)
    assert world.run(secret_list(world.plane, viewer, project, 10, None)).items
    with pytest.raises(Forbidden):
        put(world, viewer, project, "key")
    for stranger in (rival.admin, world.operator):
        with pytest.raises(NotFound) as refused:
            put(world, stranger, project, "key")
        assert refused.value.params == {"name": project}
        with pytest.raises(NotFound):
            world.run(secret_list(world.plane, stranger, project, 10, None))
        with pytest.raises(NotFound):
            world.run(secret_delete(world.plane, stranger, project, "key", "*"))


def test_an_archived_project_takes_no_secrets_but_lets_them_go(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    put(world, acme.admin, project, "key")
    world.run(project_archive(world.plane, acme.admin, project, None))
    with pytest.raises(Conflict) as refused:
        put(world, acme.admin, project, "key")
    assert refused.value.code == "project_archived"
    assert world.run(secret_delete(world.plane, acme.admin, project, "key", "*")).status == 204
