"""What the tests of several rooms stand on: a PostgreSQL server, and a region's rows in a store."""

import faulthandler
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

sys.path.insert(0, str(Path(__file__).parent))

from postgres_server import PostgresServer, place_quick, postgres_lacking
from softhsm import MODULE, SoftTokens

from kumoi.store.database import Store
from kumoi.store.volumes.layout import mounts_below

EXIT_S = 60
SHARED_REGION = "tests/web/"

# How long examples take to draw says what else runs on the machine, nothing about the program.
settings.register_profile("kumoi", deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("kumoi")


class _Scheduling(LoadFileScheduling):
    """Files of tests run beside each other; those that share one region after each other, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return SHARED_REGION if nodeid.startswith(SHARED_REGION) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _Scheduling:
    """How `pytest -n` gives tests to its processes."""
    return _Scheduling(config, log)


def pytest_unconfigure() -> None:
    """A thread that does not end must not keep the tests from ending: tell where it is, and fail."""
    faulthandler.dump_traceback_later(EXIT_S, exit=True, file=sys.__stderr__)


@pytest.fixture(scope="session", autouse=True)
def mounts_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test that was cut short left mounted must not keep pytest from removing its directories."""
    yield
    for path in sorted(mounts_below(tmp_path_factory.getbasetemp()), reverse=True):
        subprocess.run(["umount", "-l", path], check=False, capture_output=True, timeout=30)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL 15 server; skips where it is not installed."""
    lacking = postgres_lacking()
    if lacking is not None:
        pytest.skip(lacking)
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_template(postgres: PostgresServer) -> str:
    """A database with the schema, which others are copied from."""
    name = postgres.database_create()
    Store(postgres.url(name)).close()
    return name


@pytest.fixture
def postgres_url(postgres: PostgresServer, postgres_template: str) -> Iterator[str]:
    """A fresh PostgreSQL database with the schema."""
    name = postgres.database_create(template=postgres_template)
    yield postgres.url(name)
    postgres.database_drop(name)


@pytest.fixture
def postgres_url_empty(postgres: PostgresServer) -> Iterator[str]:
    """A fresh PostgreSQL database without anything in it."""
    name = postgres.database_create()
    yield postgres.url(name)
    postgres.database_drop(name)


@pytest.fixture
def sqlite_url() -> Iterator[str]:
    """Where a SQLite database will be."""
    with tempfile.TemporaryDirectory(prefix="kumoi-sqlite-", dir=place_quick()) as directory:
        yield f"sqlite:///{directory}/kumoi.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database, once of each kind."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url_empty(request: pytest.FixtureRequest) -> str:
    """A database that nothing was written to yet, once of each kind."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url_empty"))


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An open store on each kind of database."""
    opened = Store(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def soft_tokens(tmp_path_factory: pytest.TempPathFactory) -> SoftTokens:
    """Tokens of SoftHSM; skips where it is not installed."""
    if not MODULE.exists():
        pytest.skip("softhsm2 is not installed")
    return SoftTokens(tmp_path_factory.mktemp("softhsm"))
