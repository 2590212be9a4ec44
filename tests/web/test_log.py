"""The operations log, for anybody."""

from typing import Any

import pytest

from kumoi.ledger.tiles import TILE_WIDTH


def checkpoint(world: Any) -> list[str]:
    answer = world.wait(
        lambda: (found := world.api(None, "GET", "/log/checkpoint")).status_code == 200 and found
    )
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["cache-control"] == "no-cache"
    return str(answer.text).split("\n")


def test_the_checkpoint_is_signed_by_the_key_that_is_shown(world: Any) -> None:
    origin, size, _root, blank, signature, *_ = checkpoint(world)
    key = world.api(None, "GET", "/log/vkey")
    assert key.status_code == 200
    assert key.text.startswith(f"{origin}+")
    assert int(size) > 0
    assert blank == ""
    assert signature.startswith(f"— {origin} ")


def test_tiles_are_there_for_ever(world: Any) -> None:
    width = int(checkpoint(world)[1]) % TILE_WIDTH
    answer = world.api(None, "GET", f"/log/tile/0/000.p/{width}")
    assert answer.status_code in (200, 404) if width == 0 else answer.status_code == 200
    answer = world.api(None, "GET", "/log/tile/0/000.p/1")
    assert len(answer.content) == 32
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "immutable" in answer.headers["cache-control"]
    entries = world.api(None, "GET", "/log/tile/entries/000.p/1")
    assert int.from_bytes(entries.content[:2]) == len(entries.content) - 2


@pytest.mark.parametrize(
    "tile",
    [
        "0",
        "0/",
        "64/000",
        "0/0",
        "0/1000",
        "0/000.p/0",
        "0/000.p/256",
        "entries/x",
        "0/x999/999",
        "%2e%2e/key",
        "0/000.p/01",
    ],
)
def test_what_is_no_tile_is_not_found(api: Any, tile: str) -> None:
    answer = api(None, "GET", f"/log/tile/{tile}")
    assert answer.status_code == 404
    assert answer.headers["cache-control"] == "no-store"
