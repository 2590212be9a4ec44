"""Head equals metadata: the frozen migrations lead to what a new database gets in one step."""

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from region_rows import RegionRows
from sqlalchemy import Connection, create_engine, inspect, text

import kumoi.store.migrate
from kumoi.store.database import Store
from kumoi.store.errors import StoreError
from kumoi.store.migrate import HEAD
from kumoi.store.schema import metadata
from kumoi.store.sqlite import SqliteFile

SCRIPTS = Path(kumoi.store.migrate.__file__).parent / "migrations"
EXPRESSION_INDEXES = ("ix_jobs_pending", "ix_tasks_queue", "ix_tasks_turn")
POSTGRES_CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2""",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
}


def connect(url: str) -> Any:
    if url.startswith("sqlite"):
        with closing(SqliteFile.at(url).hold()) as held:
            return held.engine(pool_size=1, read_only=False)
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def upgraded(url: str) -> None:
    """Run every migration, one after the other, on an empty database."""
    engine = connect(url)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


def catalogue(connection: Connection) -> dict[str, Any]:
    """What the database itself says about its schema, without the order of columns."""
    if connection.dialect.name == "postgresql":
        return {
            name: [tuple(row) for row in connection.execute(text(query))]
            for name, query in POSTGRES_CATALOGUE.items()
        }
    inspector = inspect(connection)
    found: dict[str, Any] = {}
    for table in sorted(inspector.get_table_names()):
        columns = connection.exec_driver_sql(f"PRAGMA table_info({table})").all()
        foreign = connection.exec_driver_sql(f"PRAGMA foreign_key_list({table})").all()
        found[table] = {
            "columns": sorted(tuple(row)[1:] for row in columns),
            "foreign": sorted(tuple(map(str, row))[2:] for row in foreign),
            "checks": sorted((c["name"], c["sqltext"]) for c in inspector.get_check_constraints(table)),
            "unique": sorted((c["name"], c["column_names"]) for c in inspector.get_unique_constraints(table)),
        }
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    found["indexes"] = [tuple(row) for row in connection.exec_driver_sql(query)]
    return found


def catalogue_of(url: str) -> dict[str, Any]:
    engine = connect(url)
    with engine.connect() as connection:
        found = catalogue(connection)
    engine.dispose()
    return found


def test_the_migrations_lead_to_the_schema(database_url_empty: str) -> None:
    upgraded(database_url_empty)
    engine = connect(database_url_empty)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        if connection.dialect.name == "sqlite":
            # Alembic cannot read the expressions of SQLite's indexes; the catalogues below show them.
            differences = [one for one in differences if one[1].name not in EXPRESSION_INDEXES]
        assert differences == []
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == HEAD
    engine.dispose()


def test_the_migrations_lead_to_what_a_new_database_gets_on_sqlite(tmp_path: Path) -> None:
    stepwise, at_once = f"sqlite:///{tmp_path / 'stepwise.db'}", f"sqlite:///{tmp_path / 'at_once.db'}"
    upgraded(stepwise)
    Store(at_once).close()
    assert catalogue_of(stepwise) == catalogue_of(at_once)


def test_the_migrations_lead_to_what_a_new_database_gets_on_postgresql(
    postgres_url: str, postgres_url_empty: str
) -> None:
    upgraded(postgres_url_empty)
    assert catalogue_of(postgres_url_empty) == catalogue_of(postgres_url)


def test_the_catalogue_shows_what_the_comparison_must_see(database_url_empty: str) -> None:
    Store(database_url_empty).close()
    whole = str(catalogue_of(database_url_empty))
    for part in ("ck_attempts_ended_outcome", "uq_attempts_live_task", "priority DESC", "'cancelling'"):
        assert part in whole


def test_a_database_of_the_migrations_opens_as_a_store(database_url_empty: str) -> None:
    upgraded(database_url_empty)
    store = Store(database_url_empty)
    assert (
        store.read_wait(lambda connection: connection.execute(metadata.tables["jobs"].select()).all()) == []
    )
    store.close()


NEXT = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "9998", "{head}"


def upgrade():
    op.add_column("sites", sa.Column("added", sa.String(8), nullable=False, server_default="later"))
"""


def test_an_older_database_is_upgraded_in_place(
    database_url_empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(database_url_empty)
    region = RegionRows(store)
    store.close()
    shutil.copytree(SCRIPTS, tmp_path / "migrations")
    (tmp_path / "migrations" / "versions" / "9998_next.py").write_text(NEXT.format(head=HEAD))
    monkeypatch.setattr(kumoi.store.migrate, "HEAD", "9998")
    monkeypatch.setattr(kumoi.store.migrate, "_SCRIPTS", tmp_path / "migrations")
    for _ in range(2):
        Store(database_url_empty).close()
        engine = connect(database_url_empty)
        with engine.connect() as connection:
            found = connection.execute(text("SELECT id, added FROM sites")).all()
            assert [tuple(row) for row in found] == [(region.site, "later")]
        engine.dispose()


def test_a_database_of_a_later_program_is_refused_and_left_alone(database_url_empty: str) -> None:
    Store(database_url_empty).close()
    engine = connect(database_url_empty)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="start the later version"):
        Store(database_url_empty)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    engine.dispose()


def test_a_current_database_opens_without_alembic(database_url: str) -> None:
    Store(database_url).close()
    program = (
        "import sys; from kumoi.store.database import Store; Store(sys.argv[1]).close();"
        "assert 'sqlalchemy' in sys.modules; assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, database_url], check=True, timeout=60)


def test_planes_that_start_at_once_migrate_once(postgres_url_empty: str) -> None:
    program = (
        "import sys; from kumoi.store.database import Store; print('ready', flush=True);"
        "sys.stdin.readline(); Store(sys.argv[1]).close()"
    )
    planes = [
        subprocess.Popen(
            [sys.executable, "-c", program, postgres_url_empty], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for plane in planes:
        assert plane.stdout is not None
        assert plane.stdout.readline() == b"ready\n"
    for plane in planes:
        assert plane.stdin is not None
        plane.stdin.write(b"go\n")
        plane.stdin.flush()
    for plane in planes:
        plane.communicate(timeout=60)
    assert [plane.returncode for plane in planes] == [0, 0, 0]
    engine = connect(postgres_url_empty)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [HEAD]
    engine.dispose()
