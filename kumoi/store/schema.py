"""The schema. It refuses impossible states by itself: CHECKs come from `core.lifecycles`.

Times are int64 microseconds UTC. `version` counts the changes of a row and is its ETag.
"""

from typing import Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)
from sqlalchemy.sql.schema import SchemaItem

from kumoi.core import lifecycles
from kumoi.model.access import PrincipalKind, Role, ScopeKind
from kumoi.model.jobs import AttemptOutcome, DependencyCondition, HostLossPolicy, WorkClass
from kumoi.model.places import HostHealth, IsolationClass

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
LIVE_JOB_STATES = ("waiting", "pending", "queued", "running", "cancelling")


def in_state(table: Table, state: str) -> ColumnElement[bool]:
    """`state` as a literal: SQLite takes a partial index only when it sees the value in the text."""
    return table.c.state == literal_column(f"'{state}'")


def is_live() -> ColumnElement[bool]:
    """Attempts that have not ended, written as the partial index is."""
    return attempts.c.state != literal_column("'ended'")


def _one_of(column: str, values: object) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)  # type: ignore[attr-defined]
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _state(lifecycle: lifecycles.Lifecycle) -> tuple[SchemaItem, ...]:
    column = Column("state", String(16), nullable=False, server_default=lifecycle.initial)
    return column, _one_of("state", lifecycle.states)


def _id() -> Column[str]:
    return Column("id", String(40), primary_key=True)


def _ref(name: str, target: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(40), ForeignKey(f"{target}.id"), nullable=nullable)


def _us(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _count(name: str, *, nullable: bool = False, default: int | None = None) -> Column[int]:
    return Column(
        name, BigInteger, nullable=nullable, server_default=None if default is None else str(default)
    )


def _version() -> Column[int]:
    return Column("version", Integer, nullable=False, server_default="1")


def _residency() -> tuple[Column[str], Column[str]]:
    """What binds data to a place; carried by everything that holds a tenant's data."""
    return (
        Column("data_class", String(63), nullable=False, server_default="general"),
        Column("jurisdiction", String(2), nullable=False, server_default="JP"),
    )


region = Table(
    "region",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("name", String(63), nullable=False),
    Column("cell", Integer, nullable=False),
    Column("incarnation", String(40), nullable=False),
    _us("created_us"),
    CheckConstraint("one = 1", name="single"),
)

organizations = Table(
    "organizations",
    metadata,
    _id(),
    Column("name", String(63), nullable=False, unique=True),
    Column("display_name", String(200), nullable=False),
    Column("is_platform", Boolean, nullable=False),
    *_state(lifecycles.ORGANIZATION),
    _us("created_us"),
    _version(),
)

projects = Table(
    "projects",
    metadata,
    _id(),
    _ref("organization_id", "organizations"),
    Column("name", String(63), nullable=False),
    Column("number", Integer, nullable=False, unique=True),
    *_state(lifecycles.PROJECT),
    *_residency(),
    _us("created_us"),
    _version(),
    UniqueConstraint("organization_id", "name"),
    CheckConstraint("number >= 1", name="number"),
)

principals = Table(
    "principals",
    metadata,
    _id(),
    _ref("organization_id", "organizations"),
    Column("kind", String(16), nullable=False),
    Column("name", String(63), nullable=False),
    *_state(lifecycles.PRINCIPAL),
    _us("created_us"),
    _version(),
    UniqueConstraint("organization_id", "name"),
    _one_of("kind", PrincipalKind),
)

role_bindings = Table(
    "role_bindings",
    metadata,
    _id(),
    _ref("organization_id", "organizations"),
    _ref("principal_id", "principals"),
    Column("role", String(24), nullable=False),
    Column("scope_kind", String(16), nullable=False),
    Column("scope_id", String(40), nullable=False),
    _us("created_us"),
    UniqueConstraint("principal_id", "role", "scope_kind", "scope_id"),
    Index(None, "organization_id", "id"),
    _one_of("role", Role),
    _one_of("scope_kind", ScopeKind),
    CheckConstraint("role <> 'platform_operator' OR scope_kind = 'platform'", name="operator_scope"),
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    _ref("organization_id", "organizations"),
    _ref("principal_id", "principals"),
    _ref("project_id", "projects", nullable=True),
    Column("name", String(63), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", String(100), nullable=False),
    *_state(lifecycles.TOKEN),
    _us("created_us"),
    _us("expires_us"),
    _version(),
    Index(None, "principal_id", "id"),
    CheckConstraint("expires_us > created_us", name="expires"),
)

sites = Table(
    "sites",
    metadata,
    _id(),
    Column("name", String(63), nullable=False, unique=True),
    Column("country", String(2), nullable=False),
    Column("functions", String(100), nullable=False),
    Column("address", String(400), nullable=False),
    _us("created_us"),
)

pools = Table(
    "pools",
    metadata,
    _id(),
    _ref("site_id", "sites"),
    Column("name", String(63), nullable=False, unique=True),
    Column("engine", String(63), nullable=False),
    Column("isolation", String(16), nullable=False),
    Column("network_allowed", Boolean, nullable=False),
    Column("shared_by_organizations", Boolean, nullable=False),
    *_state(lifecycles.POOL),
    _us("created_us"),
    _version(),
    _one_of("isolation", IsolationClass),
)

hosts = Table(
    "hosts",
    metadata,
    _id(),
    _ref("pool_id", "pools"),
    Column("name", String(63), nullable=False, unique=True),
    *_state(lifecycles.HOST),
    Column("health", String(8), nullable=False),
    Column("detail", String(400), nullable=False),
    _count("cpu_milli"),
    _count("memory_bytes"),
    Column("failure_domain", String(63), nullable=False),
    Column("fabric_island", String(63), nullable=False, server_default=""),
    _ref("dedicated_to", "organizations", nullable=True),
    Column("boot_id", String(64), nullable=False),
    _us("seen_us", nullable=True),
    _count("generation", default=0),
    _version(),
    _one_of("health", HostHealth),
    CheckConstraint("cpu_milli >= 0 AND memory_bytes >= 0", name="capacity"),
)

devices = Table(
    "devices",
    metadata,
    _id(),
    _ref("host_id", "hosts"),
    Column("kind", String(63), nullable=False),
    Column("model", String(128), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("path", String(200), nullable=False),
    UniqueConstraint("host_id", "kind", "ordinal"),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _ref("organization_id", "organizations"),
    _ref("project_id", "projects"),
    _ref("pool_id", "pools"),
    Column("name", String(63), nullable=False),
    Column("spec", Text, nullable=False),
    *_state(lifecycles.JOB),
    Column("reason", String(200), nullable=True),
    Column("array_size", Integer, nullable=False),
    Column("gang", Boolean, nullable=False),
    _count("cpu_milli"),
    _count("memory_bytes"),
    Column("devices", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("work_class", String(16), nullable=False),
    Column("on_host_lost", String(16), nullable=False),
    *_residency(),
    _us("created_us"),
    _ref("created_by", "principals"),
    _us("ended_us", nullable=True),
    _version(),
    Index(None, "project_id", "id"),
    Index(
        "ix_jobs_pending",
        "pool_id",
        text("priority DESC"),
        "id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_jobs_waiting",
        "id",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_jobs_ended",
        "ended_us",
        sqlite_where=text("ended_us IS NOT NULL"),
        postgresql_where=text("ended_us IS NOT NULL"),
    ),
    _one_of("work_class", WorkClass),
    _one_of("on_host_lost", HostLossPolicy),
    CheckConstraint("array_size BETWEEN 1 AND 10000", name="array_size"),
    CheckConstraint("(ended_us IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))", name="ended"),
)

job_dependencies = Table(
    "job_dependencies",
    metadata,
    Column("job_id", String(40), primary_key=True),
    Column("depends_on_id", String(40), primary_key=True),
    Column("condition", String(16), nullable=False),
    ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["depends_on_id"], ["jobs.id"], ondelete="CASCADE"),
    Index(None, "depends_on_id"),
    _one_of("condition", DependencyCondition),
    CheckConstraint("job_id <> depends_on_id", name="self"),
)

tasks = Table(
    "tasks",
    metadata,
    _id(),
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("pool_id", String(40), nullable=False),
    Column("priority", Integer, nullable=False),
    *_state(lifecycles.TASK),
    Column("reason", String(200), nullable=True),
    _us("not_before_us"),
    _version(),
    UniqueConstraint("job_id", "ordinal"),
    Index(None, "job_id", "state"),
    Index(
        "ix_tasks_queue",
        "pool_id",
        text("priority DESC"),
        "id",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    CheckConstraint("ordinal >= 0", name="ordinal"),
)

plans = Table(
    "plans",
    metadata,
    _id(),
    _us("decided_us"),
    Column("policy", String(63), nullable=False),
    _count("seed"),
    Column("snapshot_digest", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Index(None, "decided_us"),
)

attempts = Table(
    "attempts",
    metadata,
    _id(),
    Column("task_id", String(40), ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("job_id", String(40), nullable=False),
    _ref("organization_id", "organizations"),
    _ref("project_id", "projects"),
    _ref("host_id", "hosts"),
    Column("plan_id", String(40), nullable=False),
    Column("candidates", Integer, nullable=False),
    Column("engine", String(63), nullable=False),
    Column("number", Integer, nullable=False),
    *_state(lifecycles.ATTEMPT),
    _count("epoch"),
    _count("cpu_milli"),
    _count("memory_bytes"),
    _us("placed_us"),
    _us("start_before_us"),
    _us("lease_us", nullable=True),
    _us("started_us", nullable=True),
    _us("metered_us", nullable=True),
    _us("ended_us", nullable=True),
    Column("outcome", String(16), nullable=True),
    Column("exit_code", Integer, nullable=True),
    Column("signal", Integer, nullable=True),
    _count("cpu_us", default=0),
    _count("memory_peak_bytes", default=0),
    Column("detail", String(400), nullable=False, server_default=""),
    Column("log_purged", Boolean, nullable=False, server_default=text("false")),
    _version(),
    UniqueConstraint("task_id", "number"),
    Index(
        "ix_attempts_log",
        "ended_us",
        sqlite_where=text("NOT log_purged AND ended_us IS NOT NULL"),
        postgresql_where=text("NOT log_purged AND ended_us IS NOT NULL"),
    ),
    Index(None, "job_id"),
    Index(
        "ix_attempts_live",
        "host_id",
        "state",
        sqlite_where=text(LIVE_ATTEMPT),
        postgresql_where=text(LIVE_ATTEMPT),
    ),
    # A second live attempt of one task cannot be written, whoever tries.
    Index(
        "uq_attempts_live_task",
        "task_id",
        unique=True,
        sqlite_where=text(LIVE_ATTEMPT),
        postgresql_where=text(LIVE_ATTEMPT),
    ),
    CheckConstraint("(state = 'ended') = (ended_us IS NOT NULL)", name="ended"),
    CheckConstraint("(state = 'ended') = (outcome IS NOT NULL)", name="ended_outcome"),
    CheckConstraint("state <> 'running' OR started_us IS NOT NULL", name="running"),
    CheckConstraint("ended_us IS NULL OR started_us IS NULL OR ended_us >= started_us", name="times"),
    CheckConstraint("cpu_milli > 0 AND memory_bytes > 0", name="size"),
    CheckConstraint(
        "outcome IS NULL OR outcome IN ({})".format(", ".join(f"'{o}'" for o in AttemptOutcome)),
        name="outcome",
    ),
)

attempt_devices = Table(
    "attempt_devices",
    metadata,
    Column("attempt_id", String(40), ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True),
    Column("device_id", String(40), ForeignKey("devices.id"), primary_key=True),
    Column("released", Boolean, nullable=False, server_default=text("false")),
    # A device is held by one attempt at a time, whoever tries otherwise.
    Index(
        "uq_attempt_devices_held",
        "device_id",
        unique=True,
        sqlite_where=text("NOT released"),
        postgresql_where=text("NOT released"),
    ),
)

usage_intervals = Table(
    "usage_intervals",
    metadata,
    Column("attempt_id", String(40), primary_key=True),
    Column("start_us", BigInteger, primary_key=True),
    _us("end_us"),
    _ref("organization_id", "organizations"),
    _ref("project_id", "projects"),
    _count("cpu_milli"),
    _count("memory_bytes"),
    _count("devices"),
    _count("cpu_us"),
    Index(None, "project_id", "end_us"),
    Index(None, "organization_id", "end_us"),
    CheckConstraint("end_us > start_us", name="length"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("ref", String(40), primary_key=True),
    Column("engine", String(63), nullable=False),
    Column("incarnation", String(40), nullable=False),
    _us("ended_us"),
    Column("purged", Boolean, nullable=False, server_default=text("false")),
    Index(None, "ended_us"),
)

secrets = Table(
    "secrets",
    metadata,
    _id(),
    _ref("organization_id", "organizations"),
    _ref("project_id", "projects"),
    Column("name", String(63), nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("key_version", Integer, nullable=False),
    *_residency(),
    _us("created_us"),
    _us("updated_us"),
    _version(),
    UniqueConstraint("project_id", "name"),
)

events = Table(
    "events",
    metadata,
    _id(),
    _us("at_us"),
    _ref("organization_id", "organizations"),
    Column("project_id", String(40), nullable=True),
    Column("canonical", Text, nullable=False),
    Column("salt", LargeBinary(32), nullable=False),
    Column("log_index", BigInteger, nullable=True),
    *_residency(),
    # Partial, so that a new event does not touch them: submissions wait for its commit.
    Index(
        "uq_events_log_index",
        "log_index",
        unique=True,
        sqlite_where=text("log_index IS NOT NULL"),
        postgresql_where=text("log_index IS NOT NULL"),
    ),
    Index(
        "ix_events_organization_log",
        "organization_id",
        "log_index",
        sqlite_where=text("log_index IS NOT NULL"),
        postgresql_where=text("log_index IS NOT NULL"),
    ),
    Index(None, "organization_id", "id"),
    Index(
        "ix_events_unlogged",
        "id",
        sqlite_where=text("log_index IS NULL"),
        postgresql_where=text("log_index IS NULL"),
    ),
)

refusals = Table(
    "refusals",
    metadata,
    Column("actor_id", String(40), primary_key=True),
    Column("action", String(40), primary_key=True),
    Column("minute_us", BigInteger, primary_key=True),
    _ref("organization_id", "organizations"),
    _count("refused"),
)

log_tiles = Table(
    "log_tiles",
    metadata,
    Column("level", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

log_bundles = Table(
    "log_bundles",
    metadata,
    Column("number", BigInteger, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

log_heads = Table(
    "log_heads",
    metadata,
    Column("origin", String(200), primary_key=True),
    _count("size"),
    Column("root", LargeBinary(32), nullable=False),
    Column("checkpoint", Text, nullable=False),
    _us("at_us"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("etag", String(40), nullable=True),
    _us("created_us"),
    Index(None, "created_us"),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("holder", String(80), nullable=False),
    _count("epoch"),
    _us("expires_us"),
)
