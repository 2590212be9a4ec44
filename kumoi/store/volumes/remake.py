"""A volume made anew: another password and another master key, since its organization attached its own key.

Whoever kept the old password from before, which the platform could open, reads nothing written afterwards.

    DATA/volumes/.<organization>.next    the new volume until it is complete
    DATA/volumes/.<organization>.old     the old one while it is destroyed
    DATA/run/remake.<organization>.*     where both are mounted meanwhile, seen by the plane only

The next password is durable before the new volume is made. What decides is the database: from the moment
the next password is the volume's, the new volume is the volume; before, it is nothing.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from kumoi.store.volumes import layout
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.volumes.gocryptfs import CALL_TIMEOUT_S, Gocryptfs
from kumoi.store.volumes.passwords import VolumePasswords

COPY_TIMEOUT_S = 6 * 3_600.0
RESERVE_BYTES = 1 << 30
"""What the disk keeps free while two copies are on it."""
_LOOK_S = 0.1
_SIDES = ("old", "next")
_BLOCK_BYTES = 512


class RemakeStopped(Exception):
    """The key was withdrawn, or the plane stops: the old volume stays as it is."""


class Remake:
    """Makes volumes anew. Whoever calls holds the volume's lock; nothing shows the volume."""

    def __init__(
        self,
        engine: Gocryptfs,
        passwords: VolumePasswords,
        ciphertexts: Path,
        run: Path,
        stopping: threading.Event,
    ) -> None:
        self._engine = engine
        self._passwords = passwords
        self._ciphertexts = ciphertexts
        self._run = run
        self._stopping = stopping

    def is_under_way(self, organization_id: str) -> bool:
        """Whether somebody makes the volume anew, or was killed doing so."""
        return next(self._run.glob(f"remake.{organization_id}.*"), None) is not None

    def left(self) -> Sequence[str]:
        """Organizations of which something is left that is complete or in the way."""
        return [path.name.split(".")[1] for path in self._ciphertexts.glob(".*.*")]

    def settle(self, organization_id: str) -> None:
        """Finish or take away what a plane that was killed left. Raises VolumeUnavailable or KeyFailure."""
        self._clear(organization_id)
        fresh = self._next(organization_id)
        if fresh.exists() and not self._passwords.next_is_kept(organization_id):
            password = self._passwords.find(organization_id)
            if password is None:
                raise VolumeUnavailable(f"the database does not know the password of {fresh}; restore it")
            self._belongs_check(organization_id, fresh, password)
            self._replace(organization_id)
        for left in self._ciphertexts.glob(f".{organization_id}.*"):
            shutil.rmtree(left)

    def make(self, organization_id: str) -> None:
        """Move everything into a new volume that takes the old one's place, after `settle`.

        Raises RemakeStopped, VolumeUnavailable, KeyFailure or OSError; the old volume is whole then.
        """
        old, fresh = self._ciphertexts / organization_id, self._next(organization_id)
        _room_check(old)
        password = self._passwords.find(organization_id)
        if password is None:
            raise VolumeUnavailable(f"the database does not know the password of {old}; restore it")
        next_password = self._passwords.next_make(organization_id)
        try:
            layout.passable_make(fresh)
            self._engine.make(fresh, next_password)
            with self._places(organization_id) as (old_place, next_place):
                self._engine.mount(old, old_place, password, beside_others=False)
                self._engine.mount(fresh, next_place, next_password, beside_others=False)
                self._call(organization_id, "cp", "-a", "--", f"{old_place}/.", str(next_place))
                for place in (old_place, next_place):
                    if not self._engine.unmount(place, lazily=False):
                        raise VolumeUnavailable(f"{place} is in use")
            self._call(organization_id, "sync", "-f", "--", str(self._ciphertexts))
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        self._passwords.next_take(organization_id)
        self._replace(organization_id)

    def _belongs_check(self, organization_id: str, fresh: Path, password: bytes) -> None:
        """Raises VolumeUnavailable where the new volume is not the one that the database knows."""
        try:
            with self._places(organization_id) as (_, place):
                self._engine.mount(fresh, place, password, beside_others=False)
        except VolumeUnavailable as error:
            raise VolumeUnavailable(
                f"{fresh} is not the volume that the database knows ({error}); restore the database that "
                f"belongs to this data directory, or move {fresh.name} away to use {organization_id}"
            ) from error

    def _replace(self, organization_id: str) -> None:
        """Put the new volume where the old one is, which may be gone already, and destroy that."""
        volume, gone = self._ciphertexts / organization_id, self._ciphertexts / f".{organization_id}.old"
        if volume.exists():
            volume.rename(gone)
        self._next(organization_id).rename(volume)
        layout.path_sync(self._ciphertexts)
        if gone.exists():
            shutil.rmtree(gone)

    def _next(self, organization_id: str) -> Path:
        return self._ciphertexts / f".{organization_id}.next"

    @contextmanager
    def _places(self, organization_id: str) -> Iterator[tuple[Path, Path]]:
        """Two mount points that nobody knew before; a copy that outlived its plane does not find them."""
        place = Path(tempfile.mkdtemp(prefix=f"remake.{organization_id}.", dir=self._run))
        try:
            for side in _SIDES:
                (place / side).mkdir(mode=0o700)
            yield place / _SIDES[0], place / _SIDES[1]
        finally:
            self._clear(organization_id)

    def _clear(self, organization_id: str) -> None:
        """Take away mount points, what shows volumes there, and with it whoever copies between them.

        Only empty directories are removed: never what is in a volume.
        """
        for place in self._run.glob(f"remake.{organization_id}.*"):
            for side in (place / name for name in _SIDES):
                self._engine.kill(side)
                if layout.is_mounted(side):
                    self._engine.unmount(side, lazily=True)
                with suppress(FileNotFoundError):
                    side.rmdir()
            place.rmdir()

    def _call(self, organization_id: str, *argv: str) -> None:
        """Run a program of coreutils for as long as the key is held and the plane works. What it says goes
        nowhere: it may name files."""
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        until_s = time.monotonic() + COPY_TIMEOUT_S
        try:
            while process.poll() is None:
                if self._passwords.keys.withdrawn(organization_id) or self._stopping.wait(_LOOK_S):
                    raise RemakeStopped(organization_id)
                if time.monotonic() > until_s:
                    raise VolumeUnavailable(f"{argv[0]} did not end within {COPY_TIMEOUT_S:.0f} s")
        finally:
            process.kill()
            process.wait(CALL_TIMEOUT_S)
        if process.returncode != 0:
            raise VolumeUnavailable(f"{argv[0]} ended with status {process.returncode}")


def _room_check(ciphertext: Path) -> None:
    """Refuse to fill the disk. Raises VolumeUnavailable."""
    size_bytes = 0
    for directory, names, files in os.walk(ciphertext):
        for name in (*names, *files):
            size_bytes += Path(directory, name).lstat().st_blocks * _BLOCK_BYTES
    free_bytes = shutil.disk_usage(ciphertext).free
    if free_bytes < size_bytes + RESERVE_BYTES:
        raise VolumeUnavailable(
            f"{ciphertext} has {size_bytes} bytes, {free_bytes} are free on its disk; "
            f"make room for a copy and {RESERVE_BYTES} bytes more"
        )
