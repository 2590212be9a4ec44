"""Secrets, events, the log, and what the writer keeps for itself."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from kumoi.store.schema.columns import count, id_column, metadata, ref, residency, us, version
from kumoi.store.schema.keys import sealed_with

secrets = Table(
    "secrets",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    ref("project_id", "projects"),
    Column("name", String(63), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("key_version", Integer, nullable=False),
    *residency(),
    us("created_us"),
    us("updated_us"),
    version(),
    UniqueConstraint("project_id", "name"),
    sealed_with("secrets"),
    Index(None, "organization_id", "key_version", "id"),
)

volumes = Table(
    "volumes",
    metadata,
    # Of one data directory: <organization>.<place>; with ".next" the password of the volume that is to take
    # the place of that volume.
    Column("id", String(80), primary_key=True),
    ref("organization_id", "organizations"),
    Column("sealed", LargeBinary, nullable=False),
    Column("key_version", Integer, nullable=False),
    # The version of the organization's key under which the password was made, not wrapped anew.
    Column("made_version", Integer, nullable=False),
    us("created_us"),
    sealed_with("volumes"),
    Index(None, "organization_id", "key_version", "id"),
    CheckConstraint("substr(id, 1, length(organization_id) + 1) = organization_id || '.'", name="owned"),
)

events = Table(
    "events",
    metadata,
    id_column(),
    us("at_us"),
    ref("organization_id", "organizations"),
    Column("project_id", String(40), nullable=True),
    Column("canonical", Text, nullable=False),
    Column("salt", LargeBinary(32), nullable=False),
    Column("log_index", BigInteger, nullable=True),
    *residency(),
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
    ref("organization_id", "organizations"),
    count("refused"),
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
    count("size"),
    Column("root", LargeBinary(32), nullable=False),
    Column("checkpoint", Text, nullable=False),
    us("at_us"),
)

log_published = Table(
    "log_published",
    metadata,
    Column("origin", String(200), primary_key=True),
    Column("rules", String(64), nullable=False),
    count("size"),
    Column("root", LargeBinary(32), nullable=False),
    Column("checkpoint", Text, nullable=False),
    us("at_us"),
)

log_witnesses = Table(
    "log_witnesses",
    metadata,
    Column("vkey", String(400), primary_key=True),
    count("size", default=0),
    us("cosigned_us", nullable=True),
    Column("failure", String(400), nullable=False, server_default=""),
    us("failed_us", nullable=True),
    count("failures", default=0),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("etag", String(40), nullable=True),
    us("created_us"),
    Index(None, "created_us"),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("holder", String(80), nullable=False),
    count("epoch"),
    us("expires_us"),
)
