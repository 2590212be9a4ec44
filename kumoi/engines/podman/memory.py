"""The directory in memory that holds all that podman keeps of containers; a boot empties it."""

import contextlib
import os
from hashlib import blake2s
from pathlib import Path

from kumoi.engines.base import EngineUnavailable
from kumoi.engines.sandbox.launch import LIBC
from kumoi.engines.sandbox.staging import memory_directory_make

_RUN = "/run"
_MARK_BYTES = 4
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


def memory_end(place: Path) -> None:
    """Give it back, unless something in it is still in use."""
    if LIBC.umount2(os.fsencode(place), 0) == 0:
        with contextlib.suppress(OSError):
            place.rmdir()
