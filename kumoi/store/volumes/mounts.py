"""Which volumes are mounted: at first need, until nobody needs them, never without the organization's key."""

import fcntl
import logging
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from kumoi.store.database import Store
from kumoi.store.keys.errors import KeyFailure, KeyWithdrawn
from kumoi.store.keys.ring import KeyRing
from kumoi.store.volumes import layout
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.volumes.gocryptfs import CALL_TIMEOUT_S, SETTING, Gocryptfs
from kumoi.store.volumes.passwords import VolumePasswords
from kumoi.store.volumes.remake import Remake, RemakeStopped

MOUNTS_PARALLEL = 4
LOCK_TIMEOUT_S = 60.0
REMAKE_WAIT_S = 2.0
"""How long a request waits for a volume that is made anew, which takes as long as there is to copy."""
REMAKE_RETRY_S = 600.0
IDLE_S = 300.0
SWEEP_S = 10.0
TOUCH_S = 5.0
LAYERS_MAX = 16
_LOCK_LOOK_S = 0.02

_log = logging.getLogger(__name__)


class Volumes(Protocol):
    """The volumes of this data directory. Everything below `root/<organization>` is an organization's."""

    root: Path

    def ensure(self, organization_id: str, /) -> None:
        """Have the volume mounted, for IDLE_S at least. Blocks. Raises VolumeUnavailable, KeyWithdrawn, or
        KeyUnavailable."""

    def withdrawn(self, organization_id: str, /) -> bool:
        """Whether the organization's key is known to be withdrawn. Never blocks."""

    def start(self) -> None:
        """Begin to look after idle and withdrawn volumes."""

    def stop(self) -> None:
        """End that; what is mounted stays."""

    def close(self) -> None:
        """Unmount what nobody uses, if this was the last plane of the data directory."""


class PlainVolumes:
    """The same layout without encryption: volumes are directories."""

    def __init__(self, data_dir: Path, keys: KeyRing | None = None) -> None:
        self.root = data_dir / "objects"
        self._keys = keys
        self._known: set[str] = set()
        ciphertext = data_dir / "volumes"
        if any(place.is_dir() for place in ciphertext.glob("*")):
            raise VolumeUnavailable(
                f"{ciphertext} holds encrypted volumes, which {SETTING} would hide; leave encryption on"
            )
        layout.passable_make(self.root)

    def ensure(self, organization_id: str, /) -> None:
        """See `Volumes.ensure`."""
        if self._keys is not None and self._keys.withdrawn(organization_id):
            self._keys.load(organization_id)
        if organization_id in self._known:
            return
        place = self.root / organization_id
        layout.passable_make(place)
        with _opened(place) as volume:
            layout.layout_make(volume)
            layout.uploads_drop(volume)
        self._known.add(organization_id)

    def withdrawn(self, organization_id: str, /) -> bool:
        """See `Volumes.withdrawn`."""
        return self._keys is not None and self._keys.withdrawn(organization_id)

    def start(self) -> None:
        """See `Volumes.start`: there is nothing to look after."""

    def stop(self) -> None:
        """See `Volumes.stop`."""

    def close(self) -> None:
        """See `Volumes.close`."""


class EncryptedVolumes:
    """One gocryptfs for each organization at work. What is mounted is known to the kernel only, so that a
    plane that was killed leaves nothing wrong behind: the next one finds the mounts and goes on with them.

    `DATA/run/volumes/<organization>` is locked (flock) while a volume is mounted or unmounted, and its time
    is that of the last use, for all planes that share the data directory.
    """

    def __init__(
        self, data_dir: Path, passwords: VolumePasswords, *, idle_s: float = IDLE_S, sweep_s: float = SWEEP_S
    ) -> None:
        self.root = data_dir / "objects"
        self._ciphertext = data_dir / "volumes"
        self._locks = data_dir / "run" / "volumes"
        self._passwords = passwords
        self._idle_s = idle_s
        self._sweep_s = sweep_s
        self._engine = Gocryptfs()
        self._slots = threading.BoundedSemaphore(MOUNTS_PARALLEL)
        self._touched_s: dict[str, float] = {}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._remake_from_s: dict[str, float] = {}
        self._detaching = ThreadPoolExecutor(MOUNTS_PARALLEL, thread_name_prefix="volumes")
        self._ciphertext.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remake = Remake(self._engine, passwords, self._ciphertext, self._locks.parent, self._stopping)
        layout.passable_make(self.root)
        self._plane_lock = _lock_file(self._locks / ".planes")
        fcntl.flock(self._plane_lock, fcntl.LOCK_SH)
        self._plain_check()
        if os.geteuid() == 0:
            self._share()
        passwords.keys.on_withdraw(self._withdraw)

    def ensure(self, organization_id: str, /) -> None:
        """See `Volumes.ensure`."""
        self._passwords.key_check(organization_id)
        place = self.root / organization_id
        self._touch(organization_id)
        if layout.is_live(place):
            return
        with self._locked(organization_id):
            if not layout.is_live(place):
                self._mount_slotted(organization_id, place)
        if self.withdrawn(organization_id):
            self._detach(organization_id)
            self._passwords.key_check(organization_id)

    def withdrawn(self, organization_id: str, /) -> bool:
        """See `Volumes.withdrawn`."""
        return self._passwords.keys.withdrawn(organization_id)

    def start(self) -> None:
        """See `Volumes.start`."""
        for work in (self.sweep, self.remake):
            name = f"volumes-{work.__name__}"
            self._threads.append(threading.Thread(target=self._always, args=(work,), name=name, daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """See `Volumes.stop`."""
        self._stopping.set()

    def close(self) -> None:
        """See `Volumes.close`. A volume that running work has open stays."""
        self.stop()
        for thread in self._threads:
            thread.join(CALL_TIMEOUT_S)
        self._detaching.shutdown()
        try:
            fcntl.flock(self._plane_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        else:
            for organization_id in self._mounted():
                with suppress(VolumeUnavailable), self._locked(organization_id):
                    self._unmount(self.root / organization_id, lazily=False)
            if not self._mounted() and layout.is_mounted(self.root):
                with suppress(VolumeUnavailable):  # somebody stands in it; the next plane uses it as it is
                    _mount_call("umount", str(self.root))
        finally:
            os.close(self._plane_lock)

    def sweep(self) -> None:
        """Unmount what was not used for a while, and let nothing of a withdrawn organization be reached."""
        for organization_id in self._mounted():
            try:
                self._passwords.key_check(organization_id)
            except KeyWithdrawn:
                self._detach(organization_id)
            except KeyFailure as error:
                _log.warning("the volume %s stays mounted as it is: %s", organization_id, error)
            else:
                self._idle_unmount(organization_id)
        for place in self._ciphertext.iterdir():
            if self.withdrawn(place.name) and not self._passwords.has_work(place.name):
                self._engine.kill(place)

    def remake(self) -> None:
        """Make volumes anew whose passwords are older than the key that their organization attached, once
        nobody uses them; and finish what a plane killed meanwhile left of that."""
        for organization_id in sorted({*self._passwords.outdated(), *self._remake.left()}):
            if self._stopping.is_set() or time.monotonic() < self._remake_from_s.get(organization_id, 0.0):
                continue
            try:
                with self._locked(organization_id):
                    self._remake_idle(organization_id)
            except RemakeStopped:
                _log.info("the volume %s is not made anew yet: it is needed elsewhere", organization_id)
            except (KeyFailure, VolumeUnavailable, OSError) as error:
                self._remake_from_s[organization_id] = time.monotonic() + REMAKE_RETRY_S
                _log.warning("the volume %s is not made anew yet: %s", organization_id, error)

    def _remake_idle(self, organization_id: str) -> None:
        """Under its lock."""
        ciphertext, place = self._ciphertext / organization_id, self.root / organization_id
        self._remake.settle(organization_id)
        if layout.is_mounted(place) or self._engine.processes(ciphertext):
            return
        is_old = ciphertext.exists() and organization_id in self._passwords.outdated()
        if is_old and not self._passwords.has_work(organization_id):
            self._remake.make(organization_id)
            _log.info("the volume %s was made anew under the key of its organization", organization_id)

    def _mount_slotted(self, organization_id: str, place: Path) -> None:
        if not self._slots.acquire(timeout=LOCK_TIMEOUT_S):
            raise VolumeUnavailable(f"the volume {organization_id} waits for others to be mounted; try again")
        try:
            self._mount(organization_id, place)
        finally:
            self._slots.release()

    def _mount(self, organization_id: str, place: Path) -> None:
        """Under its lock: what does not answer any more is replaced, what is half made is completed."""
        ciphertext = self._ciphertext / organization_id
        self._remake.settle(organization_id)
        password = self._passwords.find(organization_id)
        if password is None:
            if ciphertext.exists():
                raise VolumeUnavailable(
                    f"the database does not know the password of {ciphertext}; restore the one that "
                    "belongs to this data directory"
                )
            password = self._passwords.make(organization_id)
        if layout.is_mounted(place) and not _answers(place):
            self._unmount(place, lazily=True)
        if not layout.is_mounted(place):
            layout.passable_make(place)
            _empty_check(place)
            if not ciphertext.exists():
                self._make(ciphertext, password)
            others = bool(self._engine.processes(ciphertext))
            self._engine.mount(ciphertext, place, password, beside_others=others)
        with _opened(place) as volume:
            if os.fstat(volume).st_dev == self.root.stat().st_dev:
                raise VolumeUnavailable(f"the volume {organization_id} was unmounted meanwhile; try again")
            layout.layout_make(volume)
            layout.uploads_drop(volume)

    def _make(self, ciphertext: Path, password: bytes) -> None:
        """The password is durable already: a plane killed here leaves a directory that nobody uses."""
        with tempfile.TemporaryDirectory(prefix=f".{ciphertext.name}.", dir=self._ciphertext) as made:
            inner = Path(made, "volume")
            layout.passable_make(inner)
            self._engine.make(inner, password)
            for file in (*inner.iterdir(), inner):
                layout.path_sync(file)
            inner.rename(ciphertext)
        layout.path_sync(self._ciphertext)

    def _withdraw(self, organization_id: str) -> None:
        """Told by the key ring, which must not wait."""
        with suppress(RuntimeError):  # closed
            self._detaching.submit(self._detach, organization_id)

    def _detach(self, organization_id: str) -> None:
        """Nobody reaches the volume any more; running work keeps what it has."""
        try:
            with self._locked(organization_id):
                if self.withdrawn(organization_id):
                    self._unmount(self.root / organization_id, lazily=True)
        except VolumeUnavailable as error:
            _log.warning("the volume %s of a withdrawn key is not detached yet: %s", organization_id, error)

    def _unmount(self, place: Path, *, lazily: bool) -> None:
        """Also what a plane killed meanwhile mounted over it. What is in use stays, unless lazily."""
        for _ in range(LAYERS_MAX):
            if not (layout.is_mounted(place) and self._engine.unmount(place, lazily=lazily)):
                return

    def _idle_unmount(self, organization_id: str) -> None:
        lock = self._locks / organization_id
        with suppress(VolumeUnavailable), self._locked(organization_id):
            if time.time() - lock.stat().st_mtime > self._idle_s:
                self._unmount(self.root / organization_id, lazily=False)

    def _always(self, work: Callable[[], None]) -> None:
        while not self._stopping.wait(self._sweep_s):
            try:
                work()
            except Exception:
                _log.exception("looking after the volumes failed and is tried again in %s s", self._sweep_s)

    def _mounted(self) -> list[str]:
        mounts = layout.mounts_below(self.root)
        return [Path(path).name for path in mounts if Path(path).parent == self.root]

    def _touch(self, organization_id: str) -> None:
        """Note the use for every plane, now and then."""
        now_s = time.monotonic()
        if now_s - self._touched_s.get(organization_id, -TOUCH_S) >= TOUCH_S:
            os.close(_lock_file(self._locks / organization_id))
            os.utime(self._locks / organization_id)
            self._touched_s[organization_id] = now_s

    @contextmanager
    def _locked(self, organization_id: str) -> Iterator[None]:
        """The one who mounts or unmounts this volume, of all threads and planes."""
        descriptor = _lock_file(self._locks / organization_id)
        try:
            from_s = time.monotonic()
            while not _lock_try(descriptor):
                is_remade = self._remake.is_under_way(organization_id)
                if time.monotonic() > from_s + (REMAKE_WAIT_S if is_remade else LOCK_TIMEOUT_S):
                    doing = "made anew under its key" if is_remade else "mounted elsewhere"
                    raise VolumeUnavailable(f"the volume {organization_id} is being {doing}; try again")
                threading.Event().wait(_LOCK_LOOK_S)
            yield
        finally:
            os.close(descriptor)

    def _plain_check(self) -> None:
        """Refuse to hide what is not encrypted."""
        for place in self.root.iterdir():
            if not layout.is_mounted(place):
                _empty_check(place)

    def _share(self) -> None:
        """Let mounts appear, and go, in the view of fork-servers too (mount_namespaces(7))."""
        if not layout.is_shared(self.root):
            if not layout.is_mounted(self.root):
                _mount_call("mount", "--bind", str(self.root), str(self.root))
            _mount_call("mount", "--make-shared", str(self.root))


def volumes_open(data_dir: Path, store: Store, keys: KeyRing, *, encrypted: bool) -> Volumes:
    """The volumes of a data directory. Raises VolumeUnavailable where they cannot be as they should be."""
    passwords = VolumePasswords(store, keys, lambda: time.time_ns() // 1_000, data_dir / "volumes")
    return EncryptedVolumes(data_dir, passwords) if encrypted else PlainVolumes(data_dir, keys)


def _answers(place: Path) -> bool:
    try:
        with _opened(place):
            return True
    except OSError:
        return False


def _empty_check(place: Path) -> None:
    if any(place.iterdir()):
        raise VolumeUnavailable(
            f"{place} holds files that are not encrypted; move them out, start, and write them again "
            f"through the plane; or set {SETTING}"
        )


@contextmanager
def _opened(place: Path) -> Iterator[int]:
    descriptor = layout.directory_open(place)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _lock_try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mount_call(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise VolumeUnavailable(f"{' '.join(argv)} failed ({done.stderr.strip()}); or set {SETTING}")
