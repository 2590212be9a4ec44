"""Files of a project."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from kumoi.client.answers import decode
from kumoi.client.errors import Unreachable
from kumoi.client.flows import FileBody, Flow, Item, Open, Pause, Read, Request, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import delete, file_path, get, pages, path, tell
from kumoi.client.retries import REQUEST, exchange
from kumoi.model.records import File

BYTES: Final = (("Content-Type", "application/octet-stream"),)
Progress = Callable[[int], object]
"""Told how many bytes have been moved; starts again at each try."""


def file_put(
    project: str, name: str, content: bytes | os.PathLike[str], *, sent: Progress | None = None
) -> Flow[File]:
    """Write a file, whole: `content` are its bytes, or the path of a local file."""
    body = content if isinstance(content, bytes) else _file_body(Path(content), sent)
    answer = yield from exchange(Request("PUT", file_path(project, name), (), BYTES, body))
    return decode(File, answer)


def file_get(project: str, name: str) -> Flow[bytes]:
    """The bytes of a file. For large ones see `save` and `stream`."""
    answer = yield from exchange(get(file_path(project, name)))
    return answer.body


def file_stream(project: str, name: str) -> Stream[bytes]:
    """The bytes of a file in chunks. A connection lost in the middle raises Unreachable."""
    yield from exchange(Open(get(file_path(project, name))))
    while (chunk := (yield Read())) is not None:
        yield Item(chunk)


def file_save(
    project: str, name: str, target: os.PathLike[str], *, received: Progress | None = None
) -> Flow[int]:
    """Write a file to the local path `target` and answer its size in bytes.

    `target` is replaced at the end, so it never holds half a file; a lost connection starts again.
    """
    goal = Path(target)
    part = goal.with_name(f".{goal.name}.{uuid.uuid4().hex}.part")
    number = 0
    while True:
        number += 1
        yield from exchange(Open(get(file_path(project, name))))
        try:
            with part.open("wb") as file:
                yield from _chunks_write(file, received)
            size_bytes = part.stat().st_size
            part.replace(goal)
            return size_bytes
        except Unreachable:
            if number >= REQUEST.tries:
                raise
        finally:
            part.unlink(missing_ok=True)
        yield Pause(REQUEST.delay_s(number))


def _chunks_write(file: BinaryIO, received: Progress | None) -> Flow[None]:
    while (chunk := (yield Read())) is not None:
        file.write(chunk)
        if received is not None:
            received(file.tell())


def file_list(project: str, prefix: str | None = None, *, limit: int | None = None) -> Stream[File]:
    """Files of a project whose path begins with `prefix`, in the order of their paths."""
    return pages(File, path("projects", project, "files"), limit, prefix=prefix)


def file_delete(project: str, name: str) -> Flow[None]:
    """Remove a file."""
    return tell(delete(file_path(project, name)))


def _file_body(source: Path, sent: Progress | None) -> FileBody:
    return FileBody(source, source.stat().st_size, sent)


class Files(Group[D]):
    """`client.files`"""

    put = Operation(file_put)
    get = Operation(file_get)
    stream = Streaming(file_stream)
    save = Operation(file_save)
    list = Streaming(file_list)
    delete = Operation(file_delete)
