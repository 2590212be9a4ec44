"""Machines of providers, and how the pools that borrow them follow demand."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    literal_column,
    text,
)

from kumoi.core import lifecycles
from kumoi.store.schema.columns import count, id_column, metadata, ref, state, us, version

LIVE_MACHINE = "state NOT IN ('released', 'failed')"

autoscales = Table(
    "autoscales",
    metadata,
    Column("pool_id", String(40), ForeignKey("pools.id"), primary_key=True),
    Column("provider", String(63), nullable=False),
    Column("settings", Text, nullable=False),
    # What the last decision was made on, and what it left for the next one.
    Column("state", LargeBinary, nullable=True),
    Column("inputs", LargeBinary, nullable=True),
    Column("digest", String(64), nullable=False, server_default=""),
    Column("reason", String(32), nullable=False, server_default="steady"),
    Column("figures", Text, nullable=False, server_default="{}"),
    count("needed", default=0),
    us("decided_us", nullable=True),
    # Machines in a row that came to nothing, why, and when the next may be asked for.
    Column("failures", Integer, nullable=False, server_default="0"),
    us("retry_us", nullable=True),
    Column("detail", String(400), nullable=False, server_default=""),
    us("updated_us"),
    version(),
    CheckConstraint("needed >= 0 AND failures >= 0", name="amounts"),
)

machines = Table(
    "machines",
    metadata,
    id_column(),
    ref("pool_id", "pools"),
    Column("name", String(63), nullable=False, unique=True),
    Column("provider", String(63), nullable=False),
    # What its provider needs to make it again, as it was when it was asked for.
    Column("settings", Text, nullable=False),
    Column("provider_ref", String(200), nullable=False, server_default=""),
    *state(lifecycles.MACHINE),
    Column("detail", String(400), nullable=False, server_default=""),
    ref("host_id", "hosts", nullable=True),
    count("host_hour_microyen"),
    us("requested_us"),
    us("ready_us", nullable=True),
    us("ended_us", nullable=True),
    version(),
    Index(None, "pool_id", "id"),
    Index("ix_machines_live", "id", sqlite_where=text(LIVE_MACHINE), postgresql_where=text(LIVE_MACHINE)),
    CheckConstraint("host_hour_microyen >= 0", name="price"),
    CheckConstraint("state <> 'ready' OR (host_id IS NOT NULL AND ready_us IS NOT NULL)", name="ready"),
    CheckConstraint("(state IN ('released', 'failed')) = (ended_us IS NOT NULL)", name="ended"),
)


def machine_is_live() -> ColumnElement[bool]:
    """A machine that is paid for, as the partial index has it."""
    return literal_column(f"machines.{LIVE_MACHINE}", Boolean)
