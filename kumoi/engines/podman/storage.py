"""podman as this engine uses it: its own storage and settings in DATA, none of the machine's."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import blake2s
from pathlib import Path

from kumoi.engines.base import EngineError, EngineUnavailable
from kumoi.engines.sandbox.bubblewrap import SEARCH_PATH

CALL_TIMEOUT_S = 30.0
DRIVERS = ("overlay", "vfs")
"""vfs copies the image for every container: for file systems that cannot be overlaid."""

_PROGRAMS = {"podman": "podman", "runc": "runc", "conmon": "conmon", "catatonit": "catatonit"}
_INSECURE = "http://"
_RUN = "/run"
_MARK_BYTES = 4
_CONTAINERS_CONF = """\
[containers]
base_hosts_file = "none"
host_containers_internal_ip = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
init_path = "{catatonit}"
runtime = "runc"
[engine.runtimes]
runc = ["{runc}"]
"""
_STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{graphroot}"
runroot = "{runroot}"
"""
_MIXED_UP = frozenset(',"\n')


class PodmanStorage:
    """Containers and images below `directory`. `argv` and `environment` are what every call of podman needs.

    `registries` are the ones that images may be pulled from, as HOST[:PORT]; `http://` before one allows it
    to be asked without TLS. What podman keeps until the next boot is thrown away after one. Raises
    EngineUnavailable, saying what to install, where containers cannot be made.
    """

    def __init__(self, directory: Path, boot_id: str, registries: Sequence[str] = ()) -> None:
        programs = _programs_find()
        if _MIXED_UP & set(str(directory)):
            raise EngineUnavailable(f"podman cannot use the path {directory}; keep DATA elsewhere")
        self.registries = frozenset(name.removeprefix(_INSECURE) for name in registries)
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.run_root = _run_root(directory)
        _boot_note(directory, self.run_root, boot_id)
        _write(directory / "containers.conf", _CONTAINERS_CONF.format_map(programs))
        _write(directory / "registries.conf", _registries_conf(registries))
        self._storage_conf = directory / "storage.conf"
        credentials = directory / "auth.json"
        if not credentials.exists():
            _write(credentials, "{}")
        self.environment = {
            "PATH": SEARCH_PATH,
            "HOME": str(directory),
            "TMPDIR": str(directory / "tmp"),
            "CONTAINERS_CONF": str(directory / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(directory / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._storage_conf),
            "REGISTRY_AUTH_FILE": str(credentials),
        }
        self.argv = [
            programs["podman"],
            *("--tmpdir", str(directory / "tmp"), "--log-level", "error", "--runtime", programs["runc"]),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        ]
        self._driver_find()

    def call(self, *arguments: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """What podman answers. EngineError with its complaint if it fails, EngineUnavailable if it hangs."""
        done = self._run([*self.argv, *arguments], timeout_s)
        if done.returncode:
            raise EngineError(done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}")
        return done.stdout

    def is_there(self) -> bool:
        """Whether podman can still be run."""
        return os.access(self.argv[0], os.X_OK)

    def _driver_find(self) -> None:
        """Settle for the first driver that works; it stays, since each sees only what it stored itself."""
        if self._storage_conf.exists():
            return
        complaints = []
        for driver in DRIVERS:
            places = {"graphroot": self._directory / "storage", "runroot": self.run_root}
            _write(self._storage_conf, _STORAGE_CONF.format(driver=driver, **places))
            done = self._run([*self.argv, "info"], CALL_TIMEOUT_S)
            if done.returncode == 0:
                return
            complaints.append(f"{driver}: {done.stderr.strip().rpartition(chr(10))[2]}")
        self._storage_conf.unlink()
        raise EngineUnavailable(f"podman cannot keep images in {self._directory} ({'; '.join(complaints)})")

    def _run(self, argv: Sequence[str], timeout_s: float) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
                cwd="/",
                env=self.environment,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineUnavailable(f"podman does not answer ({error})") from error


def _programs_find() -> dict[str, str]:
    """Where the programs are. EngineUnavailable if one is missing."""
    path = os.environ.get("PATH", "") + ":" + SEARCH_PATH
    found = {name: shutil.which(name, path=path) for name in _PROGRAMS}
    missing = [package for name, package in _PROGRAMS.items() if found[name] is None]
    if missing:
        raise EngineUnavailable(
            f"{', '.join(missing)} are not installed; on Debian: apt-get install {' '.join(missing)}"
        )
    return {name: place for name, place in found.items() if place is not None}


def _run_root(directory: Path) -> Path:
    """podman takes no path of more than 50 characters for what it keeps until the next boot."""
    mark = blake2s(str(directory).encode(), digest_size=_MARK_BYTES).hexdigest()
    return Path(_RUN, f"kumoi-containers-{mark}")


def _boot_note(directory: Path, run_root: Path, boot_id: str) -> None:
    """After a boot no container runs, but podman believes its notes, which it expects in memory."""
    note = directory / "boot-id"
    if not note.exists() or note.read_text() != boot_id:
        for path in (run_root, directory / "tmp"):
            shutil.rmtree(path, ignore_errors=True)
        _write(note, boot_id)
    (directory / "tmp").mkdir(mode=0o700, exist_ok=True)


def _registries_conf(registries: Sequence[str]) -> str:
    """No short names: an image is what its whole name says."""
    text = 'unqualified-search-registries = []\nshort-name-mode = "enforcing"\n'
    for name in registries:
        if name.startswith(_INSECURE):
            text += f'[[registry]]\nlocation = "{name.removeprefix(_INSECURE)}"\ninsecure = true\n'
    return text


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
