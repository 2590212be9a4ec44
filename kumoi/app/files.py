"""Files of a project, which its tasks find in their working directory."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from kumoi.app.answers import answer
from kumoi.app.plane import Plane, not_found
from kumoi.app.projects import project_authorized
from kumoi.app.volumes import volume_guarded, volume_opened
from kumoi.model.access import Action, Actor, ResourceKind, Target
from kumoi.model.errors import Conflict, Invalid, TooLarge, Unavailable
from kumoi.model.idempotency import Written
from kumoi.model.records import FILE_BYTES_MAX, File, Page
from kumoi.model.time import time_format
from kumoi.store import file_paths, files, schema
from kumoi.store.directory import ProjectPlace
from kumoi.store.events import event_row
from kumoi.store.files import FileOwner, FileStat
from kumoi.store.writer import Change


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file to be sent: exactly `size_bytes` bytes come in `parts`. Close `parts` if it is not read."""

    size_bytes: int
    parts: AsyncIterator[bytes]


async def file_list(
    plane: Plane, actor: Actor, project_id: str, prefix: str, limit: int, cursor: str | None
) -> Page[File]:
    """Files whose path begins with `prefix`, by path. Links and other special files are left out."""
    place = await project_authorized(plane, actor, Action.FILE_LIST, project_id)
    with _answered():
        file_paths.prefix_check(prefix)
    listing = f"files/{project_id}/{prefix}"
    after = plane.cursors.open(listing, cursor)
    async with _files_of(plane, place):
        rows = await plane.files.list(_owner(place), prefix, limit + 1, after)
    return plane.cursors.page(listing, [_file(row) for row in rows], limit, lambda file: file.path)


async def file_read(plane: Plane, actor: Actor, project_id: str, path: str) -> FileContent:
    """The content of a file."""
    place = await _file_authorized(plane, actor, Action.FILE_READ, project_id, path)
    async with _files_of(plane, place):
        reading = await plane.files.open(_owner(place), path)
    parts = volume_guarded(plane, place.organization_id, reading.chunks())
    return FileContent(reading.stat.size_bytes, parts)


async def file_write(
    plane: Plane,
    actor: Actor,
    project_id: str,
    path: str,
    body: AsyncIterable[bytes],
    bytes_max: int = FILE_BYTES_MAX,
) -> Written:
    """Create or replace a file; readers see the old content until all of the new one has come.

    The event is written before the content is put in its place: after a crash in between the history
    tells of a write that did not happen, never the other way round.
    """
    place = await _file_authorized(plane, actor, Action.FILE_WRITE, project_id, path)
    if place.state != "active":
        raise Conflict("project_archived", "the project {id} is archived; restore it first", id=project_id)
    async with _files_of(plane, place):
        staged = await plane.files.stage(_owner(place), path, body, bytes_max)
        try:
            await plane.files.prepare(staged)
            detail = {"path": path, "size_bytes": staged.size_bytes, "sha256": staged.sha256}
            await plane.commit(_event(plane, place, Action.FILE_WRITE, actor, detail))
            written = await plane.files.publish(staged)
        finally:
            await plane.files.discard(staged)
    return answer(200, _file(written))


async def file_delete(plane: Plane, actor: Actor, project_id: str, path: str) -> Written:
    """Remove a file. The event is written first, as in `file_write`."""
    place = await _file_authorized(plane, actor, Action.FILE_DELETE, project_id, path)
    async with _files_of(plane, place):
        await plane.files.stat(_owner(place), path)
        await plane.commit(_event(plane, place, Action.FILE_DELETE, actor, {"path": path}))
        await plane.files.delete(_owner(place), path)
    return Written(204, b"")


async def _file_authorized(
    plane: Plane, actor: Actor, action: Action, project_id: str, path: str
) -> ProjectPlace:
    place = await plane.directory.project(project_id)
    if place is None:
        await plane.refuse_unknown(actor, action, ResourceKind.FILE, project_id)
    target = Target(ResourceKind.FILE, f"{project_id}/{path}", place.organization_id, project_id)
    await plane.authorize(actor, action, target, named=project_id)
    with _answered():
        file_paths.path_split(path)
    return place


def _owner(place: ProjectPlace) -> FileOwner:
    return FileOwner(place.organization_id, place.id, place.number)


def _file(found: FileStat) -> File:
    return File(path=found.path, size_bytes=found.size_bytes, modified_at=time_format(found.modified_us))


def _event(
    plane: Plane, place: ProjectPlace, action: Action, actor: Actor, detail: dict[str, object]
) -> Change:
    event = event_row(
        action,
        at_us=plane.clock_us(),
        actor=actor.id,
        resource=place.id,
        organization=place.organization_id,
        project=place.id,
        detail=detail,
    )
    return Change([(schema.events, [event])])


@asynccontextmanager
async def _files_of(plane: Plane, place: ProjectPlace) -> AsyncIterator[None]:
    """Have the files of a project at hand; what is refused, as an answer."""
    async with volume_opened(plane, place.organization_id):
        with _answered():
            yield


@contextmanager
def _answered() -> Iterator[None]:
    """What the file store refuses, as an answer."""
    try:
        yield
    except file_paths.FilePathInvalid as error:
        raise Invalid(
            "file_path_invalid",
            "the path of a file is relative and UTF-8, with 1 to {components} components of at most {bytes} "
            "bytes, none of them `.` or `..` or with control characters",
            at="path",
            components=file_paths.COMPONENTS_MAX,
            bytes=file_paths.COMPONENT_BYTES_MAX,
        ) from error
    except file_paths.FileMissing as error:
        raise not_found(error.path) from error
    except file_paths.FileInTheWay as error:
        raise Conflict(
            "file_in_the_way",
            "{path} cannot be written: a directory has this name, or something above it is not a directory",
            at="path",
            path=error.path,
        ) from error
    except file_paths.FileOverLimit as error:
        raise TooLarge("file_too_large", "a file has at most {limit} bytes", limit=error.limit) from error
    except file_paths.FileTreeTooLarge as error:
        raise Conflict(
            "file_tree_too_large",
            "more than {limit} entries would have to be looked at; list with a longer prefix",
            at="prefix",
            limit=files.SCAN_ENTRIES_MAX,
        ) from error
    except file_paths.FileStorageFull as error:
        raise Unavailable(
            "storage_full", "the storage for files is full; remove some, or ask the operator for more"
        ) from error
