"""A real PostgreSQL for the tests: a server of its own in a temporary directory, a database per test."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

BIN = Path("/usr/lib/postgresql/15/bin")
START_S = 30.0
STOP_S = 30.0
MEMORY_BYTES = 1 << 30
_UNPRIVILEGED = ("postgres", "nobody")


class PostgresServer:
    """Listens on a unix socket only. As root it runs as another user: PostgreSQL refuses to be root."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="kumoi-postgres-", dir=place_quick()))
        self._identity = _identity()
        self._databases = 0
        if self._identity:
            os.chown(self.directory, self._identity["user"], self._identity["group"])
        data = self.directory / "data"
        self._run("initdb", "-D", str(data), "-U", "kumoi", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        # fsync stays on: what is acknowledged is on disk, in the tests too.
        settings = ("listen_addresses=", "shared_buffers=32MB", "max_connections=60", "max_wal_size=128MB")
        command = [BIN / "postgres", "-D", data, "-k", self.directory, *(f"--{name}" for name in settings)]
        with (self.directory / "server.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._identity)
        self._await_ready()

    def url(self, database: str) -> str:
        """The address of a database for the store."""
        return f"postgresql://kumoi@/{database}?host={self.directory}"

    def database_create(self, *, template: str = "template1") -> str:
        """A fresh database; its name."""
        self._databases += 1
        name = f"test_{self._databases}"
        with self._connect() as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def database_drop(self, name: str) -> None:
        """Drop a database, whoever still uses it."""
        with self._connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def stop(self) -> None:
        """End the server and remove what it kept."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _connect(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host=str(self.directory), user="kumoi", dbname="postgres", autocommit=True, connect_timeout=5
        )

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(BIN / program), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=START_S, check=False, **self._identity
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr}")

    def _await_ready(self) -> None:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                self._connect().close()
                return
            time.sleep(0.02)
        log = (self.directory / "server.log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"PostgreSQL did not start:\n{log}")


def postgres_lacking() -> str | None:
    """Why there can be no server here; None if there can."""
    if not (BIN / "initdb").exists():
        return f"PostgreSQL 15 is not installed: there is no {BIN}/initdb (Debian: postgresql-15)"
    if os.geteuid() == 0 and not _accounts():
        return f"PostgreSQL refuses to run as root, and none of the users {_UNPRIVILEGED} exists"
    return None


def place_quick() -> str | None:
    """Memory where there is enough of it, else None.

    Tests kill processes and never the machine, so durable commits may go to memory: all is synchronized as
    in earnest, and it takes no time.
    """
    memory = Path("/dev/shm")
    enough = memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_BYTES
    return str(memory) if enough else None


def _accounts() -> list[pwd.struct_passwd]:
    return [account for account in pwd.getpwall() if account.pw_name in _UNPRIVILEGED]


def _identity() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    account = min(_accounts(), key=lambda account: _UNPRIVILEGED.index(account.pw_name))
    return {"user": account.pw_uid, "group": account.pw_gid}
