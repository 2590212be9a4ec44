"""Who attaches a key has its volume made anew: what was kept from before opens nothing written afterwards."""

import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from key_world import KeyWorld
from plane_fixture import plane_open
from softhsm import SoftTokens
from volume_places import gocryptfs_or_skip, volumes_end

from kumoi.app import organization_keys as app
from kumoi.app.files import file_read, file_write
from kumoi.store import schema
from kumoi.store.keys.names import Sealed
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.volumes.gocryptfs import Gocryptfs
from kumoi.store.volumes.mounts import EncryptedVolumes
from kumoi.store.volumes.rows import volume_seal_name


@pytest.fixture
def keys(tmp_path: Path, soft_tokens: SoftTokens, database_url: str) -> Iterator[KeyWorld]:
    """The tenant acme with an encrypted volume, and a token with a key that is not attached."""
    gocryptfs_or_skip(lambda: None)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    try:
        with plane_open(data, database_url, encrypted=True) as world:
            opened = KeyWorld(world, world.tenant("acme"), soft_tokens.take())
            volumes_of(opened)._idle_s = 0.0
            yield opened
            opened.watch.stop()
    finally:
        volumes_end(data)


def volumes_of(keys: KeyWorld) -> EncryptedVolumes:
    volumes = keys.world.plane.volumes
    assert isinstance(volumes, EncryptedVolumes)
    return volumes


def state(keys: KeyWorld) -> str:
    """What `kumoi key show` says of the volume."""
    return keys.world.run(app.key_read(keys.world.plane, keys.tenant.admin, keys.tenant.id)).volume


async def body(content: bytes) -> AsyncIterator[bytes]:
    yield content


def put(keys: KeyWorld, project: str, name: str, content: bytes) -> None:
    keys.world.write(file_write(keys.world.plane, keys.tenant.admin, project, name, body(content)))


def read(keys: KeyWorld, project: str, name: str) -> bytes:
    async def whole() -> bytes:
        opened: Any = await file_read(keys.world.plane, keys.tenant.admin, project, name)
        return b"".join([part async for part in opened.parts])

    return keys.world.run(whole())


def remade(keys: KeyWorld) -> None:
    """What the plane's threads do while nobody uses the volume."""
    volumes = volumes_of(keys)
    for _ in range(200):
        volumes.sweep()
        volumes.remake()
        if state(keys) == "fresh":
            return
        threading.Event().wait(0.02)
    raise AssertionError("the volume is not made anew")


def test_what_was_kept_from_before_the_attachment_opens_nothing_afterwards(
    keys: KeyWorld, tmp_path: Path
) -> None:
    assert state(keys) == "none"
    project = keys.tenant.project("apollo")
    put(keys, project, "before", b"as safe as the platform was")
    assert state(keys) == "fresh", "nothing is held by a token"
    (row,) = keys.rows(schema.volumes)
    kept = keys.ring.open(volume_seal_name(keys.tenant.id), Sealed(row.sealed, row.key_version))
    assert keys.attach()["volume"] == "older_than_key"
    keys.round()
    assert state(keys) == "older_than_key", "the same password wrapped anew is as old as before"
    remade(keys)
    put(keys, project, "after", b"only the token opens it")
    assert read(keys, project, "before") == b"as safe as the platform was"
    assert read(keys, project, "after") == b"only the token opens it"
    (row,) = keys.rows(schema.volumes)
    assert row.made_version == 2
    ciphertext = volumes_of(keys).root.parent / "volumes" / keys.tenant.id
    (tmp_path / "seen").mkdir()
    with pytest.raises(VolumeUnavailable, match="another one"):
        Gocryptfs().mount(ciphertext, tmp_path / "seen", kept.hex().encode(), beside_others=True)


def test_who_attaches_a_key_before_anything_is_written_has_a_fresh_volume(keys: KeyWorld) -> None:
    assert keys.attach()["volume"] == "none"
    project = keys.tenant.project("apollo")
    put(keys, project, "first", b"under the token from the beginning")
    assert state(keys) == "fresh"
    (row,) = keys.rows(schema.volumes)
    volumes_of(keys).remake()
    assert keys.rows(schema.volumes) == [row]
