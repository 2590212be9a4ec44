"""Files put into a project: any path, any content, in parts, into a real directory."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

from fuzz.material import place_make
from kumoi.store.file_paths import FileStoreError
from kumoi.store.files import FileOwner, FileStore
from kumoi.store.volumes.layout import layout_make

OWNER = FileOwner("org_1", "prj_1", 7)
ROOT = place_make()
VOLUME = ROOT / OWNER.organization_id
BYTES_MAX = 4_096
STORE = FileStore(ROOT)


def _volume_make() -> None:
    VOLUME.mkdir()
    descriptor = os.open(VOLUME, os.O_RDONLY)
    layout_make(descriptor)
    os.close(descriptor)


_volume_make()


def seeds() -> Iterator[bytes]:
    """Paths with contents, and what attackers would send."""
    for path in (b"a/b.txt", b"../a", b"/etc/passwd", b"a//b", b".", b"\xff", b"x" * 300, b"a/" * 40 + b"b"):
        yield path + b"\ncontent"
    yield b"long\n" + bytes(BYTES_MAX + 1)


def check(data: bytes) -> None:
    """What was put is read again, and nothing lies anywhere else."""
    raw, _, content = data.partition(b"\n")
    path = raw.decode("utf-8", "surrogateescape")
    asyncio.run(put_and_read(path, content))
    assert names(ROOT) == {OWNER.organization_id}
    assert names(VOLUME) == {"logs", "projects", "staging"}
    assert names(VOLUME / "projects") <= {OWNER.project_id}
    assert not names(VOLUME / "staging")


def names(directory: Path) -> set[str]:
    """What is in a directory."""
    return {found.name for found in directory.iterdir()}


async def put_and_read(path: str, content: bytes) -> None:
    """Put the content, read it, list it and remove it again."""
    with suppress(FileStoreError):
        staged = await STORE.stage(OWNER, path, parts(content), BYTES_MAX)
        try:
            await STORE.prepare(staged)
            await STORE.publish(staged)
        finally:
            await STORE.discard(staged)
        reading = await STORE.open(OWNER, path)
        assert b"".join([chunk async for chunk in reading.chunks()]) == content
        assert path in [found.path for found in await STORE.list(OWNER, path, 10, None)]
        await STORE.delete(OWNER, path)


async def parts(content: bytes) -> AsyncIterator[bytes]:
    """The content in parts of different lengths, an empty one among them."""
    for start in range(0, len(content), 1_000):
        yield content[start : start + 1_000]
        yield b""
