"""A withdrawn key closes every path into an organization's volume, and a restored one opens them again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from plane_fixture import Tenant, World, plane_open
from store_pages import bytes_of
from volume_places import gocryptfs_or_skip, volumes_end

from kumoi.app.files import file_delete, file_list, file_read, file_write
from kumoi.app.volumes import volume_opened
from kumoi.model.errors import Conflict, KumoiError, Unavailable
from kumoi.store import schema
from kumoi.store.keys.errors import KeyWithdrawn
from kumoi.store.keys.names import Sealed
from kumoi.store.volumes import layout
from kumoi.store.volumes.gocryptfs import Gocryptfs
from kumoi.store.volumes.mounts import volumes_open
from kumoi.store.volumes.rows import VolumeId, volume_seal_name, volume_sealed_read

CANARY = b"canary" * 100_000
ENCRYPTED = pytest.mark.parametrize("world", ["encrypted"], indirect=True)


@pytest.fixture(params=["encrypted", "plain"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A plane whose files are encrypted, and one whose are not: both are closed by a withdrawal."""
    gocryptfs_or_skip(lambda: None)
    try:
        with plane_open(tmp_path, encrypted=request.param == "encrypted") as world:
            yield world
    finally:
        volumes_end(tmp_path)


@pytest.fixture
def acme(world: World) -> Tenant:
    return world.tenant("acme")


async def body(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def holder(world: World, organization_id: str, state: str) -> None:
    """Write down who holds the key, as `kumoi key` does."""
    row = {
        "id": organization_id,
        "token": "t",
        "label": "k",
        "on_withdraw": "continue",
        "from_number": 1,
        "state": state,
        "cause": "by its administrator" if state == "withdrawn" else "",
        "changed_us": world.clock_us,
    }

    def put(connection: Any) -> None:
        connection.execute(schema.key_holders.delete().where(schema.key_holders.c.id == organization_id))
        connection.execute(schema.key_holders.insert(), row)

    world.plane.store.transact_wait(None, put)


def volume_of(world: World, organization_id: str) -> VolumeId:
    """The row of the volume in the world's data directory."""
    return VolumeId(organization_id, (world.plane.volumes.root.parent / "volumes" / "place").read_text())


def withdraw(world: World, organization_id: str) -> None:
    holder(world, organization_id, "withdrawn")
    world.plane.keys.forget(organization_id, "by its administrator")


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(KumoiError) as caught:
        work()
    assert isinstance(caught.value, Conflict)
    return caught.value.code


def read(world: World, acme: Tenant, project: str, path: str) -> bytes:
    async def work() -> bytes:
        content = await file_read(world.plane, acme.admin, project, path)
        return b"".join([part async for part in content.parts])

    return world.run(work())


def test_a_withdrawal_closes_every_path_and_a_restoration_opens_them(
    world: World, acme: Tenant, tmp_path: Path
) -> None:
    plane, admin, project = world.plane, acme.admin, acme.project("apollo")
    rival = world.tenant("rival")
    world.write(file_write(plane, admin, project, "a", body(CANARY)))

    async def download() -> AsyncIterator[bytes]:
        return (await file_read(plane, admin, project, "a")).parts

    parts = world.run(download())
    assert world.run(anext(parts)) == CANARY[: 256 << 10]  # type: ignore[arg-type]
    withdraw(world, acme.id)
    paths: list[Callable[[], Any]] = [
        lambda: world.run(anext(parts)),  # type: ignore[arg-type]
        lambda: world.run(file_list(plane, admin, project, "", 10, None)),
        lambda: world.run(file_read(plane, admin, project, "a")),
        lambda: world.run(file_write(plane, admin, project, "b", body(b"x"))),
        lambda: world.run(file_delete(plane, admin, project, "a")),
    ]
    assert [code_of(path) for path in paths] == ["key_withdrawn"] * len(paths)
    with pytest.raises(KeyWithdrawn):
        plane.volumes.ensure(acme.id)
    assert world.run(file_list(plane, rival.admin, rival.project("own"), "", 10, None)).items == ()
    holder(world, acme.id, "held")
    assert read(world, acme, project, "a") == CANARY
    assert [file.path for file in world.run(file_list(plane, admin, project, "", 10, None)).items] == ["a"]


def test_a_withdrawal_in_the_middle_of_a_request_is_what_it_answers(world: World, acme: Tenant) -> None:
    async def work() -> None:
        async with volume_opened(world.plane, acme.id):
            withdraw(world, acme.id)

    assert code_of(lambda: world.run(work())) == "key_withdrawn"


@ENCRYPTED
def test_nothing_in_the_data_opens_without_the_key(world: World, acme: Tenant, tmp_path: Path) -> None:
    """All that is left: ciphertext, gocryptfs.conf, and the sealed password."""
    plane, project = world.plane, acme.project("apollo")
    world.write(file_write(plane, acme.admin, project, "canary-name", body(CANARY)))
    withdraw(world, acme.id)
    place = plane.volumes.root / acme.id
    for _ in range(500):
        if not layout.is_mounted(place):
            break
        world.run(asyncio.sleep(0.01))
    assert list(place.iterdir()) == []
    sealed = plane.store.read_wait(volume_sealed_read, volume_of(world, acme.id))
    assert isinstance(sealed, Sealed)
    with pytest.raises(KeyWithdrawn):
        plane.keys.open(volume_seal_name(acme.id), sealed)
    for directory, names, files in os.walk(tmp_path):
        for name in (*names, *files):
            assert "canary" not in name
        for name in files:
            content = bytes_of(Path(directory, name))
            assert CANARY[:60] not in content, name
    again = volumes_open(tmp_path, plane.store, plane.keys, encrypted=True)
    with pytest.raises(KeyWithdrawn):
        again.ensure(acme.id)
    again.close()


@ENCRYPTED
def test_a_volume_outlives_the_rotation_of_what_seals_its_password(
    world: World, acme: Tenant, tmp_path: Path
) -> None:
    plane, project = world.plane, acme.project("apollo")
    world.write(file_write(plane, acme.admin, project, "a", body(b"before")))
    pids = Gocryptfs().processes(tmp_path / "volumes" / acme.id)
    old = plane.store.read_wait(volume_sealed_read, volume_of(world, acme.id))
    assert old is not None
    new = plane.keys.rewrap(volume_seal_name(acme.id), old)
    values = {"sealed": new.blob, "key_version": new.key_version}
    plane.store.transact_wait(None, lambda c: c.execute(schema.volumes.update(), values))
    assert plane.store.read_wait(volume_sealed_read, volume_of(world, acme.id)) != old
    assert read(world, acme, project, "a") == b"before"
    assert Gocryptfs().processes(tmp_path / "volumes" / acme.id) == pids
    os.kill(pids[0], signal.SIGKILL)
    for _ in range(500):
        if not layout.is_live(plane.volumes.root / acme.id):
            break
        world.run(asyncio.sleep(0.01))
    assert read(world, acme, project, "a") == b"before", "the password wrapped anew mounts it"


def test_a_volume_that_cannot_be_had_is_told(
    world: World, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = acme.project("apollo")

    def hidden(_self: object, *_args: object, **_options: object) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    monkeypatch.setattr(type(world.plane.files), "_list", hidden)
    with pytest.raises(Unavailable) as caught:
        world.run(file_list(world.plane, acme.admin, project, "", 10, None))
    assert caught.value.code == "volume_unavailable"
