"""podman as this engine uses it: its own settings, images in DATA, containers in memory."""

import os
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from kumoi.engines.base import EngineError, EngineUnavailable
from kumoi.engines.podman.command import Podman
from kumoi.engines.podman.memory import VIEW
from kumoi.engines.sandbox.bubblewrap import SEARCH_PATH

CALL_TIMEOUT_S = 30.0
DRIVERS = ("overlay", "vfs")
"""vfs copies the image for every container: for file systems that cannot be overlaid."""

_PROGRAMS = {"podman": "podman", "runc": "runc", "conmon": "conmon", "catatonit": "catatonit"}
_INSECURE = "http://"
_CONTAINERS_CONF = """\
[containers]
base_hosts_file = "none"
host_containers_internal_ip = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
init_path = "{catatonit}"
lock_type = "file"
runtime = "runc"
tmp_dir = "{tmp_dir}"
[engine.runtimes]
runc = ["{runc}"]
"""
_STORAGE_CONF = """\
[storage]
driver = "{driver}"
graphroot = "{graphroot}"
runroot = "{runroot}"
[storage.options]
additionalimagestores = [{images}]
[storage.options.overlay]
skip_mount_home = "true"
"""
_STORAGE = "storage.conf"
_IMAGES = "storage"
_MIXED_UP = frozenset(',"\n')


class PodmanStorage:
    """Images below `directory`; containers, with their commands and environments, below `memory` alone.

    podman has a storage for each: `images` pulls, loads and lists, `containers` runs what the first one has.
    `registries` are the ones that images may be pulled from, as HOST[:PORT]; `http://` before one allows it
    to be asked without TLS. Raises EngineUnavailable, saying what to install, where containers cannot be
    made.
    """

    def __init__(self, directory: Path, memory: Path, registries: Sequence[str] = ()) -> None:
        programs = _programs_find()
        if _MIXED_UP & set(str(directory)):
            raise EngineUnavailable(f"podman cannot use the path {directory}; keep DATA elsewhere")
        self.registries = frozenset(name.removeprefix(_INSECURE) for name in registries)
        self._directory, self._memory = directory, memory
        for path in (directory, directory / "tmp", memory / "tmp"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # podman's own notes beside images are worth nothing here, and older ones name containers.
        (directory / _IMAGES / "libpod/bolt_state.db").unlink(missing_ok=True)
        tmp_dir = memory / "images/tmp"
        _write(directory / "containers.conf", _CONTAINERS_CONF.format(**programs, tmp_dir=tmp_dir))
        _write(directory / "registries.conf", _registries_conf(registries))
        if not (directory / "auth.json").exists():
            _write(directory / "auth.json", "{}")
        argv = [
            programs["podman"],
            *("--log-level", "error", "--runtime", programs["runc"]),
            *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
        ]
        self.images = Podman(argv, self._environment(directory))
        self.containers = Podman([*argv, "--tmpdir", str(memory / "tmp")], self._environment(memory))
        driver = _driver_settled(directory) or self._driver_find()
        _write(directory / _STORAGE, self._images_conf(driver))
        _layers_join(driver, directory, memory)
        self.driver = driver
        places = {"graphroot": memory / "graph", "runroot": memory / "run"}
        text = _STORAGE_CONF.format(driver=driver, images=f'"{memory / VIEW}"', **places)
        _write(memory / _STORAGE, text)

    def container_call(self, *arguments: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """What podman answers of containers. EngineError with its complaint if it fails, EngineUnavailable
        if it hangs."""
        return self._call(self.containers, arguments, timeout_s)

    def image_call(self, *arguments: str, timeout_s: float = CALL_TIMEOUT_S) -> str:
        """What podman answers of images. Errors as of `container_call`."""
        return self._call(self.images, arguments, timeout_s)

    def is_there(self) -> bool:
        """Whether podman can still be run."""
        return os.access(self.images.argv[0], os.X_OK)

    def _environment(self, place: Path) -> dict[str, str]:
        """What podman needs to use the storage whose settings are in `place`."""
        return {
            "PATH": SEARCH_PATH,
            "HOME": str(place),
            "TMPDIR": str(place / "tmp"),
            "CONTAINERS_CONF": str(self._directory / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self._directory / "registries.conf"),
            "CONTAINERS_STORAGE_CONF": str(place / _STORAGE),
            "REGISTRY_AUTH_FILE": str(self._directory / "auth.json"),
        }

    def _driver_find(self) -> str:
        """The first driver that works; it stays, since each sees only what it stored itself."""
        complaints = []
        for driver in DRIVERS:
            _write(self._memory / _STORAGE, self._images_conf(driver))
            done = self._run([*self.images.argv, "info"], self.containers.environment, CALL_TIMEOUT_S)
            if done.returncode == 0:
                return driver
            complaints.append(f"{driver}: {done.stderr.strip().rpartition(chr(10))[2]}")
        raise EngineUnavailable(f"podman cannot keep images in {self._directory} ({'; '.join(complaints)})")

    def _images_conf(self, driver: str) -> str:
        places = {"graphroot": self._directory / _IMAGES, "runroot": self._memory / "images/run"}
        return _STORAGE_CONF.format(driver=driver, images="", **places)

    def _call(self, podman: Podman, arguments: Sequence[str], timeout_s: float) -> str:
        done = self._run([*podman.argv, *arguments], podman.environment, timeout_s)
        if done.returncode:
            raise EngineError(done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}")
        return done.stdout

    def _run(
        self, argv: Sequence[str], environment: Mapping[str, str], timeout_s: float
    ) -> "subprocess.CompletedProcess[str]":
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
                env=environment,
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


def _driver_settled(directory: Path) -> str | None:
    """The driver that the images here were stored with, if any were."""
    path = directory / _STORAGE
    return str(tomllib.loads(path.read_text())["storage"]["driver"]) if path.exists() else None


def _layers_join(driver: str, directory: Path, memory: Path) -> None:
    """Let the two storages share what is on disk of layers, where memory alone would not do.

    overlay finds more than some 60 layers only by short links, all of which must be in one directory; they
    name nothing. vfs copies the whole image for each container, which then would be in memory.
    """
    if driver == "overlay":
        shared, link = directory / _IMAGES / "overlay/l", memory / "graph/overlay/l"
    else:
        shared, link = directory / "copies", memory / "graph/vfs"
    if link.is_symlink():
        return
    if driver == "overlay":
        for left in shared.glob("*"):
            if not left.exists():
                left.unlink(missing_ok=True)
    else:
        shutil.rmtree(shared, ignore_errors=True)
    for path in (shared, link.parent):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    link.symlink_to(shared)


def _registries_conf(registries: Sequence[str]) -> str:
    """No short names: an image is what its whole name says."""
    text = 'unqualified-search-registries = []\nshort-name-mode = "enforcing"\n'
    for name in registries:
        if name.startswith(_INSECURE):
            text += f'[[registry]]\nlocation = "{name.removeprefix(_INSECURE)}"\ninsecure = true\n'
    return text


def _write(path: Path, text: str) -> None:
    """At once, since podman may be reading it for a container that another plane left."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)
