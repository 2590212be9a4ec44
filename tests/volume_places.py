"""Real volumes below a directory, with passwords that a test keeps in memory: `with volumes_of(tmp_path)`."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kumoi.store.keys.errors import KeyWithdrawn
from kumoi.store.volumes import layout
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.store.volumes.gocryptfs import Gocryptfs
from kumoi.store.volumes.mounts import EncryptedVolumes, PlainVolumes, Volumes

CAN_ENCRYPT = shutil.which("gocryptfs") is not None and os.access("/dev/fuse", os.R_OK | os.W_OK)
"""Whether this machine can mount an encrypted volume."""
KEPT: dict[Path, dict[str, bytes]] = {}
"""Passwords by data directory: what a database would keep."""


class Passwords:
    """`VolumePasswords` without a database: `withdraw` and `restore` are what the key ring tells."""

    def __init__(self, kept: dict[str, bytes]) -> None:
        self.kept = kept
        self.keys = self
        self.gone: set[str] = set()
        self.at_work: set[str] = set()
        self.old: set[str] = set()
        self.coming: dict[str, bytes] = {}
        self._notices: list[Callable[[str], None]] = []

    def on_withdraw(self, notice: Callable[[str], None]) -> None:
        self._notices.append(notice)

    def withdraw(self, organization_id: str) -> None:
        self.gone.add(organization_id)
        for notice in self._notices:
            notice(organization_id)

    def restore(self, organization_id: str) -> None:
        self.gone.discard(organization_id)

    def withdrawn(self, organization_id: str) -> bool:
        return organization_id in self.gone

    def key_check(self, organization_id: str) -> None:
        if organization_id in self.gone:
            raise KeyWithdrawn(organization_id, "a test")

    def find(self, organization_id: str) -> bytes | None:
        self.key_check(organization_id)
        return self.kept.get(organization_id)

    def make(self, organization_id: str) -> bytes:
        return self.kept.setdefault(organization_id, os.urandom(32).hex().encode())

    def outdated(self) -> list[str]:
        return sorted(self.old)

    def next_make(self, organization_id: str) -> bytes:
        self.coming[organization_id] = os.urandom(32).hex().encode()
        return self.coming[organization_id]

    def next_is_kept(self, organization_id: str) -> bool:
        return organization_id in self.coming

    def next_take(self, organization_id: str) -> None:
        self.kept[organization_id] = self.coming.pop(organization_id)
        self.old.discard(organization_id)

    def has_work(self, organization_id: str) -> bool:
        return organization_id in self.at_work


def gocryptfs_or_skip(make: Callable[[], Any]) -> Any:
    """What `make` makes, or a skip that says what this machine lacks."""
    if not CAN_ENCRYPT:
        pytest.skip("no FUSE here (apt-get install gocryptfs fuse3; /dev/fuse)")
    return make()


@contextmanager
def volumes_of(
    data_dir: Path, *, encrypted: bool = True, passwords: Passwords | None = None, **options: Any
) -> Iterator[Volumes]:
    """Volumes below `data_dir`; at the end nothing of them is mounted or runs."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not encrypted:
        yield PlainVolumes(data_dir)
        return
    given: Any = passwords or Passwords(KEPT.setdefault(data_dir, {}))
    volumes: EncryptedVolumes = gocryptfs_or_skip(lambda: EncryptedVolumes(data_dir, given, **options))
    try:
        yield volumes
    finally:
        volumes.close()
        volumes_end(data_dir)


def volumes_end(data_dir: Path) -> None:
    """Take away by force what is left of the volumes of a data directory."""
    for _ in range(100):
        left = sorted(layout.mounts_below(data_dir), reverse=True)
        if not left:
            break
        for path in left:
            subprocess.run(["umount", "-l", path], check=False, capture_output=True, timeout=30)
    try:
        engine = Gocryptfs()
    except VolumeUnavailable:
        return
    for place in (data_dir / "volumes").glob("*"):
        engine.kill(place)
