"""What is in a volume, and what the kernel says of where it is mounted."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

PROJECTS, LOGS, STAGING = "projects", "logs", "staging"
UPLOAD_AGE_S_MAX = 86_400
"""An upload that was left behind so long ago belongs to nobody any more."""

_ESCAPED = re.compile(rb"\\([0-7]{3})")
_PASSABLE = 0o711
_MODES = {STAGING: 0o700, LOGS: 0o700, PROJECTS: _PASSABLE}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def layout_make(volume: int) -> None:
    """Make what is missing of a volume's directories, `projects` last: once that is there, all are.

    `volume` is a descriptor of its root, so that nothing is written below a mount point.
    """
    for name, mode in _MODES.items():
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=volume)
        os.chmod(name, mode, dir_fd=volume)


def passable_make(directory: Path) -> None:
    """A directory that projects' users pass through, whatever the mask."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(_PASSABLE)


def path_sync(path: Path) -> None:
    """Have a file or the names in a directory written to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def uploads_drop(volume: int) -> None:
    """Remove uploads that a killed plane left behind."""
    oldest_s = time.time() - UPLOAD_AGE_S_MAX
    staging = os.open(STAGING, _DIRECTORY, dir_fd=volume)
    try:
        with os.scandir(staging) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_mtime < oldest_s:
                    os.unlink(entry.name, dir_fd=staging)
    finally:
        os.close(staging)


def directory_open(path: Path) -> int:
    """A descriptor of a directory that is no link."""
    return os.open(path, _DIRECTORY)


def is_live(place: Path) -> bool:
    """Whether a volume is mounted at `place`, answers, and has its directories."""
    try:
        projects = directory_open(place / PROJECTS)  # unlike its stat, never answered from a cache
    except OSError:
        return False
    try:
        return os.fstat(projects).st_dev != place.parent.stat().st_dev
    finally:
        os.close(projects)


def is_mounted(place: Path) -> bool:
    """Whether something is mounted at `place`, also where it does not answer any more."""
    return str(place) in mounts_below(place.parent)


def mounts_below(root: Path) -> dict[str, bool]:
    """The mount points at `root` and below it, and whether what is mounted into each is shared."""
    found = {}
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        fields = line.split(b" - ")[0].split()
        path = os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), fields[4]))
        if Path(path).is_relative_to(root):
            found[path] = any(field.startswith(b"shared:") for field in fields[6:])
    return found


def is_shared(path: Path) -> bool:
    """Whether what is mounted below `path` also appears in namespaces made from this one."""
    mounts = mounts_below(Path("/"))
    holder = next(str(parent) for parent in (path, *path.parents) if str(parent) in mounts)
    return mounts[holder]
