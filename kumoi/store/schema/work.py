"""Jobs, tasks, attempts, and what they used."""

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
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

from kumoi.core import lifecycles
from kumoi.model.jobs import AttemptOutcome, DependencyCondition, HostLossPolicy, WorkClass
from kumoi.store.schema.columns import (
    DUE_ATTEMPT,
    LIVE_ATTEMPT,
    count,
    id_column,
    metadata,
    one_of,
    ref,
    residency,
    state,
    us,
    version,
)
from kumoi.store.schema.keys import sealed_columns, sealed_with

jobs = Table(
    "jobs",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    ref("project_id", "projects"),
    ref("pool_id", "pools"),
    # The service whose replica it is.
    ref("service_id", "services", nullable=True),
    Column("name", String(63), nullable=False),
    # Without what is sealed of it.
    Column("spec", Text, nullable=False),
    *sealed_columns(),
    *state(lifecycles.JOB),
    Column("reason", String(200), nullable=True),
    Column("array_size", Integer, nullable=False),
    Column("gang", Boolean, nullable=False),
    count("cpu_milli"),
    count("memory_bytes"),
    count("disk_bytes", default=0),
    Column("wall_time_s", Integer, nullable=False, server_default="3600"),
    Column("devices", Text, nullable=False),
    Column("rules", Text, nullable=False, server_default=""),
    Column("priority", Integer, nullable=False),
    Column("work_class", String(16), nullable=False),
    Column("on_host_lost", String(16), nullable=False),
    *residency(),
    us("created_us"),
    ref("created_by", "principals"),
    us("ended_us", nullable=True),
    version(),
    Index(None, "project_id", "service_id", "id"),
    sealed_with("jobs"),
    Index(None, "organization_id", "key_version", "id"),
    Index(
        "ix_jobs_pending",
        "pool_id",
        "organization_id",
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
    one_of("work_class", WorkClass),
    one_of("on_host_lost", HostLossPolicy),
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
    one_of("condition", DependencyCondition),
    CheckConstraint("job_id <> depends_on_id", name="self"),
)

tasks = Table(
    "tasks",
    metadata,
    id_column(),
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("organization_id", String(40), nullable=False),
    Column("pool_id", String(40), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("class_rank", Integer, nullable=False, server_default="1"),
    *state(lifecycles.TASK),
    Column("reason", String(200), nullable=True),
    us("not_before_us"),
    version(),
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
    Index(
        "ix_tasks_turn",
        "pool_id",
        "organization_id",
        "class_rank",
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
    id_column(),
    Column("pool_id", String(40), nullable=False),
    us("decided_us"),
    Column("policy", String(63), nullable=False),
    count("seed"),
    Column("snapshot_digest", String(64), nullable=False),
    Column("body", Text, nullable=False),
    # What the plan was decided on: a base, or the previous plan and what changed since it.
    Column("base_id", String(40), nullable=False),
    Column("previous_id", String(40), nullable=True),
    Column("inputs", LargeBinary, nullable=False),
    Index(None, "decided_us"),
    Index(None, "base_id", "id"),
)

attempts = Table(
    "attempts",
    metadata,
    id_column(),
    Column("task_id", String(40), ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    Column("job_id", String(40), nullable=False),
    ref("organization_id", "organizations"),
    ref("project_id", "projects"),
    ref("host_id", "hosts"),
    Column("plan_id", String(40), nullable=False),
    Column("candidates", Integer, nullable=False),
    Column("engine", String(63), nullable=False),
    Column("number", Integer, nullable=False),
    *state(lifecycles.ATTEMPT),
    count("epoch"),
    count("cpu_milli"),
    count("memory_bytes"),
    count("disk_bytes", default=0),
    us("placed_us"),
    us("start_before_us"),
    us("lease_us", nullable=True),
    us("started_us", nullable=True),
    us("metered_us", nullable=True),
    us("ended_us", nullable=True),
    Column("outcome", String(16), nullable=True),
    Column("exit_code", Integer, nullable=True),
    Column("signal", Integer, nullable=True),
    count("cpu_us", default=0),
    count("memory_peak_bytes", default=0),
    Column("detail", String(400), nullable=False, server_default=""),
    # Ended to make room, by the plane: its task waits again, and no retry is spent.
    Column("preempted", Boolean, nullable=False, server_default=text("false")),
    Column("log_purged", Boolean, nullable=False, server_default=text("false")),
    version(),
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
    Index(
        "ix_attempts_engine",
        "engine",
        "id",
        sqlite_where=text(LIVE_ATTEMPT),
        postgresql_where=text(LIVE_ATTEMPT),
    ),
    # What the engine is asked for next: few of the live ones.
    Index(
        "ix_attempts_due",
        "engine",
        "state",
        "id",
        sqlite_where=text(DUE_ATTEMPT),
        postgresql_where=text(DUE_ATTEMPT),
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
    Column("milli", Integer, nullable=False, server_default="1000"),
    Column("released", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("milli BETWEEN 1 AND 1000", name="milli"),
    Index(
        "ix_attempt_devices_held",
        "device_id",
        sqlite_where=text("NOT released"),
        postgresql_where=text("NOT released"),
    ),
)

usage_intervals = Table(
    "usage_intervals",
    metadata,
    Column("attempt_id", String(40), primary_key=True),
    Column("start_us", BigInteger, primary_key=True),
    us("end_us"),
    ref("organization_id", "organizations"),
    ref("project_id", "projects"),
    count("cpu_milli"),
    count("memory_bytes"),
    count("device_milli"),
    count("cpu_us"),
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
    Column("organization_id", String(40), nullable=False),
    us("ended_us"),
    Column("purged", Boolean, nullable=False, server_default=text("false")),
    Index(
        "ix_tombstones_kept",
        "engine",
        sqlite_where=text("NOT purged"),
        postgresql_where=text("NOT purged"),
    ),
)


def is_due() -> ColumnElement[bool]:
    """Attempts that are to be started or stopped, written as the partial index is."""
    return attempts.c.state.in_((literal_column("'placed'"), literal_column("'stopping'")))


def is_live() -> ColumnElement[bool]:
    """Attempts that have not ended, written as the partial index is."""
    return attempts.c.state != literal_column("'ended'")
