"""SQLite, the embedded store: one file, held by exactly one plane, encrypted page by page by SQLCipher.

The whole file, since names of tenants' things stand in many places of it: rows, events, remembered answers.
Pages: AES-256-CBC, authenticated by HMAC-SHA-256 (https://www.zetetic.net/sqlcipher/design/).
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlcipher3 import dbapi2  # type: ignore[import-untyped]

from kumoi.store.errors import StoreBusy, StoreError
from kumoi.store.keys.platform import directory_sync, key_file_ensure, key_file_read

if TYPE_CHECKING:
    import sqlite3

BUSY_TIMEOUT_S = 30
RESIDUE_S = 2.0
KEY_NAME = "store.key"
KEY_NEXT_NAME = "store-next.key"
"""What a rotation makes first. Whichever of the two opens the file is its key."""

_PLAIN = b"SQLite format 3\0"
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-8192",
    "temp_store=MEMORY",
    # What is replaced is overwritten: a wrapped key is replaced to be gone.
    "secure_delete=FAST",
    # Fewer, larger checkpoints: each writes a page once, however often it changed.
    "wal_autocheckpoint=4000",
)
"""What a plane sets on each of its connections."""


class SqliteFile:
    """The file at `path`, and the directory where its key is."""

    def __init__(self, path: Path, keys: Path) -> None:
        self.path = path
        self.key_path = keys / KEY_NAME
        self._keys = keys

    @classmethod
    def at(cls, url: str | URL, keys: Path | None = None) -> "SqliteFile":
        """The file of this URL; without `keys` its key is in a directory of that name beside it.

        Raises ValueError where it names none.
        """
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            raise ValueError(f"{parsed!s} is no file of SQLite: use the tools of that database")
        if parsed.database in (None, "", ":memory:"):
            raise ValueError("an in-memory database loses everything at exit: name a file, sqlite:///PATH")
        path = Path(str(parsed.database))
        return cls(path, keys or path.parent / "keys")

    def hold(self, lock_dir: Path | None = None) -> "HeldFile":
        """The file, for this process alone; it and its key are made where there are none.

        Raises StoreBusy where another plane holds it, ValueError as `key`.
        """
        lock = self._lock(lock_dir or self.path.parent)
        try:
            return HeldFile(self.path, self._key_ensure(), lock)
        except BaseException:
            os.close(lock)
            raise

    def key(self) -> bytes:
        """The key that opens the file.

        Raises ValueError where there is no file, where the key is lost, or where it does not fit.
        """
        current, following = self.key_path, self._keys / KEY_NEXT_NAME
        if not self.path.exists():
            raise ValueError(f"{self.path} does not exist: no region began there")
        if _is_plain(self.path):
            raise ValueError(f"{self.path} is not encrypted, so it is no store of this version")
        # The current one first: whoever opens the file finishes or undoes what a killed rotation began.
        for path in [path for path in (current, following) if path.exists()] or [current]:
            key = key_file_read(path)
            if _opens(self.path, key):
                return key
        raise ValueError(
            f"{self.path} does not open with {current}; restore the two from one backup, with no "
            f"{self.path.name}-wal, -shm or -journal of another moment beside them"
        )

    def key_rotate(self) -> None:
        """Encrypt the file anew under a new key; killed at any moment, one of the two keys opens it.

        It needs as much room as the file has. Raises as `hold` and `key`, for no plane may run meanwhile;
        PermissionError for another user than the file's, and StoreError where the file stays as it was.
        """
        self.key()
        if self.path.stat().st_uid != os.geteuid():
            raise PermissionError(f"{self.path} belongs to another user; run this as that user")
        with closing(self.hold()) as held:
            with _connected(self.path, held.key) as connection:
                _whole_check(self.path, connection)
                following = key_file_ensure(self._keys / KEY_NEXT_NAME)
                # Frames of a write-ahead log would keep the old key.
                connection.execute("PRAGMA journal_mode=DELETE").fetchall()
                try:
                    connection.execute(f"PRAGMA rekey = {_key_text(following)}").fetchall()
                except dbapi2.DatabaseError as error:
                    raise StoreError(
                        f"{self.path} is as it was, with its old key; is there as much free disk as it has?"
                    ) from error
            self._key_replace()

    def copy(self, target: Path) -> None:
        """Write a copy as of now to `target`, durably, under the same key; the plane may go on writing.

        Raises FileExistsError where `target` exists, FileNotFoundError without its directory, StoreError
        where the file is damaged, ValueError as `key`. Killed before its end it leaves no `target`.
        """
        if target.exists():
            raise FileExistsError(f"{target} exists: name a file that does not")
        if not target.parent.is_dir():
            raise FileNotFoundError(f"there is no directory {target.parent}")
        key = self.key()
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as place:
            draft = Path(place, "copy")
            draft.touch(mode=0o600)
            with _connected(self.path, key) as source, _connected(draft, key) as copied:
                # A damaged page would be copied as it is read, and then bear a code that is right.
                _whole_check(self.path, source)
                source.backup(copied)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.link(draft, target)
        directory_sync(target.parent)

    @contextmanager
    def connected(self) -> Iterator["sqlite3.Connection"]:
        """A connection to look into the file, beside the plane that holds it."""
        with _connected(self.path, self.key()) as connection:
            yield connection

    def _key_ensure(self) -> bytes:
        if not self.path.exists():
            self._keys.mkdir(mode=0o700, exist_ok=True)
            directory_sync(self._keys.parent)
            return key_file_ensure(self.key_path)
        key = self.key()
        if not self.key_path.exists() or key_file_read(self.key_path) != key:
            self._key_replace()
        return key

    def _key_replace(self) -> None:
        """Forget the old key; that the file does not need it any more is durable first.

        A journal that comes back after a power failure would bring the pages of the old key back.
        """
        directory_sync(self.path.parent)
        (self._keys / KEY_NEXT_NAME).rename(self.key_path)
        directory_sync(self._keys)

    def _lock(self, directory: Path) -> int:
        path = directory / f"{self.path.name}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreBusy(
                f"cannot open {self.path}: another plane holds {path}; "
                "stop that one first, or use PostgreSQL for several planes"
            ) from None
        return descriptor


class HeldFile:
    """The file with its key, as long as its lock is held."""

    def __init__(self, path: Path, key: bytes, lock: int) -> None:
        self.path = path
        self.key = key
        self._lock = lock

    def engine(self, *, pool_size: int, read_only: bool) -> Engine:
        """An engine whose transactions are snapshots, or hold the only write lock from their beginning."""
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)),
            module=dbapi2,
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=0,
            paramstyle="named",
            connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
        )
        event.listen(engine, "connect", self._prepare)
        event.listen(engine, "begin", _begin_read if read_only else _begin_write)
        return engine

    def residue_clear(self) -> None:
        """Have the write-ahead log overwritten by the file: what was replaced stands in neither any more."""
        with _connected(self.path, self.key, RESIDUE_S) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Let another process have the file."""
        os.close(self._lock)

    def _prepare(self, connection: "sqlite3.Connection", _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN comes too late for a snapshot
        _unlock(connection, self.key)
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")


def _key_text(key: bytes) -> str:
    """`key` as SQLCipher takes one that is random already: no derivation from a password."""
    return f"\"x'{key.hex()}'\""


def _unlock(connection: "sqlite3.Connection", key: bytes) -> None:
    # A key that does not fit is told by the caller, not by SQLCipher on standard error.
    connection.execute("PRAGMA cipher_log = 'off'")
    connection.execute(f"PRAGMA key = {_key_text(key)}")
    connection.execute("PRAGMA cipher_compatibility = 4")
    # Processors hash SHA-256 in hardware: a commit costs half as much more as with SHA-512, the default.
    connection.execute("PRAGMA cipher_hmac_algorithm = HMAC_SHA256")


@contextmanager
def _connected(path: Path, key: bytes, timeout_s: float = BUSY_TIMEOUT_S) -> Iterator["sqlite3.Connection"]:
    """A connection to a file that exists. Raises StoreBusy where SQLite cannot go on, within it too."""
    try:
        connection = dbapi2.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None
        )
        with closing(connection):
            _unlock(connection, key)
            yield connection
    except dbapi2.OperationalError as error:
        raise StoreBusy(f"{path} did not answer: {error}") from error


def _is_plain(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PLAIN)) == _PLAIN


def _whole_check(path: Path, connection: "sqlite3.Connection") -> None:
    """Raise StoreError unless every page is what was written."""
    # A checkpoint under way may be met once, hardly three times.
    if all(connection.execute("PRAGMA cipher_integrity_check").fetchall() for _ in range(3)):
        raise StoreError(f"{path} has damaged pages: restore an earlier backup")


def _opens(path: Path, key: bytes) -> bool:
    try:
        with _connected(path, key) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except dbapi2.DatabaseError:
        return False
    return True


def _begin_read(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_write(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
