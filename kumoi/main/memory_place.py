"""A directory in memory for what must not lie on the disk: tables of the gateway name tenants' services."""

import os
import stat
from hashlib import blake2s
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own in it, checked below
_MARK_BYTES = 8


def memory_place(data_dir: Path) -> Path:
    """Where it is for this user and DATA; there until it is removed, or until the next boot."""
    mark = blake2s(os.fsencode(data_dir.resolve()), digest_size=_MARK_BYTES).hexdigest()
    return _SHARED_MEMORY / f"kumoi-{os.geteuid()}-{mark}"


def closed_ensure(place: Path) -> None:
    """Make a directory closed to everybody else. Raises OSError where it cannot be, or is somebody else's."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{place} is not a closed directory of this user; remove it")
