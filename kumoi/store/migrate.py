"""Bring a database to the schema of this version.

Alembic is imported only when there is something to do: a start on a current database does not pay for it.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from kumoi.store.errors import StoreError
from kumoi.store.schema import metadata

HEAD = "0001"
WAIT_S = 600
"""How long a migration may take, and a plane waits for the migration that another one runs."""
_SCRIPTS = Path(__file__).parent / "migrations"
_VERSION_TABLE = (
    "CREATE TABLE alembic_version "
    "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
_ADVISORY_LOCK = 0x6B756D6F69


def migrate(engine: Engine) -> None:
    """Create the schema in an empty database, or run the migrations that are missing.

    Raises StoreError where a later version of the program wrote the database.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            for setting in ("statement_timeout", "lock_timeout"):
                connection.execute(text(f"SET LOCAL {setting} = '{WAIT_S}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        current = _current(connection)
        if current == HEAD:
            _whole_check(connection)
            return
        if current is None:
            _create(connection)
        elif current > HEAD:
            raise StoreError(
                f"the database has the schema {current}, this program knows {HEAD}: start the later version"
            )
        else:
            _upgrade(connection)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _whole_check(connection: Connection) -> None:
    """Before the first release a schema still changes without a new number."""
    lacking = metadata.tables.keys() - set(inspect(connection).get_table_names())
    if lacking:
        raise StoreError(
            f"the database lacks {min(lacking)}: an unreleased version made it; begin with an empty database"
        )


def _create(connection: Connection) -> None:
    """The schema in one step; a test holds it equal to the migrations run one after the other."""
    metadata.create_all(connection)
    connection.execute(text(_VERSION_TABLE))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
