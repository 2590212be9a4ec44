# ruff: noqa: PTH102, PTH103, PTH104, PTH106, PTH108, PTH116
"""What an attempt leaves on disk, and the order in which it is written. Everything is safe to repeat.

    tasks/.live/<ref>    the record; locked (flock) as long as the attempt has a supervisor
    tasks/.ended/<ref>   the same file, moved here when it ended, until it is forgotten
    tasks/.done/<ref>    the same file, moved here when it was forgotten, until it is purged
    tasks/.purged/<ref>  microseconds UTC until which a purged attempt must be refused
    tasks/<ref>/         made when first needed: lease (microseconds UTC), stop (JSON)

What it wrote to its streams is in its organization's volume (`kumoi.engines.sandbox.volume`).

The record has a line of JSON when the attempt is about to start and one when it has ended, each durable
before the next step. An attempt moves down this list, so whoever looks for it looks in this order; only one
that is asked for after it was forgotten goes back to `.ended`, since whoever asks does not know its end.
"""

import contextlib
import errno
import fcntl
import json
import os
from typing import NamedTuple

VERSION = 1
FRESH, STOPPED, STARTED, ENDED, PURGED = "fresh", "stopped", "started", "ended", "purged"
SUPERVISOR = b"from kumoi.engines."
"""What the command line of every supervisor contains."""

_RELOCK_LIMIT = 16


class Record(NamedTuple):
    """The two lines of a record: what the supervisor was about to start, and how that ended."""

    start: dict[str, object] | None
    exit: dict[str, object] | None


class Layout:
    """Where the records are."""

    __slots__ = ("done", "ended", "live", "purged", "tasks")

    def __init__(self, tasks: str) -> None:
        self.tasks = tasks
        self.live = f"{tasks}/.live"
        self.ended = f"{tasks}/.ended"
        self.done = f"{tasks}/.done"
        self.purged = f"{tasks}/.purged"

    def attempt(self, ref: str) -> str:
        """The directory of one attempt."""
        return f"{self.tasks}/{ref}"

    def make(self) -> None:
        """Create the directories, readable by nobody else."""
        for path in (self.tasks, self.live, self.ended, self.done, self.purged):
            os.makedirs(path, mode=0o700, exist_ok=True)


def file_create(path: str, content: bytes, flags: int, *, durable: bool) -> None:
    """Write a file in one go, mode 600, and to the disk if `durable`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        if os.write(fd, content) != len(content):
            raise OSError(errno.ENOSPC, f"only a part of {path} could be written")
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def file_replace(path: str, content: bytes, *, durable: bool) -> None:
    """Replace a file so that readers see the old or the new content, never a part."""
    temporary = f"{path}.{os.getpid()}.tmp"
    file_create(temporary, content, os.O_TRUNC, durable=durable)
    os.rename(temporary, path)


def file_read(path: str) -> bytes | None:
    """The content of a small file, or None if it is not there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def json_read(path: str) -> dict[str, object] | None:
    """A JSON object; {} for one that was cut off by a crash, None if there is no such file."""
    content = file_read(path)
    return None if content is None else _object(content)


def record_read(path: str) -> Record | None:
    """The record of an attempt, None if there is no such file. Lines cut off by a crash do not count."""
    content = file_read(path)
    if content is None:
        return None
    lines = [value for line in content.split(b"\n") if line and (value := _object(line))]
    start = next((line for line in lines if "outcome" not in line), None)
    return Record(start, next((line for line in lines if "outcome" in line), None))


def record_find(layout: Layout, ref: str) -> Record | None:
    """The record of an attempt wherever it is: it moves down the list meanwhile, never up but to be told."""
    for place in (layout.live, layout.ended, layout.done, layout.ended):
        record = record_read(f"{place}/{ref}")
        if record is not None:
            return record
    return None


def record_append(layout: Layout, ref: str, line: dict[str, object]) -> None:
    """Add a line to the record of a live attempt, durably. Under its lock."""
    file_create(f"{layout.live}/{ref}", b"\n%b\n" % json.dumps(line).encode(), os.O_APPEND, durable=True)


def directory_sync(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock_take(layout: Layout, ref: str, *, create: bool) -> int:
    """Lock the attempt; the lock is held until every copy of the returned descriptor is closed.

    BlockingIOError if it is held elsewhere, FileNotFoundError if the attempt is not live and not to be.
    """
    path = f"{layout.live}/{ref}"
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
    for _ in range(_RELOCK_LIMIT):
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    raise BlockingIOError(f"the lock of {ref} is taken over and over")


def attempt_state(layout: Layout, ref: str) -> str:
    """How far the attempt is, by what is on disk. Under its lock the answer stays true."""
    if os.path.lexists(f"{layout.ended}/{ref}") or os.path.lexists(f"{layout.done}/{ref}"):
        return ENDED
    if os.path.lexists(f"{layout.purged}/{ref}"):
        return PURGED
    try:
        if os.stat(f"{layout.live}/{ref}").st_size:
            return STARTED
    except FileNotFoundError:
        pass
    return STOPPED if os.path.lexists(f"{layout.attempt(ref)}/stop") else FRESH


def attempt_make(layout: Layout, ref: str) -> str:
    """The attempt's directory, made if it is not there."""
    directory = layout.attempt(ref)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    return directory


def lease_extend(layout: Layout, ref: str, expires_us: int) -> None:
    """Move the lease of an attempt that has one, never backwards: a plane that slept may hold an old one.

    The lock is that of the directory, since several planes may do so and the file itself is replaced.
    """
    directory = layout.attempt(ref)
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lease = file_read(f"{directory}/lease")
        if lease is not None and int(lease or b"0") < expires_us:  # a power failure leaves it empty
            with contextlib.suppress(FileNotFoundError):  # purged meanwhile
                file_replace(f"{directory}/lease", str(expires_us).encode(), durable=False)
    finally:
        os.close(lock)


def attempt_leave(layout: Layout, ref: str) -> None:
    """Take back a lock that was taken in vain. Under that lock."""
    os.unlink(f"{layout.live}/{ref}")


def attempt_end(layout: Layout, ref: str, record: dict[str, object] | None) -> None:
    """Make the end known: durable first, then to everybody. Under the attempt's lock. With None the record
    has its last line already."""
    if record is not None:
        record_append(layout, ref, record)
    os.rename(f"{layout.live}/{ref}", f"{layout.ended}/{ref}")


def attempt_forget(layout: Layout, ref: str) -> None:
    """Take an ended attempt off the list."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(f"{layout.ended}/{ref}", f"{layout.done}/{ref}")


def attempt_recall(layout: Layout, ref: str) -> None:
    """Put a forgotten attempt back on the list: who asks for it, from a backup, does not know its end."""
    with contextlib.suppress(FileNotFoundError):
        os.rename(f"{layout.done}/{ref}", f"{layout.ended}/{ref}")


def attempt_purge(layout: Layout, ref: str, until_us: int) -> None:
    """Remove a forgotten attempt; until `until_us` its reference is remembered, so that it never restarts.

    The record goes last: a removal that was cut short is done again.
    """
    file_replace(f"{layout.purged}/{ref}", str(until_us).encode(), durable=True)
    directory = layout.attempt(ref)
    with contextlib.suppress(FileNotFoundError):
        with os.scandir(directory) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    with contextlib.suppress(FileNotFoundError):  # recalled meanwhile: it is told, and purged, once more
        os.unlink(f"{layout.done}/{ref}")


def exit_line(
    outcome: str,
    *,
    started_us: int | None,
    ended_us: int,
    exit_code: int | None = None,
    signal: int | None = None,
    cpu_us: int = 0,
    memory_peak_bytes: int = 0,
    detail: str = "",
    start_before_us: int | None = None,
) -> dict[str, object]:
    """The last line of a record."""
    return {
        "version": VERSION,
        "outcome": outcome,
        "exit_code": exit_code,
        "signal": signal,
        "started_us": started_us,
        "ended_us": ended_us,
        "cpu_us": cpu_us,
        "memory_peak_bytes": memory_peak_bytes,
        "detail": detail,
        "start_before_us": start_before_us,
    }


def _object(content: bytes) -> dict[str, object]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
