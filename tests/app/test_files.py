"""Files through the API: streamed both ways, told in events, closed to other tenants."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
from plane_fixture import Tenant, World

from kumoi.app.events import event_list
from kumoi.app.files import file_delete, file_list, file_read, file_write
from kumoi.app.projects import project_archive
from kumoi.model.access import Actor, Role, TokenScope
from kumoi.model.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge


async def _body(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def put(world: World, actor: Actor, project: str, path: str, *parts: bytes) -> dict[str, Any]:
    return world.write(file_write(world.plane, actor, project, path, _body(*parts)))


def get(world: World, actor: Actor, project: str, path: str) -> bytes:
    async def work() -> bytes:
        content = await file_read(world.plane, actor, project, path)
        read = b"".join([part async for part in content.parts])
        assert len(read) == content.size_bytes
        return read

    return world.run(work())


@pytest.fixture
def project(acme: Tenant) -> str:
    return acme.project("apollo")


def test_a_file_goes_in_and_out(world: World, acme: Tenant, project: str) -> None:
    content = os.urandom(700_000)
    written = put(world, acme.admin, project, "data/in.bin", content[:1000], content[1000:])
    assert (written["path"], written["size_bytes"]) == ("data/in.bin", 700_000)
    assert get(world, acme.admin, project, "data/in.bin") == content
    page = world.run(file_list(world.plane, acme.admin, project, "data/", 10, None))
    assert [(file.path, file.size_bytes) for file in page.items] == [("data/in.bin", 700_000)]
    assert world.run(file_delete(world.plane, acme.admin, project, "data/in.bin")).status == 204
    with pytest.raises(NotFound):
        get(world, acme.admin, project, "data/in.bin")


def test_events_tell_what_was_written(world: World, acme: Tenant, project: str) -> None:
    put(world, acme.admin, project, "in.txt", b"hello")
    world.run(file_delete(world.plane, acme.admin, project, "in.txt"))
    removed, written = world.run(event_list(world.plane, acme.admin, "acme", 2, None)).items
    assert (written.action, written.project, written.detail) == (
        "file_write",
        project,
        {"path": "in.txt", "sha256": hashlib.sha256(b"hello").hexdigest(), "size_bytes": 5},
    )
    assert (removed.action, removed.detail) == ("file_delete", {"path": "in.txt"})


def test_refused_writes_leave_neither_file_nor_event(
    world: World, acme: Tenant, project: str, tmp_path: Path
) -> None:
    put(world, acme.admin, project, "a/b", b"x")
    before = world.run(event_list(world.plane, acme.admin, "acme", 100, None))
    plane, admin = world.plane, acme.admin
    attempts: list[tuple[Coroutine[Any, Any, Any], type[Exception]]] = [
        (file_write(plane, admin, project, "big", _body(b"123456"), 5), TooLarge),
        (file_write(plane, admin, project, "a", _body(b"x")), Conflict),
        (file_write(plane, admin, project, "a/b/c", _body(b"x")), Conflict),
        (file_write(plane, admin, project, "../x", _body(b"x")), Invalid),
        (file_delete(plane, admin, project, "absent"), NotFound),
        (file_delete(plane, admin, project, "a"), NotFound),
    ]
    for attempt, error in attempts:
        with pytest.raises(error):
            world.run(attempt)
    assert world.run(event_list(world.plane, acme.admin, "acme", 100, None)) == before
    page = world.run(file_list(world.plane, acme.admin, project, "", 10, None))
    assert [file.path for file in page.items] == ["a/b"]
    assert list((tmp_path / "objects" / acme.id / "staging").iterdir()) == []


def test_pages_follow_a_cursor_of_the_same_prefix(world: World, acme: Tenant, project: str) -> None:
    for path in ("a/1", "a/2", "a/3", "b"):
        put(world, acme.admin, project, path, b"")
    first = world.run(file_list(world.plane, acme.admin, project, "a/", 2, None))
    second = world.run(file_list(world.plane, acme.admin, project, "a/", 2, first.next))
    assert [file.path for file in (*first.items, *second.items)] == ["a/1", "a/2", "a/3"]
    assert second.next is None
    with pytest.raises(Invalid):
        world.run(file_list(world.plane, acme.admin, project, "", 2, first.next))
    with pytest.raises(Invalid):
        world.run(file_list(world.plane, acme.admin, project, "\ud800", 2, None))


def test_links_out_of_the_project_lead_nowhere(
    world: World, acme: Tenant, rival: Tenant, project: str, tmp_path: Path
) -> None:
    theirs = rival.project("secret")
    put(world, rival.admin, theirs, "key", b"rival's")
    put(world, acme.admin, project, "mine", b"x")
    own = tmp_path / "objects" / acme.id / "projects" / project
    (own / "db").symlink_to(tmp_path / "kumoi.db")
    (own / "theirs").symlink_to(tmp_path / "objects" / rival.id / "projects" / theirs)
    (own / "up").symlink_to("../../..")
    for path in ("db", "theirs", "theirs/key", f"up/{rival.id}/projects/{theirs}/key"):
        with pytest.raises(NotFound):
            get(world, acme.admin, project, path)
        with pytest.raises(NotFound):
            world.run(file_delete(world.plane, acme.admin, project, path))
    with pytest.raises(Conflict):
        put(world, acme.admin, project, "theirs/key", b"acme's")
    put(world, acme.admin, project, "db", b"acme's")
    assert get(world, rival.admin, theirs, "key") == b"rival's"
    assert world.run(event_list(world.plane, rival.admin, "rival", 1, None)).items[0].action == "file_write"


def test_who_may_not(world: World, acme: Tenant, rival: Tenant, project: str) -> None:
    put(world, acme.admin, project, "key", b"x")
    viewer = acme.actor("viewer", Role.VIEWER)
    assert get(world, viewer, project, "key") == b"x"
    with pytest.raises(Forbidden):
        put(world, viewer, project, "key", b"y")
    jobs_only = acme.actor("bot", Role.SERVICE_ACCOUNT, scopes=(TokenScope.JOBS,))
    with pytest.raises((Forbidden, NotFound)):
        get(world, jobs_only, project, "key")
    elsewhere = acme.actor("ann", Role.MEMBER, token_project=acme.project("zeus"))
    for stranger in (rival.admin, world.operator, elsewhere):
        for attempt in (
            file_list(world.plane, stranger, project, "", 10, None),
            file_read(world.plane, stranger, project, "key"),
            file_read(world.plane, stranger, project, "absent"),
            file_write(world.plane, stranger, project, "key", _body(b"y")),
            file_delete(world.plane, stranger, project, "key"),
        ):
            with pytest.raises(NotFound) as refused:
                world.run(attempt)
            assert refused.value.params == {"name": project}
    assert get(world, acme.admin, project, "key") == b"x"


def test_an_archived_project_keeps_its_files_and_takes_no_more(
    world: World, acme: Tenant, project: str
) -> None:
    put(world, acme.admin, project, "kept", b"x")
    world.run(project_archive(world.plane, acme.admin, project, None))
    assert get(world, acme.admin, project, "kept") == b"x"
    with pytest.raises(Conflict) as refused:
        put(world, acme.admin, project, "more", b"x")
    assert refused.value.code == "project_archived"


def test_writers_of_one_file_do_not_mix(world: World, acme: Tenant, project: str) -> None:
    async def work() -> list[Any]:
        return list(
            await asyncio.gather(
                *(
                    file_write(world.plane, acme.admin, project, "file", _body(*[bytes([n]) * 100_000] * 4))
                    for n in range(8)
                )
            )
        )

    sizes = {json.loads(written.body)["size_bytes"] for written in world.run(work())}
    content = get(world, acme.admin, project, "file")
    assert sizes == {400_000}
    assert (len(content), len(set(content))) == (400_000, 1)
