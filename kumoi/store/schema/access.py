"""The region, who is in it, and who may do what."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from kumoi.core import lifecycles
from kumoi.model.access import PrincipalKind, Role, ScopeKind
from kumoi.store.schema.columns import id_column, metadata, one_of, ref, residency, state, us, version

region = Table(
    "region",
    metadata,
    Column("one", Integer, primary_key=True),
    Column("name", String(63), nullable=False),
    Column("cell", Integer, nullable=False),
    Column("incarnation", String(40), nullable=False),
    us("created_us"),
    CheckConstraint("one = 1", name="single"),
)

organizations = Table(
    "organizations",
    metadata,
    id_column(),
    Column("name", String(63), nullable=False, unique=True),
    Column("display_name", String(200), nullable=False),
    Column("is_platform", Boolean, nullable=False),
    *state(lifecycles.ORGANIZATION),
    us("created_us"),
    version(),
)

projects = Table(
    "projects",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    Column("name", String(63), nullable=False),
    Column("number", Integer, nullable=False, unique=True),
    *state(lifecycles.PROJECT),
    *residency(),
    us("created_us"),
    version(),
    UniqueConstraint("organization_id", "name"),
    CheckConstraint("number >= 1", name="number"),
)

principals = Table(
    "principals",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    Column("kind", String(16), nullable=False),
    Column("name", String(63), nullable=False),
    *state(lifecycles.PRINCIPAL),
    us("created_us"),
    version(),
    UniqueConstraint("organization_id", "name"),
    one_of("kind", PrincipalKind),
)

role_bindings = Table(
    "role_bindings",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    ref("principal_id", "principals"),
    Column("role", String(24), nullable=False),
    Column("scope_kind", String(16), nullable=False),
    Column("scope_id", String(40), nullable=False),
    us("created_us"),
    UniqueConstraint("principal_id", "role", "scope_kind", "scope_id"),
    Index(None, "organization_id", "id"),
    one_of("role", Role),
    one_of("scope_kind", ScopeKind),
    CheckConstraint("role <> 'platform_operator' OR scope_kind = 'platform'", name="operator_scope"),
)

tokens = Table(
    "tokens",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    ref("principal_id", "principals"),
    ref("project_id", "projects", nullable=True),
    Column("name", String(63), nullable=False),
    Column("hash", LargeBinary(32), nullable=False, unique=True),
    Column("scopes", String(100), nullable=False),
    *state(lifecycles.TOKEN),
    us("created_us"),
    us("expires_us"),
    version(),
    Index(None, "principal_id", "id"),
    CheckConstraint("expires_us > created_us", name="expires"),
)
