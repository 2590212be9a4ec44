"""Files of projects, in a directory: the embedded counterpart of an S3 server.

The directory of a project is bound into its tasks, which run as the project's own user and may put anything
there: symbolic links, FIFOs, endless trees. The plane, perhaps root, therefore never follows a link: it
walks from the root one component at a time by directory descriptor with O_NOFOLLOW (openat(2)), opens
without blocking, and serves plain files with a single name only. A second name (hard link) is refused: it
could be another owner's file. New content is written where tasks cannot reach it and moved in when complete.

Both places are in the organization's volume (`kumoi.store.volumes`), which is to be mounted before. Where it
is not there is nothing, and nothing is made.
"""

import asyncio
import errno
import hashlib
import io
import os
import secrets
import stat
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ParamSpec, TypeVar

from kumoi.model.places import PROJECT_UID_BASE
from kumoi.store.file_paths import (
    COMPONENTS_MAX,
    PATH_BYTES_MAX,
    FileChanged,
    FileInTheWay,
    FileMissing,
    FileOverLimit,
    FileStorageFull,
    FileTreeTooLarge,
    component_is_valid,
    path_split,
)
from kumoi.store.volumes.layout import PROJECTS, STAGING

CHUNK_BYTES = 256 << 10
SCAN_ENTRIES_MAX = 100_000
THREADS = 4

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# Besides plain absence: links, sockets, FIFOs and files under a lease, and what tasks made unreadable.
_NOT_THERE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENXIO,
    errno.ENODEV,
    errno.EACCES,
    errno.EPERM,
    errno.EAGAIN,
    errno.ENAMETOOLONG,
}
# A task may set any time; the latest that RFC 3339 can write is the end of the year 9999.
_MODIFIED_US_MAX = 253_402_300_799_999_999
# The volume and its `projects` are there or not; from the project's directory on, it is the tenant's.
_OWNED_FROM = 2
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileOwner:
    """The project that files belong to; `number` gives its operating-system user."""

    organization_id: str
    project_id: str
    number: int


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file: its path within the project, size, and time of its last change (microseconds UTC)."""

    path: str
    size_bytes: int
    modified_us: int


class FileReading:
    """An open file: its stat, and its content once, in chunks. Close it, read or not."""

    def __init__(self, found: FileStat, descriptor: int, threads: ThreadPoolExecutor) -> None:
        self.stat = found
        self._descriptor: int | None = descriptor
        self._threads = threads

    async def chunks(self) -> AsyncIterator[bytes]:
        """Exactly `stat.size_bytes` bytes. Raises FileChanged if a task shortens the file meanwhile."""
        loop = asyncio.get_running_loop()
        offset = 0
        try:
            while offset < self.stat.size_bytes:
                count = min(CHUNK_BYTES, self.stat.size_bytes - offset)
                chunk = await loop.run_in_executor(self._threads, self._read, offset, count)
                if not chunk:
                    raise FileChanged(self.stat.path, "the file became shorter while it was read")
                offset += len(chunk)
                yield chunk
        finally:
            self.close()

    def _read(self, offset: int, count: int) -> bytes:
        return b"" if self._descriptor is None else os.pread(self._descriptor, count, offset)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


class StagedFile:
    """Content on its way in, where no task can reach it. Its methods block and may run in any thread."""

    def __init__(self, root: Path, owner: FileOwner, path: str) -> None:
        self.owner = owner
        self.path = path
        self.place = root / owner.organization_id / STAGING / secrets.token_hex(16)
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None
        self._ended = False

    @property
    def sha256(self) -> str:
        """The digest of the content, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Add to the content; nothing happens once it was finished or discarded."""
        with self._lock:
            if self._ended:
                return
            if self._file is None:
                self._file = io.FileIO(self.place, "x", opener=_private_open)
            view = memoryview(chunk)
            while view:
                view = view[self._file.write(view) :]
            self._digest.update(chunk)
            self.size_bytes += len(chunk)

    def finish(self) -> None:
        """Give the content to the project's user and bring it to the disk."""
        with self._lock:
            self._ended = True
            assert self._file is not None
            _own(self._file.fileno(), self.owner)
            os.fsync(self._file.fileno())

    def settle(self) -> None:
        """Bring its new name to the disk, and let go of it.

        A directory seen through FUSE cannot be synced; syncing the file commits its rename.
        """
        with self._lock:
            assert self._file is not None
            os.fsync(self._file.fileno())
            self._file.close()

    def discard(self) -> None:
        """Remove the content unless it was published."""
        with self._lock:
            self._ended = True
            if self._file is not None:
                self._file.close()
                self.place.unlink(missing_ok=True)


class FileStore:
    """Files in volumes below `root`: `root/<organization>/projects/<project>` is bound into tasks."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="files")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()

    async def stage(
        self, owner: FileOwner, path: str, chunks: AsyncIterable[bytes], bytes_max: int
    ) -> StagedFile:
        """Take in the content of a file, durably; `publish` or `discard` it.

        Raises FilePathInvalid, FileOverLimit or FileStorageFull, and leaves nothing behind then.
        """
        path_split(path)
        staged = StagedFile(self._root, owner, path)
        waiting = bytearray()
        try:
            async for chunk in chunks:
                waiting += chunk
                if staged.size_bytes + len(waiting) > bytes_max:
                    raise FileOverLimit(path, bytes_max)
                if len(waiting) >= CHUNK_BYTES:
                    await self._run(path, staged.write, bytes(waiting))
                    waiting.clear()
            await self._run(path, staged.write, bytes(waiting))
            await self._run(path, staged.finish)
        except BaseException:
            await self.discard(staged)
            raise
        return staged

    async def discard(self, staged: StagedFile) -> None:
        """Remove staged content; nothing happens if it was published."""
        await self._run(staged.path, staged.discard)

    async def prepare(self, staged: StagedFile) -> None:
        """Make the directories above a staged file. Raises FileInTheWay where it could not be published."""
        await self._run(staged.path, self._prepare, staged)

    async def publish(self, staged: StagedFile) -> FileStat:
        """Put staged content in its place, in one step: readers see the old content or the new."""
        return await self._run(staged.path, self._publish, staged)

    async def open(self, owner: FileOwner, path: str) -> FileReading:
        """Open a file to read it. Raises FilePathInvalid or FileMissing."""
        return await self._run(path, self._open, owner, path)

    async def stat(self, owner: FileOwner, path: str) -> FileStat:
        """What is known of a file. Raises FilePathInvalid or FileMissing."""
        return await self._run(path, self._stat, owner, path)

    async def delete(self, owner: FileOwner, path: str) -> None:
        """Remove a file. Raises FilePathInvalid or FileMissing."""
        await self._run(path, self._delete, owner, path)

    async def list(self, owner: FileOwner, prefix: str, limit: int, after: str | None) -> Sequence[FileStat]:
        """At most `limit` files whose path begins with `prefix`, by path, after `after`.

        What is not a plain file, or has a path that `path_split` refuses, is left out. Raises
        FileTreeTooLarge.
        """
        return await self._run(prefix, self._list, owner, prefix, limit, after or "")

    async def _run(self, path: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        def translated() -> T:
            with _translated(path):
                return work(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._threads, translated)

    def _prepare(self, staged: StagedFile) -> None:
        *parents, name = path_split(staged.path)
        with _writing(staged.path), self._directory(staged.owner, parents, create=True) as directory:
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return
            if stat.S_ISDIR(found.st_mode):
                raise FileInTheWay(staged.path, "a directory has this name")

    def _publish(self, staged: StagedFile) -> FileStat:
        *parents, name = path_split(staged.path)
        with _writing(staged.path), self._directory(staged.owner, parents, create=True) as directory:
            os.rename(staged.place, name, dst_dir_fd=directory)
            os.fsync(directory)
            staged.settle()
            return _plain(staged.path, os.stat(name, dir_fd=directory, follow_symlinks=False))

    def _open(self, owner: FileOwner, path: str) -> FileReading:
        *parents, name = path_split(path)
        with self._directory(owner, parents) as directory:
            _plain(path, os.stat(name, dir_fd=directory, follow_symlinks=False))
            descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            # Once more: between the look and the opening a task may have put something else there.
            return FileReading(_plain(path, os.fstat(descriptor)), descriptor, self._threads)
        except FileMissing:
            os.close(descriptor)
            raise

    def _stat(self, owner: FileOwner, path: str) -> FileStat:
        *parents, name = path_split(path)
        with self._directory(owner, parents) as directory:
            return _plain(path, os.stat(name, dir_fd=directory, follow_symlinks=False))

    def _delete(self, owner: FileOwner, path: str) -> None:
        *parents, name = path_split(path)
        with self._directory(owner, parents) as directory:
            _plain(path, os.stat(name, dir_fd=directory, follow_symlinks=False))
            os.unlink(name, dir_fd=directory)
            os.fsync(directory)

    def _list(self, owner: FileOwner, prefix: str, limit: int, after: str) -> Sequence[FileStat]:
        try:
            with self._directory(owner, ()) as directory:
                return list(islice(_Listing(prefix, after).files(directory, "", 1), limit))
        except FileNotFoundError:
            return []

    @contextmanager
    def _directory(self, owner: FileOwner, parents: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """A descriptor of the directory `parents` of a project, reached without following any link."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for depth, name in enumerate((owner.organization_id, PROJECTS, owner.project_id, *parents)):
                child = _enter(descriptor, name, owner, create=create and depth >= _OWNED_FROM)
                os.close(descriptor)
                descriptor = child
            yield descriptor
        finally:
            os.close(descriptor)


class _Listing:
    """One walk through a tree in the order of full paths, with an end however large the tree is."""

    def __init__(self, prefix: str, after: str) -> None:
        self._prefix = prefix
        self._after = after
        self._left = SCAN_ENTRIES_MAX

    def files(self, directory: int, base: str, depth: int) -> Iterator[FileStat]:
        """Plain files below `directory`, whose path is `base` (empty, or ending in a slash)."""
        for key in sorted(self._keys(directory, base)):
            path = base + key
            if path.endswith("/"):
                if depth < COMPONENTS_MAX:
                    yield from self._below(directory, path, key[:-1], depth)
            elif len(path.encode()) <= PATH_BYTES_MAX:
                with suppress(OSError, FileMissing):
                    yield _plain(path, os.stat(key, dir_fd=directory, follow_symlinks=False))

    def _below(self, directory: int, path: str, name: str, depth: int) -> Iterator[FileStat]:
        try:
            child = os.open(name, _DIRECTORY, dir_fd=directory)
        except OSError:
            return
        try:
            yield from self.files(child, path, depth + 1)
        finally:
            os.close(child)

    def _keys(self, directory: int, base: str) -> Iterator[str]:
        """Names that may lead to a listed path; those of directories end in a slash, which orders them."""
        with os.scandir(directory) as entries:
            for entry in entries:
                self._left -= 1
                if self._left < 0:
                    raise FileTreeTooLarge(
                        self._prefix, f"the listing would look at more than {SCAN_ENTRIES_MAX} entries"
                    )
                if not component_is_valid(entry.name):
                    continue
                path = base + entry.name
                if entry.is_dir(follow_symlinks=False):
                    path += "/"
                    within = path.startswith(self._prefix) or self._prefix.startswith(path)
                    wanted = within and (path > self._after or self._after.startswith(path))
                else:
                    wanted = path.startswith(self._prefix) and path > self._after
                if wanted:
                    yield path.removeprefix(base)


def _enter(parent: int, name: str, owner: FileOwner, *, create: bool) -> int:
    """A descriptor of the directory `name` in `parent`; made for `owner` if need be."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    child = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        _own(child, owner)
        os.fsync(parent)
    except OSError:
        os.close(child)
        raise
    return child


def _own(descriptor: int, owner: FileOwner) -> None:
    """Hand what root just made to the project's user."""
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid == 0:
        user = PROJECT_UID_BASE + owner.number
        os.fchown(descriptor, user, user)


def _private_open(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _plain(path: str, found: os.stat_result) -> FileStat:
    """The stat of a plain file with a single name. Raises FileMissing for anything else."""
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise FileMissing(path, "there is no plain file of this name")
    modified_us = min(max(found.st_mtime_ns // 1_000, 0), _MODIFIED_US_MAX)
    return FileStat(path, found.st_size, modified_us)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """File errors for what the operating system says."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise FileStorageFull(path, "the disk, or a quota of it, is full") from error
        if error.errno in _NOT_THERE:
            raise FileMissing(path, "there is no plain file of this name") from error
        raise


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """What keeps a name from being written is in the way rather than missing."""
    try:
        yield
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise FileInTheWay(path, "something that is no directory is above it") from error
        raise
