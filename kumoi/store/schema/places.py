"""Where work runs."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from kumoi.core import lifecycles
from kumoi.model.places import DeviceHealth, HostHealth, IsolationClass
from kumoi.store.schema.columns import count, id_column, metadata, one_of, ref, state, us, version

sites = Table(
    "sites",
    metadata,
    id_column(),
    Column("name", String(63), nullable=False, unique=True),
    Column("country", String(2), nullable=False),
    Column("functions", String(100), nullable=False),
    Column("address", String(400), nullable=False),
    Column("latencies", Text, nullable=False, server_default="{}"),
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
    Column("data_classes", Text, nullable=False, server_default="[]"),
    Column("defragment", Boolean, nullable=False, server_default=text("false")),
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
    count("disk_bytes", default=0),
    Column("failure_domain", String(63), nullable=False),
    Column("fabric_island", String(63), nullable=False, server_default=""),
    ref("dedicated_to", "organizations", nullable=True),
    Column("boot_id", String(64), nullable=False),
    # Of what its engine last reported of its devices: only what differs is looked at.
    Column("devices_digest", String(64), nullable=False, server_default=""),
    us("seen_us", nullable=True),
    count("generation", default=0),
    version(),
    one_of("health", HostHealth),
    CheckConstraint("cpu_milli >= 0 AND memory_bytes >= 0 AND disk_bytes >= 0", name="capacity"),
)

host_touches = Table(
    "host_touches",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("host_id", String(40), nullable=False),
)
"""Hosts whose room changed since placement last looked, written in the transaction that changed it.

Rows, not a counter: transactions commit out of order, and a row that is not there yet is there next time.
"""

devices = Table(
    "devices",
    metadata,
    id_column(),
    ref("host_id", "hosts"),
    Column("uuid", String(100), nullable=False),
    # The device that this one is a part of, or itself: what is counted once.
    Column("physical_uuid", String(100), nullable=False, server_default=""),
    Column("kind", String(63), nullable=False),
    Column("model", String(128), nullable=False),
    Column("partition", String(32), nullable=False, server_default=""),
    count("memory_bytes", default=0),
    Column("ordinal", Integer, nullable=False),
    # Its device files, a comma between them.
    Column("path", String(400), nullable=False),
    Column("health", String(12), nullable=False, server_default="healthy"),
    Column("detail", String(400), nullable=False, server_default=""),
    # Held thousandths, moved in the transaction that gives or takes them: nobody can hold more than there is.
    Column("milli_used", Integer, nullable=False, server_default="0"),
    us("seen_us", nullable=True),
    # None once another device took its place, and its service with it.
    us("service_start_us", nullable=True),
    UniqueConstraint("host_id", "kind", "ordinal"),
    UniqueConstraint("host_id", "uuid"),
    one_of("health", DeviceHealth),
    CheckConstraint("milli_used BETWEEN 0 AND 1000", name="milli"),
)
