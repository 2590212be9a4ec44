"""Services, their revisions and replicas, which requests come to them, and the autoscaler's decisions."""

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
    UniqueConstraint,
    literal_column,
    text,
)

from kumoi.core import lifecycles
from kumoi.store.schema.columns import count, id_column, metadata, ref, residency, state, us, version
from kumoi.store.schema.keys import sealed_columns, sealed_with

_LIVE_SERVICE = "state <> 'deleted'"
_LIVE_REPLICA = "state <> 'ended'"

services = Table(
    "services",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    ref("project_id", "projects"),
    ref("pool_id", "pools"),
    Column("name", String(63), nullable=False),
    # Without what is sealed of it.
    Column("spec", Text, nullable=False),
    *sealed_columns(),
    *state(lifecycles.SERVICE),
    # What people asked for, counted (it is the ETag), and how much of that the loop has seen.
    Column("generation", Integer, nullable=False, server_default="1"),
    Column("observed_generation", Integer, nullable=False, server_default="0"),
    # The revision that serves, and the one that takes over; 0 where there is none.
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("target", Integer, nullable=False, server_default="0"),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    # Replicas in a row that came to nothing, and when the next may be asked for.
    Column("failures", Integer, nullable=False, server_default="0"),
    us("retry_us", nullable=True),
    Column("wanted", Integer, nullable=False, server_default="0"),
    # The autoscaler's memory between two decisions.
    Column("scaler", LargeBinary, nullable=True),
    us("scaler_at_us", nullable=True),
    Column("conditions", Text, nullable=False, server_default="[]"),
    *residency(),
    us("created_us"),
    ref("created_by", "principals"),
    us("deleted_us", nullable=True),
    version(),
    Index(
        "uq_services_name",
        "project_id",
        "name",
        unique=True,
        sqlite_where=text(_LIVE_SERVICE),
        postgresql_where=text(_LIVE_SERVICE),
    ),
    Index(None, "project_id", "id"),
    sealed_with("services"),
    Index(None, "organization_id", "key_version", "id"),
    Index(
        "ix_services_live",
        "id",
        sqlite_where=text(_LIVE_SERVICE),
        postgresql_where=text(_LIVE_SERVICE),
    ),
    CheckConstraint("observed_generation BETWEEN 0 AND generation", name="generation"),
    CheckConstraint("revision >= 0 AND target >= 0", name="revision"),
    CheckConstraint("wanted >= 0 AND failures >= 0", name="amounts"),
    CheckConstraint("(state = 'deleted') = (deleted_us IS NOT NULL)", name="deleted"),
)

revisions = Table(
    "revisions",
    metadata,
    # SERVICE-ID.NUMBER
    Column("id", String(48), primary_key=True),
    Column("service_id", String(40), ForeignKey("services.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    ref("organization_id", "organizations"),
    ref("project_id", "projects"),
    Column("spec", Text, nullable=False),
    *sealed_columns(),
    *state(lifecycles.REVISION),
    Column("reason", String(400), nullable=True),
    us("created_us"),
    ref("created_by", "principals"),
    version(),
    UniqueConstraint("service_id", "number"),
    sealed_with("revisions"),
    Index(None, "organization_id", "key_version", "id"),
    # Two revisions that serve, or two that take over, cannot be written.
    Index(
        "uq_revisions_serving",
        "service_id",
        unique=True,
        sqlite_where=text("state = 'serving'"),
        postgresql_where=text("state = 'serving'"),
    ),
    Index(
        "uq_revisions_rolling",
        "service_id",
        unique=True,
        sqlite_where=text("state = 'rolling'"),
        postgresql_where=text("state = 'rolling'"),
    ),
    CheckConstraint("number >= 1", name="number"),
)

replicas = Table(
    "replicas",
    metadata,
    id_column(),
    Column("service_id", String(40), ForeignKey("services.id", ondelete="CASCADE"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, unique=True),
    *state(lifecycles.REPLICA),
    Column("reason", String(400), nullable=True),
    # Requests in flight there when the gateway reported last.
    Column("busy", Integer, nullable=False, server_default="0"),
    us("asked_us"),
    us("ready_us", nullable=True),
    us("drain_us", nullable=True),
    us("ended_us", nullable=True),
    version(),
    Index(None, "service_id", "id"),
    Index(
        "ix_replicas_live",
        "service_id",
        "id",
        sqlite_where=text(_LIVE_REPLICA),
        postgresql_where=text(_LIVE_REPLICA),
    ),
    CheckConstraint("revision >= 1 AND busy >= 0", name="revision"),
    CheckConstraint("(state = 'ended') = (ended_us IS NOT NULL)", name="ended"),
    CheckConstraint("state <> 'ready' OR ready_us IS NOT NULL", name="ready"),
    CheckConstraint("state <> 'draining' OR drain_us IS NOT NULL", name="draining"),
)

service_routes = Table(
    "service_routes",
    metadata,
    # A lower-case host name, empty for any; a path without a slash at its end, or the slash for all.
    Column("host", String(253), primary_key=True),
    Column("path", String(200), primary_key=True),
    Column("project_id", String(40), nullable=False),
    Column("service_id", String(40), ForeignKey("services.id", ondelete="CASCADE"), nullable=False),
    Index(None, "service_id"),
)

scalings = Table(
    "scalings",
    metadata,
    id_column(),
    Column("service_id", String(40), ForeignKey("services.id", ondelete="CASCADE"), nullable=False),
    us("at_us"),
    Column("wanted", Integer, nullable=False),
    Column("ready", Integer, nullable=False),
    Column("waiting", Integer, nullable=False),
    # Requests under way or waiting, in thousandths, as the decision saw them.
    count("demand_milli"),
    # JSON: a stable code and the values of its sentence.
    Column("reason", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("inputs", LargeBinary, nullable=False),
    Index(None, "service_id", "id"),
    CheckConstraint("wanted >= 0 AND ready >= 0 AND waiting >= 0 AND demand_milli >= 0", name="amounts"),
)


def service_is_live() -> ColumnElement[bool]:
    """Services that are not deleted, written as the partial indexes are."""
    return services.c.state != literal_column("'deleted'")


def replica_is_live() -> ColumnElement[bool]:
    """Replicas that have not ended, written as the partial index is."""
    return replicas.c.state != literal_column("'ended'")
