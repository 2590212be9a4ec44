"""Row locks, in one order for all, so that no two transactions wait for each other.

Hosts, jobs, tasks, attempts, devices, organizations, quotas, budgets; rows of one table by their keys. Tasks
change only under the lock of their job, so whoever has that may take attempts before tasks. Rows that many
statements or one with many rows will change are locked first, here or by a read in order. Rows that refer to
a locked one may be written meanwhile. SQLite has one writer and no row locks.
"""

from sqlalchemy import ColumnElement, Connection, Table, select


def rows_lock(connection: Connection, table: Table, *where: ColumnElement[bool], alone: bool = True) -> None:
    """Lock rows by id until the transaction ends, `alone` or with others that only keep them as they are."""
    if connection.dialect.name == "sqlite":
        return
    statement = select(table.c.id).where(*where).order_by(table.c.id)
    connection.execute(statement.with_for_update(read=not alone, key_share=alone)).all()
