"""Where work runs."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from kumoi.core import lifecycles
from kumoi.model.places import HostHealth, IsolationClass
from kumoi.store.schema.columns import count, id_column, metadata, one_of, ref, state, us, version

sites = Table(
    "sites",
    metadata,
    id_column(),
    Column("name", String(63), nullable=False, unique=True),
    Column("country", String(2), nullable=False),
    Column("functions", String(100), nullable=False),
    Column("address", String(400), nullable=False),
    us("created_us"),
)

pools = Table(
    "pools",
    metadata,
    id_column(),
    ref("site_id", "sites"),
    Column("name", String(63), nullable=False, unique=True),
    Column("engine", String(63), nullable=False),
    Column("isolation", String(16), nullable=False),
    Column("network_allowed", Boolean, nullable=False),
    Column("shared_by_organizations", Boolean, nullable=False),
    *state(lifecycles.POOL),
    us("created_us"),
    version(),
    one_of("isolation", IsolationClass),
)

hosts = Table(
    "hosts",
    metadata,
    id_column(),
    ref("pool_id", "pools"),
    Column("name", String(63), nullable=False, unique=True),
    *state(lifecycles.HOST),
    Column("health", String(8), nullable=False),
    Column("detail", String(400), nullable=False),
    count("cpu_milli"),
    count("memory_bytes"),
    Column("failure_domain", String(63), nullable=False),
    Column("fabric_island", String(63), nullable=False, server_default=""),
    ref("dedicated_to", "organizations", nullable=True),
    Column("boot_id", String(64), nullable=False),
    us("seen_us", nullable=True),
    count("generation", default=0),
    version(),
    one_of("health", HostHealth),
    CheckConstraint("cpu_milli >= 0 AND memory_bytes >= 0", name="capacity"),
)

devices = Table(
    "devices",
    metadata,
    id_column(),
    ref("host_id", "hosts"),
    Column("kind", String(63), nullable=False),
    Column("model", String(128), nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("path", String(200), nullable=False),
    UniqueConstraint("host_id", "kind", "ordinal"),
)
