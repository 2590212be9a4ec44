"""The directory in memory that holds all that podman keeps of containers; a boot empties it."""

import contextlib
import os
from hashlib import blake2s
from pathlib import Path

from kumoi.engines.base import EngineUnavailable
from kumoi.engines.sandbox.launch import LIBC
from kumoi.engines.sandbox.staging import MS_BIND, memory_directory_make, mount

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
    they can be read without. EngineUnavailable if they cannot be shown.
    """
    view = place / VIEW
    try:
        for kind in ("images", "layers"):
            shown, lock = view / f"{driver}-{kind}", place / f"{kind}.lock"
            shown.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.touch(mode=0o600)
            if not os.path.ismount(shown):
                _bind(storage / shown.name, shown)
            if not (shown / lock.name).samefile(lock):
                _bind(lock, shown / lock.name)
        if not (view / driver).is_symlink():
            (view / driver).symlink_to(storage / driver)
    except OSError as error:
        raise EngineUnavailable(f"images cannot be shown to containers ({error})") from error


def memory_end(place: Path) -> None:
    """Give it back, unless something in it is still in use."""
    for kind in ("images", "layers"):
        for shown in place.glob(f"{VIEW}/*-{kind}"):
            LIBC.umount2(os.fsencode(shown), _MNT_DETACH)
    if LIBC.umount2(os.fsencode(place), 0) == 0:
        with contextlib.suppress(OSError):
            place.rmdir()


def _bind(source: Path, target: Path) -> None:
    mount(os.fsencode(source), os.fsencode(target), b"", MS_BIND)
