"""`kumoi store` on a real region: a backup begins it again elsewhere, and its key is replaced."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from witnessed_region import Plane

from kumoi.client import Kumoi


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    found = Plane(tmp_path / "data", os.urandom(32))
    yield found
    found.end()


def test_a_backup_of_a_running_region_begins_it_again(plane: Plane, tmp_path: Path) -> None:
    token = plane.tenant()
    backup, again = tmp_path / "backup.db", tmp_path / "again"
    taken = plane.kumoi("store", "backup", str(backup), "--data-dir", str(plane.data_dir))
    assert taken.returncode == 0, taken.stderr
    assert str(backup) in taken.stdout
    assert b"acme" not in backup.read_bytes()
    with Kumoi(plane.url, token) as client:
        client.projects.create(client.whoami().organization, "after-the-backup")
    plane.end()
    shutil.copytree(plane.data_dir / "keys", again / "keys")
    shutil.copy(backup, again / "kumoi.db")
    plane.data_dir = again
    plane.start()
    with Kumoi(plane.url, token) as client:
        me = client.whoami()
        assert list(client.projects.list(me.organization)) == []
    second = str(tmp_path / "second.db")
    asked = plane.kumoi("store", "backup", second, "--data-dir", str(again), "--json", token=token)
    assert json.loads(asked.stdout) == {"file": second, "key": str(again / "keys" / "store.key")}
    twice = plane.kumoi("store", "backup", str(backup), "--data-dir", str(again), token=token)
    assert twice.returncode != 0
    assert "exists" in twice.stderr


def test_the_key_is_replaced_while_no_plane_runs(plane: Plane) -> None:
    token = plane.tenant()
    key = plane.data_dir / "keys" / "store.key"
    old = key.read_bytes()
    words = ("store", "rotate-key", "--data-dir", str(plane.data_dir))
    refused = plane.kumoi(*words)
    assert refused.returncode != 0
    assert "another plane holds" in refused.stderr
    assert key.read_bytes() == old
    plane.end()
    assert plane.kumoi(*words).returncode == 0
    assert key.read_bytes() != old
    plane.start()
    with Kumoi(plane.url, token) as client:
        assert client.whoami().organization


def test_what_has_no_store_is_told(plane: Plane, tmp_path: Path) -> None:
    for words in (("backup", str(tmp_path / "b.db")), ("rotate-key",)):
        ran = plane.kumoi("store", *words, "--data-dir", str(tmp_path / "nowhere"))
        assert ran.returncode != 0
        assert "no region began there" in ran.stderr
        assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "b.db").exists()
    (plane.data_dir / "kumoi.toml").write_text('database = "postgresql://localhost/kumoi"')
    ran = plane.kumoi("store", "backup", str(tmp_path / "b.db"), "--data-dir", str(plane.data_dir))
    assert "tools of that database" in ran.stderr
