"""The log as anybody reads it: checkpoint, tiles and key, and nothing that was not signed."""

import pytest
from plane_fixture import ORIGIN, Tenant, World

from kumoi.app.log import log_checkpoint, log_tile, log_vkey
from kumoi.ledger.checkpoint import checkpoint_open
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.tiles import bundle_decode
from kumoi.ledger.tree import leaf_hash
from kumoi.ledger.verify import log_verify
from kumoi.model.errors import NotFound


def test_an_empty_log_has_a_key_and_nothing_else(world: World) -> None:
    assert vkey_parse(world.run(log_vkey(world.plane))).name == ORIGIN
    with pytest.raises(NotFound):
        world.run(log_checkpoint(world.plane))
    for path in ("0/000", "0/000.p/1", "entries/000.p/1"):
        with pytest.raises(NotFound):
            world.run(log_tile(world.plane, path))


def test_tiles_are_what_the_checkpoint_covers(world: World, acme: Tenant) -> None:
    world.log_append()
    first = {path: world.run(log_tile(world.plane, path)) for path in ("0/000.p/5", "0/000.p/64")}
    acme.project("apollo")
    world.log_append()
    key = vkey_parse(world.run(log_vkey(world.plane)))
    opened = checkpoint_open(world.run(log_checkpoint(world.plane)), key)
    size = opened.checkpoint.size
    assert 64 < size < 256
    tile = world.run(log_tile(world.plane, f"0/000.p/{size}"))
    entries = bundle_decode(world.run(log_tile(world.plane, f"entries/000.p/{size}")), size)
    assert tile == b"".join(leaf_hash(entry) for entry in entries)
    assert {len(entry) for entry in entries} == {32}
    for path, data in first.items():
        assert world.run(log_tile(world.plane, path)) == data == tile[: len(data)]


@pytest.mark.parametrize(
    "path",
    [
        "0/000",
        "0/000.p/73",
        "0/000.p/0",
        "0/000.p/256",
        "0/001.p/1",
        "1/000.p/1",
        "entries/000",
        "entries/001",
        "63/000",
        "64/000",
        "-1/000",
        "00/000.p/1",
        "0/0.p/1",
        "0/x000/000.p/1",
        "0/000.p/1/",
        "0/000.p/01",
        "../checkpoint",
        "",
        "0/000\n",
    ],
)
def test_what_is_not_there_is_not_found(world: World, acme: Tenant, path: str) -> None:
    batch = world.log_append()
    assert batch is not None
    assert batch.size == 64
    with pytest.raises(NotFound):
        world.run(log_tile(world.plane, path))


def test_the_whole_log_verifies_from_what_is_served(world: World, acme: Tenant) -> None:
    for number in range(12):
        acme.project(f"p{number}")
        world.log_append()
    for _ in range(5):
        world.log_append(always=True)
    key = vkey_parse(world.run(log_vkey(world.plane)))
    checkpoint = checkpoint_open(world.run(log_checkpoint(world.plane)), key).checkpoint

    def fetch(path: str) -> bytes:
        if path == "checkpoint":
            return world.run(log_checkpoint(world.plane))
        return world.run(log_tile(world.plane, path.removeprefix("tile/")))

    report = log_verify(fetch, key)
    assert report.checkpoint == checkpoint
