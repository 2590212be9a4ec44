"""Connections: SQLite (embedded) or PostgreSQL, one writer thread and a few readers.

SQLite runs in WAL mode with synchronous=FULL, encrypted, held by exactly one plane (kumoi.store.sqlite);
PostgreSQL with synchronous_commit=on may be shared by several planes.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError

from kumoi.model.errors import Unavailable
from kumoi.store.errors import StoreBusy
from kumoi.store.migrate import migrate
from kumoi.store.sqlite import BUSY_TIMEOUT_S, SqliteFile
from kumoi.store.writer import Change, Fence, Writer, Written

__all__ = ["Connection", "Store", "database_now_us"]

READERS = 4
LOCK_TIMEOUT_S = 5
IDLE_IN_TRANSACTION_S = 10
"""After this long the server ends the transaction of a plane that was frozen in the middle of it: its locks,
those on its leases among them, must not keep the other planes waiting."""
P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """The only door to the database. Reads run on snapshots, writes through the writer."""

    def __init__(self, url: str, *, keys: Path | None = None, lock_dir: Path | None = None) -> None:
        """`keys` is where a SQLite file's key is, `lock_dir` where its lock; else both are beside the file.

        Raises StoreBusy where another plane holds it, ValueError where its key is lost or does not fit.
        """
        self.url = _driver_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._file = SqliteFile.at(self.url, keys).hold(lock_dir) if self.is_sqlite else None
        self._write_engine = self._engine_create(pool_size=1)
        try:
            migrate(self._write_engine)
        except BaseException:
            self._let_go()
            raise
        self._read_engine = self._engine_create(pool_size=READERS + 8, read_only=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._writer = Writer(self._write_engine)

    async def commit(self, change: Change) -> Written:
        """Write `change` durably, together with whatever else waits; answers when it is on disk."""
        return await self._writer.submit(change)

    def commit_wait(self, change: Change) -> Written:
        """`commit` for threads."""
        return self._writer.submit_wait(change)

    async def transact(
        self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `work` in a transaction of its own on the writer's connection, for what must read to write."""
        return await self._writer.transact(lambda connection: work(connection, *args, **kwargs))

    def transact_wait(
        self,
        fence: Fence | None,
        work: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """`transact` for threads; `fence` is checked inside the transaction."""
        return self._writer.transact_wait(lambda connection: work(connection, *args, **kwargs), fence)

    async def read(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `query` on a reader thread, for requests. Raises Unavailable if the database is away."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, lambda: self.read_wait(query, *args, **kwargs))
        except StoreBusy as error:
            raise Unavailable(
                "store_busy", "the store is busy; send the same request again in a few seconds"
            ) from error

    def read_wait(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `query` here and now. Raises StoreBusy where the database does not answer."""
        try:
            with self.connection() as connection:
                return query(connection, *args, **kwargs)
        except OperationalError as error:
            raise StoreBusy(f"the database did not answer: {error.orig}") from error

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A read connection in one transaction."""
        with self._read_engine.connect() as connection:
            yield connection

    def residue_clear(self) -> None:
        """Have SQLite's log overwritten by the database: what was replaced stands in neither any more.

        Others may keep it from that for the moment; what is replaced later will not. PostgreSQL does it by
        VACUUM and by letting go of old WAL, which are its operator's.
        """
        if self._file is not None:
            self._file.residue_clear()

    def close(self) -> None:
        """Write what is queued and let go of the database."""
        self._writer.close()
        self._readers.shutdown()
        self._read_engine.dispose()
        self._let_go()

    def _let_go(self) -> None:
        self._write_engine.dispose()
        if self._file is not None:
            self._file.close()

    def _engine_create(self, *, pool_size: int, read_only: bool = False) -> Engine:
        """An engine whose errors show no parameters: hashes of tokens are among them."""
        if self._file is not None:
            return self._file.engine(pool_size=pool_size, read_only=read_only)
        return create_engine(
            self.url,
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,
            isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
            connect_args=_postgres_arguments(),
        )


def _driver_url(url: str) -> URL:
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(f"cannot open the database {parsed!s}: use sqlite:///PATH or postgresql://HOST/NAME")
    return parsed


def _postgres_arguments() -> dict[str, object]:
    """How long anything may take, on the server's side and when nothing is heard of the server any more."""
    settings = {
        "statement_timeout": int(BUSY_TIMEOUT_S * 1_000),
        "lock_timeout": int(LOCK_TIMEOUT_S * 1_000),
        "idle_in_transaction_session_timeout": int(IDLE_IN_TRANSACTION_S * 1_000),
        "synchronous_commit": "on",
    }
    return {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int(BUSY_TIMEOUT_S * 1_000),
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }


def database_now_us(connection: Connection) -> int:
    """The database's clock, which leases are measured by. Microseconds UTC."""
    if connection.dialect.name == "sqlite":
        statement = "SELECT CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"
    else:
        statement = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    return int(connection.execute(text(statement)).scalar_one())
