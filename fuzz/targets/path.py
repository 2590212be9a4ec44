"""Paths of files that are put into a project, or listed."""

import posixpath
from collections.abc import Iterator
from contextlib import suppress

from kumoi.store.file_paths import FilePathInvalid, path_split, prefix_check


def seeds() -> Iterator[bytes]:
    """Paths as people write them, and as attackers do."""
    yield from (b"a/b.txt", b"../a", b"/etc/passwd", b"a//b", b"a/./b", b"\xc3\xa9", b"a/..", b"x" * 300)


def check(data: bytes) -> None:
    """What is taken stays below the directory that it is joined to."""
    text = data.decode("utf-8", "surrogateescape")
    with suppress(FilePathInvalid):
        parts = path_split(text)
        joined = posixpath.normpath(posixpath.join("/files/prj", *parts))
        assert joined == "/files/prj/" + text, "a path leads elsewhere"
    with suppress(FilePathInvalid):
        prefix_check(text)
