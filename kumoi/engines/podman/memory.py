"""The directory in memory that holds all that podman keeps of containers; a boot empties it."""

import contextlib
import fcntl
import os
from hashlib import blake2s
from pathlib import Path

from kumoi.engines.base import EngineUnavailable
from kumoi.engines.sandbox.launch import LIBC
from kumoi.engines.sandbox.staging import MS_BIND, MS_PRIVATE, memory_directory_make, mount

_RUN = "/run"
VIEW = "view"
_MARK_BYTES = 4
_MNT_DETACH = 0x2
_SIZE = "20%"
"""A bound, no reservation. A container takes 70 KiB, or 3 MiB with an environment of 1 MiB, and has at least
16 MiB of the machine's memory: all that fit on a machine fit in a fifth of it."""


def memory_ensure(directory: Path) -> Path:
    """Where it is for a plane that keeps its images in `directory`: mounted, unless it still is.

    podman takes no path of more than 50 characters for a part of it. EngineUnavailable if it cannot be made.
    """
    mark = blake2s(str(directory).encode(), digest_size=_MARK_BYTES).hexdigest()
    place = Path(_RUN, f"kumoi-containers-{mark}")
    if not os.path.ismount(place):
        try:
            memory_directory_make(str(place), "700", _SIZE)
        except OSError as error:
            raise EngineUnavailable(f"containers need a directory in memory ({error})") from error
    return place


def images_show(place: Path, storage: Path, driver: str) -> None:
    """Show the images of `storage` to containers' podman, as `place/view`, with lock files of its own.

    podman takes the two locks of another storage in one order, and those of its own in the other: a start and
    a pull would wait for each other for ever. It replaces each list at once, and layers before images, so
    they can be read without. Finishes what an earlier call began. EngineUnavailable if they cannot be shown.
    """
    view = place / VIEW
    try:
        view.mkdir(mode=0o700, exist_ok=True)
        if not os.path.ismount(view):
            mount(os.fsencode(storage), os.fsencode(view), b"", MS_BIND)
        mount(b"none", os.fsencode(view), b"", MS_PRIVATE)  # else the locks appear in `storage` too
        for kind in ("images", "layers"):
            lock, shown = place / f"{kind}.lock", view / f"{driver}-{kind}/{kind}.lock"
            lock.touch(mode=0o600)
            shown.parent.mkdir(mode=0o700, exist_ok=True)
            shown.touch(mode=0o600)
            if not shown.samefile(lock):
                mount(os.fsencode(lock), os.fsencode(shown), b"", MS_BIND)
    except OSError as error:
        raise EngineUnavailable(f"images cannot be shown to containers ({error})") from error


def memory_share(lock: Path) -> int:
    """Say that a plane with this DATA uses it: a descriptor, until that is closed."""
    share = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(share, fcntl.LOCK_SH)
    return share


def memory_end(place: Path, share: int) -> None:
    """Give it back, unless another plane shares it, or something in it is still in use."""
    try:
        fcntl.flock(share, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    LIBC.umount2(os.fsencode(place / VIEW), _MNT_DETACH)
    if LIBC.umount2(os.fsencode(place), 0) == 0:
        with contextlib.suppress(OSError):
            place.rmdir()
