"""What the tables are made of. Times are int64 microseconds UTC."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    literal_column,
)
from sqlalchemy.sql.schema import SchemaItem

from kumoi.core import lifecycles

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
LIVE_ATTEMPT = "state <> 'ended'"
DUE_ATTEMPT = "state IN ('placed', 'stopping')"


def in_state(table: Table, state: str) -> ColumnElement[bool]:
    """`state` as a literal: SQLite takes a partial index only when it sees the value in the text."""
    return table.c.state == literal_column(f"'{state}'")


def is_false(column: Column[bool]) -> ColumnElement[Any]:
    """`column` is false, as the partial indexes have it: SQLite compares their text."""
    return literal_column(f"NOT {column.table.name}.{column.name}")


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """A CHECK that the column has one of the values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def state(lifecycle: lifecycles.Lifecycle) -> tuple[SchemaItem, ...]:
    """The state of a row: its column and the CHECK that its lifecycle makes."""
    column = Column("state", String(16), nullable=False, server_default=lifecycle.initial)
    return column, one_of("state", lifecycle.states)


def id_column() -> Column[str]:
    """The identifier of a row."""
    return Column("id", String(40), primary_key=True)


def ref(name: str, target: str, *, nullable: bool = False) -> Column[str]:
    """A reference to a row of another table."""
    return Column(name, String(40), ForeignKey(f"{target}.id"), nullable=nullable)


def us(name: str, *, nullable: bool = False) -> Column[int]:
    """A time in microseconds UTC."""
    return Column(name, BigInteger, nullable=nullable)


def count(name: str, *, nullable: bool = False, default: int | None = None) -> Column[int]:
    """A number that may be large."""
    return Column(
        name, BigInteger, nullable=nullable, server_default=None if default is None else str(default)
    )


def version() -> Column[int]:
    """How often the row changed: its ETag."""
    return Column("version", Integer, nullable=False, server_default="1")


def residency() -> tuple[Column[str], Column[str]]:
    """What binds data to a place; carried by everything that holds a tenant's data."""
    return (
        Column("data_class", String(63), nullable=False, server_default="general"),
        Column("jurisdiction", String(2), nullable=False, server_default="JP"),
    )
