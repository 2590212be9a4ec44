"""The embedded store's file: unreadable without its key, copied while it is written, its key replaced."""

import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kumoi.store import sqlite
from kumoi.store.database import Store
from kumoi.store.errors import StoreBusy, StoreError
from kumoi.store.sqlite import KEY_NAME, KEY_NEXT_NAME, SqliteFile

CANARY = "canary-in-the-store"
ROWS = 20_000
ROUNDS = 5


@pytest.fixture
def file(tmp_path: Path) -> SqliteFile:
    """A file with a table of some pages, on disk and in the write-ahead log."""
    url = f"sqlite:///{tmp_path / 'kumoi.db'}"
    store = Store(url)
    written(store)
    store.close()
    return SqliteFile.at(url)


def written(store: Store) -> None:
    rows = [{"number": number, "text": CANARY + "x" * 200} for number in range(ROWS)]
    store.transact_wait(None, lambda sql: sql.exec_driver_sql("CREATE TABLE words (number INT, text TEXT)"))
    store.transact_wait(
        None, lambda sql: sql.exec_driver_sql("INSERT INTO words VALUES (:number, :text)", rows)
    )


def count(file: SqliteFile) -> int:
    with file.connected() as connection:
        assert connection.execute("PRAGMA cipher_integrity_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = connection.execute("SELECT count(*) FROM words WHERE text LIKE ?", (CANARY + "%",))
        return int(found.fetchone()[0])


def test_nothing_of_an_open_store_can_be_read_without_its_key(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'kumoi.db'}")
    written(store)
    held = {path.name: path.read_bytes() for path in tmp_path.glob("kumoi.db*")}
    assert len(held["kumoi.db"] + held["kumoi.db-wal"]) > ROWS * 200
    for name, content in held.items():
        assert CANARY.encode() not in content, name
        assert b"CREATE TABLE" not in content, name
    store.close()
    assert (tmp_path / "keys" / KEY_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["lost", "another", "short"])
def test_a_store_is_refused_and_left_alone_without_its_key(file: SqliteFile, damage: str) -> None:
    key = file.path.parent / "keys" / KEY_NAME
    kept = key.read_bytes()
    if damage == "lost":
        key.unlink()
    else:
        key.write_bytes(os.urandom(32) if damage == "another" else kept[:31])
    before = file.path.read_bytes()
    with pytest.raises(ValueError, match="restore"):
        Store(f"sqlite:///{file.path}")
    assert file.path.read_bytes() == before
    assert key.exists() == (damage != "lost"), "no other key is made for a store that is there"
    key.write_bytes(kept)
    Store(f"sqlite:///{file.path}").close()


def test_a_page_that_somebody_changed_is_noticed(file: SqliteFile) -> None:
    damage(file.path)
    with file.connected() as connection:
        assert connection.execute("PRAGMA cipher_integrity_check").fetchall() != []


def damage(path: Path) -> None:
    """Change a bit of a page."""
    with path.open("r+b") as damaged:
        damaged.seek(4096 * 20 + 100)
        byte = damaged.read(1)[0]
        damaged.seek(-1, os.SEEK_CUR)
        damaged.write(bytes([byte ^ 1]))


def test_a_damaged_store_is_neither_copied_nor_encrypted_anew(file: SqliteFile, tmp_path: Path) -> None:
    damage(file.path)
    with pytest.raises(StoreError, match="damaged pages"):
        file.copy(tmp_path / "backup.db")
    assert list(tmp_path.glob("*backup*")) == []
    key = (file.path.parent / "keys" / KEY_NAME).read_bytes()
    with pytest.raises(StoreError, match="damaged pages"):
        file.key_rotate()
    assert (file.path.parent / "keys" / KEY_NAME).read_bytes() == key
    assert file.key() == key


def test_a_plain_file_is_told_apart(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "kumoi.db")) as connection:
        connection.execute("CREATE TABLE words (text TEXT)")
    with pytest.raises(ValueError, match="is not encrypted"):
        Store(f"sqlite:///{tmp_path / 'kumoi.db'}")


def test_a_copy_is_whole_although_the_plane_goes_on_writing(file: SqliteFile, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{file.path}")
    target = tmp_path / "backup.db"
    SqliteFile.at(f"sqlite:///{file.path}").copy(target)
    store.transact_wait(None, lambda sql: sql.exec_driver_sql("DELETE FROM words"))
    copied = SqliteFile(target, file.path.parent / "keys")
    assert count(copied) == ROWS
    assert count(file) == 0
    assert CANARY.encode() not in target.read_bytes()
    with pytest.raises(FileExistsError):
        file.copy(target)
    store.close()


def test_a_new_key_replaces_the_old_one(file: SqliteFile) -> None:
    keys = file.path.parent / "keys"
    old = (keys / KEY_NAME).read_bytes()
    file.key_rotate()
    assert (keys / KEY_NAME).read_bytes() != old
    assert not (keys / KEY_NEXT_NAME).exists()
    assert count(file) == ROWS
    (keys / KEY_NAME).write_bytes(old)
    with pytest.raises(ValueError, match="does not open"):
        file.key()


def test_a_key_is_not_replaced_under_a_plane(file: SqliteFile) -> None:
    store = Store(f"sqlite:///{file.path}")
    with pytest.raises(StoreBusy, match="another plane"):
        file.key_rotate()
    store.close()
    assert count(file) == ROWS


ROTATE = """
import sys
from kumoi.store import sqlite
from kumoi.store.sqlite import SqliteFile
unlock = sqlite._unlock
def unlock_small(connection, key):
    unlock(connection, key)
    connection.execute("PRAGMA cache_size = 20")  # pages reach the file before all of them are in the journal
sqlite._unlock = unlock_small
SqliteFile.at("sqlite:///" + sys.argv[1]).key_rotate()
"""


def test_a_rotation_killed_at_any_moment_loses_nothing(file: SqliteFile) -> None:
    """Killed as its journal grows: page by page the file takes the new key, until the journal is removed."""
    journal = Path(f"{file.path}-journal")
    in_the_middle = 0
    pages = range(0, file.path.stat().st_size, 4096)
    for part in range(ROUNDS):
        before = file.path.read_bytes()
        process = subprocess.Popen([sys.executable, "-c", ROTATE, str(file.path)])
        deadline_s = time.monotonic() + 60
        while size(journal) <= part * file.path.stat().st_size // ROUNDS and process.poll() is None:
            assert time.monotonic() < deadline_s
        process.kill()
        process.wait(60)
        after = file.path.read_bytes()
        changed = sum(before[at : at + 4096] != after[at : at + 4096] for at in pages)
        in_the_middle += size(journal) > 0 and 1 < changed < len(pages)
        Store(f"sqlite:///{file.path}").close()
        assert count(file) == ROWS
    assert in_the_middle > 0


def test_the_old_key_goes_when_the_end_of_the_journal_is_durable(
    file: SqliteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = file.path.parent / "keys"
    old, synced = (keys / KEY_NAME).read_bytes(), []

    def sync(path: Path) -> None:
        synced.append((path, (keys / KEY_NAME).read_bytes() == old, Path(f"{file.path}-journal").exists()))

    monkeypatch.setattr(sqlite, "directory_sync", sync)
    file.key_rotate()
    assert synced == [(file.path.parent, True, False), (keys, False, False)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_nobody_else_replaces_the_key(file: SqliteFile) -> None:
    os.chown(file.path, 65_534, -1)
    with pytest.raises(PermissionError, match="another user"):
        file.key_rotate()
    assert not (file.path.parent / "keys" / KEY_NEXT_NAME).exists()


def test_a_rotation_without_room_leaves_the_old_key(file: SqliteFile) -> None:
    key = file.key()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # SIGXFSZ is ignored by Python, so a write beyond the limit fails, as it does on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (file.path.stat().st_size // 2, limits[1]))
        with pytest.raises(StoreError, match="as it was"):
            file.key_rotate()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert count(file) == ROWS
    assert file.key() == key
    file.key_rotate()
    assert file.key() != key


@pytest.mark.parametrize("done", ["nothing", "rekeyed", "alone"])
def test_a_rotation_killed_between_its_files_is_finished(file: SqliteFile, done: str) -> None:
    keys = file.path.parent / "keys"
    old = (keys / KEY_NAME).read_bytes()
    if done != "nothing":
        file.key_rotate()
        (keys / KEY_NAME).rename(keys / KEY_NEXT_NAME)
        if done == "rekeyed":
            (keys / KEY_NAME).write_bytes(old)
    else:
        (keys / KEY_NEXT_NAME).write_bytes(os.urandom(32))
    assert count(file) == ROWS, "a look changes nothing"
    Store(f"sqlite:///{file.path}").close()
    assert ((keys / KEY_NAME).read_bytes() == old) == (done == "nothing")
    file.key_rotate()
    assert not (keys / KEY_NEXT_NAME).exists()
    assert count(file) == ROWS


def size(path: Path) -> int:
    """Bytes of a file that may not be there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
