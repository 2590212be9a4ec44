"""The keys of a region: made before it is founded, and never again."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kumoi.main import wiring
from kumoi.model.settings import Settings
from kumoi.store.database import Store
from kumoi.store.keys import rotation
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.platform import PlatformKeys

NAMES = ("log", "secrets", "cursors", "store")


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, bytes]]:
    """Start a plane without engines and stop it, as the end of a process does; returns its keys."""
    stores: list[Store] = []

    def store_open(url: str, keys: Path) -> Store:
        stores.append(Store(url, keys=keys))
        return stores[-1]

    monkeypatch.setattr(wiring, "_engines_build", lambda *_: {})
    monkeypatch.setattr(wiring, "Store", store_open)

    def start() -> dict[str, bytes]:
        try:
            plane, _ = wiring.plane_build(Settings(tmp_path, volume_encryption=False))
            plane.files.close()
        finally:
            stores.pop().close()
        return {name: (tmp_path / "keys" / f"{name}.key").read_bytes() for name in NAMES}

    return start


def test_another_key_of_the_platform_is_refused(
    start: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    keys = start()
    (tmp_path / "keys" / "secrets.key").write_bytes(os.urandom(32))
    with pytest.raises(ValueError, match=r"secrets.key is not the key of this region; restore it"):
        start()
    (tmp_path / "keys" / "secrets.key").write_bytes(keys["secrets"])
    assert start() == keys


def test_no_region_is_begun_beside_the_files_of_another(
    start: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    start()
    (tmp_path / "volumes" / "org_1").mkdir(parents=True)
    for part in ("", "-wal", "-shm"):
        (tmp_path / f"kumoi.db{part}").unlink(missing_ok=True)
    token = (tmp_path / "admin.token").read_bytes()
    with pytest.raises(ValueError, match="whose store is not there: restore it"):
        start()
    assert (tmp_path / "admin.token").read_bytes() == token


@pytest.mark.parametrize("name", ["log", "secrets"])
def test_a_lost_key_is_asked_for_and_not_replaced(
    start: Callable[[], dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    keys = start()
    lost = tmp_path / "keys" / f"{name}.key"
    lost.unlink()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"keys/{name}.key is lost.*restore it"):
            start()
        assert not lost.exists()
    lost.write_bytes(keys[name])
    assert start() == keys


def test_a_lost_key_of_cursors_is_made_anew_and_said(
    start: Callable[[], dict[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = start()
    (tmp_path / "keys" / "cursors.key").unlink()
    with caplog.at_level(logging.WARNING):
        again = start()
    assert again["cursors"] != keys["cursors"]
    assert "cursors.key is lost" in caplog.text


def test_a_founding_that_was_cut_short_goes_on_with_its_keys(
    start: Callable[[], dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*_: Any, **__: Any) -> None:
        raise OSError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(wiring, "region_found", cut_short)
        with pytest.raises(OSError, match="the power went"):
            start()
    made = {name: (tmp_path / "keys" / f"{name}.key").read_bytes() for name in NAMES}
    (tmp_path / "keys" / "secrets.key").unlink()
    keys = start()
    assert keys["log"] == made["log"]
    assert start() == keys


def test_a_rotated_key_of_the_platform_starts_a_region_and_a_lost_version_of_it_does_not(
    start: Callable[[], dict[str, bytes]], tmp_path: Path
) -> None:
    start()
    keys = tmp_path / "keys"
    platform = PlatformKeys.read(keys)
    platform.rotate()
    store = Store(f"sqlite:///{tmp_path / 'kumoi.db'}")
    rows = store.read_wait(rotation.wrapped_by, "platform/1")
    wrapped = rotation.versions_wrap(KeyEncryptions(platform), rows, platform.current)
    store.transact_wait(None, rotation.versions_put, wrapped)
    store.close()
    kept = (keys / "secrets.key").read_bytes()
    assert not platform.destroy(1, 0.0)
    assert platform.destroy(1, (keys / "secrets-2.key").stat().st_mtime)
    with pytest.raises(FileNotFoundError):
        start()
    assert not (keys / "secrets.key").exists()
    (keys / "secrets.key").write_bytes(kept)
    (keys / "secrets-2.key").unlink()
    with pytest.raises(ValueError, match=r"secrets-2.key is lost.*restore it"):
        start()


def test_a_plane_without_tokens_loads_nothing_of_them() -> None:
    program = "import sys, kumoi.main.up, kumoi.main.wiring; sys.exit('pkcs11' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
