"""Can this machine make sandboxes at all? Asked once, when the engine is made."""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from kumoi.engines.base import EngineUnavailable
from kumoi.engines.sandbox.bubblewrap import SEARCH_PATH, system_arguments

PACKAGE_ROOT = Path(__file__).parents[3]
_PROBE_TIMEOUT_S = 10.0
_SECCOMP_PRINT = (
    "import sys; sys.path[:0] = sys.argv[1:]; from kumoi.engines.sandbox.seccomp import main; main()"
)


def bwrap_find(uid: int | None) -> str:
    """The path of a bubblewrap that works for the user `uid` (our own if None).

    EngineUnavailable, with what to install or allow, if there is none.
    """
    bwrap = shutil.which("bwrap", path=os.environ.get("PATH", "") + ":" + SEARCH_PATH)
    if bwrap is None:
        raise EngineUnavailable("bubblewrap is not installed; on Debian: apt-get install bubblewrap")
    try:
        done = subprocess.run(
            [bwrap, *system_arguments(), "--", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            cwd="/",
            env={"PATH": SEARCH_PATH},
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"{bwrap} cannot be run ({error})") from error
    if done.returncode:
        raise EngineUnavailable(_advice(bwrap, done.stderr.decode(errors="replace").strip()))
    return bwrap


@functools.cache
def seccomp_program() -> bytes:
    """The filter of system calls for this machine, made once per process. EngineUnavailable if not."""
    library = importlib.util.find_spec("pyseccomp")
    if library is None or library.origin is None:
        raise EngineUnavailable("the Python package pyseccomp is not installed; run make")
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-I",
                "-S",
                "-c",
                _SECCOMP_PRINT,
                str(PACKAGE_ROOT),
                str(Path(library.origin).parent),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"the filter of system calls cannot be made ({error})") from error
    if done.returncode or not done.stdout:
        why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise EngineUnavailable(
            f"the filter of system calls cannot be made ({why}); on Debian: apt-get install libseccomp2"
        )
    return done.stdout


def boot_id() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def memory_bytes() -> int:
    """The memory of this machine."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1_024
    raise EngineUnavailable("/proc/meminfo does not say how much memory this machine has")


def disk_bytes(note: Path, reserve_bytes: int) -> int:
    """What the disk below `note` has free for work beyond a reserve, as measured once and noted there.

    A capacity must stand still: what tasks take of it since is what they hold of it.
    """
    try:
        return int(note.read_text())
    except (OSError, ValueError):
        disk = os.statvfs(note.parent)
        free_bytes = max(disk.f_bavail * disk.f_frsize - reserve_bytes, 0)
        note.write_text(f"{free_bytes}\n")
        return free_bytes


def _advice(bwrap: str, text: str) -> str:
    if "namespace" in text or "uid map" in text:
        return (
            f"user namespaces are not allowed here ({text}); allow them: "
            "sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=28633"
        )
    return f"{bwrap} cannot make a sandbox here: {text}"
