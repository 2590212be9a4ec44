"""What the store never says."""

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from kumoi.store.database import Store

SECRET = "a tenant's environment"


def test_errors_of_the_database_show_no_parameters(store: Store) -> None:
    def broken(connection: Connection) -> None:
        connection.execute(text("SELECT :secret FROM nowhere"), {"secret": SECRET})

    with pytest.raises(DBAPIError, match="nowhere") as written, store._write_engine.begin() as connection:
        broken(connection)
    with pytest.raises(DBAPIError, match="nowhere") as read, store.connection() as connection:
        broken(connection)
    for failed in (written, read):
        assert SECRET not in str(failed.value)
