"""gocryptfs(1), an encrypted directory seen through FUSE: one process for each mount, which outlives us."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from kumoi.store.volumes.errors import VolumeUnavailable

CALL_TIMEOUT_S = 30.0
SETTING = "volume_encryption=false"

_PACKAGES = {"gocryptfs": "gocryptfs", "fusermount3": "fuse3"}
_SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_DEVICE = "/dev/fuse"
_QUIET = ("-q", "-nosyslog")
_SCRYPT_LOG_N = "10"
"""The cheapest that gocryptfs offers: the password has 256 random bits, there is nothing to guess."""

_CAUSES = {
    10: "its mount point is not empty",
    12: "its password is another one; restore the database that belongs to this data directory",
    19: "fusermount3 refuses; the user of the plane must have a name (`getent passwd`)",
    23: "its gocryptfs.conf cannot be read; restore it from a backup",
}
"""gocryptfs(1), EXIT CODES."""


class Gocryptfs:
    """Makes, mounts and unmounts encrypted directories. Every call blocks and ends in time.

    Passwords go through a pipe. Raises VolumeUnavailable, saying what to install or allow, where it is not
    to be had.
    """

    def __init__(self) -> None:
        path = os.environ.get("PATH", "") + ":" + _SEARCH_PATH
        programs = {name: shutil.which(name, path=path) for name in _PACKAGES}
        missing = [_PACKAGES[name] for name, found in programs.items() if found is None]
        if missing:
            raise VolumeUnavailable(
                f"files and logs are to be encrypted, and {' and '.join(missing)} are not installed; "
                f"on Debian: apt-get install {' '.join(missing)}; or set {SETTING}"
            )
        if not os.access(_DEVICE, os.R_OK | os.W_OK):
            raise VolumeUnavailable(
                f"files and logs are to be encrypted, and {_DEVICE} cannot be opened; load the module fuse "
                f"and allow this user to open it; or set {SETTING}"
            )
        self._gocryptfs = str(programs["gocryptfs"])
        self._fusermount = str(programs["fusermount3"])
        self._others = ("-allow_other",) if os.geteuid() == 0 else ()

    def make(self, ciphertext: Path, password: bytes) -> None:
        """Make an encrypted directory of an empty one."""
        status = self._run(
            (self._gocryptfs, "-init", *_QUIET, "-scryptn", _SCRYPT_LOG_N, "--", ciphertext), password
        )
        if status != 0:
            raise VolumeUnavailable(f"gocryptfs cannot make {ciphertext} (status {status})")

    def mount(self, ciphertext: Path, place: Path, password: bytes, *, beside_others: bool) -> None:
        """Show what is in `ciphertext` at `place`; `beside_others` where another process shows it too."""
        shared = ("-sharedstorage",) if beside_others else ()
        options = (*_QUIET, "-nosuid", "-nodev", *self._others, *shared)
        status = self._run((self._gocryptfs, *options, "--", ciphertext, place), password)
        if status != 0:
            cause = _CAUSES.get(status, f"gocryptfs ended with status {status}")
            raise VolumeUnavailable(f"the volume {place.name} cannot be mounted: {cause}")

    def unmount(self, place: Path, *, lazily: bool) -> bool:
        """Take away what is mounted at `place`; False if it is in use. Lazily, who has it open keeps it."""
        return self._run((self._fusermount, "-u", *(("-z",) if lazily else ()), "--", place)) == 0

    def processes(self, ciphertext: Path) -> Sequence[int]:
        """The processes that show `ciphertext`, mounted or detached."""
        return tuple(_processes(os.fsencode(ciphertext)))

    def kill(self, ciphertext: Path) -> None:
        """End every process that shows `ciphertext`: what is open ends with it."""
        for pid in self.processes(ciphertext):
            with suppress(ProcessLookupError):
                process = os.pidfd_open(pid)
                try:
                    if pid in self.processes(ciphertext):
                        signal.pidfd_send_signal(process, signal.SIGKILL)
                finally:
                    os.close(process)

    def _run(self, argv: Sequence[str | Path], password: bytes = b"") -> int:
        """The status. What it says goes nowhere: it may name files."""
        try:
            return subprocess.run(
                argv,
                input=password,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=CALL_TIMEOUT_S,
                check=False,
                cwd="/",
                env={"PATH": _SEARCH_PATH},
                start_new_session=True,
            ).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            raise VolumeUnavailable(f"{argv[0]} does not answer ({error})") from error


def _processes(ciphertext: bytes) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"gocryptfs") and b"-fg" in words and ciphertext in words:
                    yield int(entry.name)
