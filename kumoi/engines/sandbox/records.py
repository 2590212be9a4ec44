# ruff: noqa: PTH102, PTH103, PTH104, PTH106, PTH108, PTH116
"""What an attempt leaves on disk, and the order in which it is written. Everything is safe to repeat.

tasks/.live/<ref>    empty; locked (flock) as long as the supervisor or its sandbox lives
tasks/<ref>/started  JSON; durable before the command may start, created once and never again
tasks/<ref>/stop     JSON; durable wish to end the attempt
tasks/<ref>/lease    microseconds UTC
tasks/<ref>/exit     JSON; the exit record
tasks/.ended/<ref>   the same file by a second name, until it is forgotten
tasks/.purged/<ref>  microseconds UTC until which a purged attempt must be refused
"""

import contextlib
import fcntl
import json
import os

VERSION = 1
FRESH, STOPPED, STARTED, ENDED, PURGED = "fresh", "stopped", "started", "ended", "purged"
_RELOCK_LIMIT = 16


class Layout:
    """Where the records are."""

    __slots__ = ("ended", "live", "purged", "tasks")

    def __init__(self, tasks: str) -> None:
        self.tasks = tasks
        self.live = f"{tasks}/.live"
        self.ended = f"{tasks}/.ended"
        self.purged = f"{tasks}/.purged"

    def attempt(self, ref: str) -> str:
        """The directory of one attempt."""
        return f"{self.tasks}/{ref}"

    def make(self) -> None:
        """Create the directories, readable by nobody else."""
        for path in (self.tasks, self.live, self.ended, self.purged):
            os.makedirs(path, mode=0o700, exist_ok=True)


def directory_sync(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def file_create(path: str, content: bytes, flags: int, *, durable: bool) -> None:
    """Write a file in one go, mode 600, and to the disk if `durable`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        os.write(fd, content)
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
    if content is None:
        return None
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


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


def lock_forget(layout: Layout, ref: str) -> None:
    """The attempt is not live any more. Only under its lock, or when its exit record is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{layout.live}/{ref}")


def attempt_state(layout: Layout, ref: str) -> str:
    """How far the attempt is, by what is on disk. Under its lock the answer stays true."""
    directory = layout.attempt(ref)
    if os.path.lexists(f"{directory}/exit") or os.path.lexists(f"{layout.ended}/{ref}"):
        return ENDED
    if os.path.lexists(f"{layout.purged}/{ref}"):
        return PURGED
    if os.path.lexists(f"{directory}/started"):
        return STARTED
    if os.path.lexists(f"{directory}/stop"):
        return STOPPED
    return FRESH


def attempt_make(layout: Layout, ref: str) -> str:
    """The attempt's directory, made if it is not there."""
    directory = layout.attempt(ref)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o700)
    return directory


def exit_record(
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
    """An exit record as it is written."""
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


def attempt_remove(layout: Layout, ref: str, until_us: int) -> None:
    """Remove a forgotten attempt; until `until_us` its reference is remembered, so that it never restarts.

    The exit record goes last: a removal that was cut short is found and done again.
    """
    directory = layout.attempt(ref)
    file_replace(f"{layout.purged}/{ref}", str(until_us).encode(), durable=True)
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if entry.name != "exit"]
    for name in (*names, "exit"):
        os.unlink(f"{directory}/{name}")
    os.rmdir(directory)


def exit_commit(layout: Layout, ref: str, record: dict[str, object]) -> None:
    """Make the end known: durable first, then in `.ended`, then as `exit`, then no longer live.

    Under the attempt's lock. A record that is there already stays: an attempt ends once.
    """
    directory = attempt_make(layout, ref)
    spooled, final = f"{layout.ended}/{ref}", f"{directory}/exit"
    if not os.path.lexists(final):
        if not os.path.lexists(spooled):
            temporary = f"{directory}/exit.tmp"
            file_create(temporary, json.dumps(record).encode(), os.O_TRUNC, durable=True)
            os.rename(temporary, spooled)
        os.link(spooled, final)
        directory_sync(layout.ended)
    lock_forget(layout, ref)
