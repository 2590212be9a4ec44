"""Operator access: the tenants' keys and rules, the operators' requests, and every use of them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy import text as sql_text

from kumoi.core import lifecycles
from kumoi.model.access_requests import AccessKind
from kumoi.store.schema.columns import count, id_column, metadata, one_of, ref, state, us, version

access_keys = Table(
    "access_keys",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    Column("name", String(63), nullable=False),
    Column("public_key", LargeBinary(32), nullable=False),
    *state(lifecycles.ACCESS_KEY),
    us("created_us"),
    version(),
    UniqueConstraint("organization_id", "name"),
    UniqueConstraint("organization_id", "public_key"),
)

access_rules = Table(
    "access_rules",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    Column("name", String(63), nullable=False),
    Column("operator", String(40), nullable=False),
    Column("resource", String(40), nullable=False),
    Column("sets", String(100), nullable=False),
    Column("duration_s", Integer, nullable=False),
    us("until_us"),
    ref("key_id", "access_keys"),
    Column("statement", Text, nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
    *state(lifecycles.ACCESS_RULE),
    us("created_us"),
    version(),
    # Of revoked ones too: a rule that was signed once can never be presented again.
    UniqueConstraint("organization_id", "name"),
)

access_requests = Table(
    "access_requests",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    ref("requested_by", "principals"),
    Column("kind", String(16), nullable=False),
    Column("resource_kind", String(16), nullable=False),
    Column("resource", String(40), nullable=False),
    Column("sets", String(100), nullable=False),
    Column("reason", Text, nullable=False),
    Column("duration_s", Integer, nullable=False),
    *state(lifecycles.ACCESS_REQUEST),
    us("created_us"),
    us("answer_by_us"),
    us("approved_us", nullable=True),
    us("expires_us", nullable=True),
    Column("decided_by", String(40), nullable=True),
    Column("decision", Text, nullable=False, server_default=""),
    ref("rule_id", "access_rules", nullable=True),
    ref("key_id", "access_keys", nullable=True),
    Column("statement", Text, nullable=False),
    Column("signature", LargeBinary(64), nullable=True),
    us("explain_by_us", nullable=True),
    Column("explanation", Text, nullable=True),
    us("incident_us", nullable=True),
    version(),
    Index(None, "organization_id", "id"),
    Index(
        "ix_access_requests_open",
        "requested_by",
        "organization_id",
        sqlite_where=sql_text("state IN ('requested', 'approved')"),
        postgresql_where=sql_text("state IN ('requested', 'approved')"),
    ),
    Index(
        "ix_access_requests_unexplained",
        "explain_by_us",
        sqlite_where=sql_text("explain_by_us IS NOT NULL AND explanation IS NULL AND incident_us IS NULL"),
        postgresql_where=sql_text(
            "explain_by_us IS NOT NULL AND explanation IS NULL AND incident_us IS NULL"
        ),
    ),
    one_of("kind", AccessKind),
    # Only broken glass is approved without a signature, and only by somebody else than who asked.
    CheckConstraint(
        "approved_us IS NULL OR (kind = 'ordinary' AND signature IS NOT NULL)"
        " OR (kind <> 'ordinary' AND decided_by <> requested_by)",
        name="approval",
    ),
    CheckConstraint("(approved_us IS NULL) = (expires_us IS NULL)", name="span"),
)

access_uses = Table(
    "access_uses",
    metadata,
    id_column(),
    ref("request_id", "access_requests"),
    us("at_us"),
    Column("action", String(40), nullable=False),
    Column("resource", String(1_200), nullable=False),
    Column("call", String(2_200), nullable=False),
    Column("phase", String(8), nullable=False),
    Column("status", Integer, nullable=False),
    count("size_bytes"),
    Column("sha256", String(64), nullable=False),
    ref("event_id", "events"),
    Index(None, "request_id", "id"),
)
