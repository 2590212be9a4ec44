"""The account of capacity: what a device model can do, what is planned, and what was there each day."""

from sqlalchemy import CheckConstraint, Column, Index, Integer, String, Table

from kumoi.store.schema.columns import count, id_column, metadata, ref, us, version

device_models = Table(
    "device_models",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("vendor", String(63), nullable=False),
    Column("kind", String(63), nullable=False),
    # Theoretical peak of dense half precision in GFLOPS (C-18); figures with sparsity are refused (C-19).
    count("fp16_dense_gflops"),
    count("fp16_sparse_gflops", nullable=True),
    count("memory_bytes"),
    Column("datasheet", String(400), nullable=False),
    # Empty while nobody has recorded the digest of the datasheet: then the model is not attested.
    Column("datasheet_sha256", String(64), nullable=False, server_default=""),
    us("created_us"),
    version(),
    CheckConstraint("fp16_dense_gflops >= 0 AND memory_bytes >= 0", name="amounts"),
)

capacity_plans = Table(
    "capacity_plans",
    metadata,
    id_column(),
    ref("site_id", "sites"),
    Column("model", String(128), nullable=False),
    Column("count", Integer, nullable=False),
    # ISO 8601 dates; the service of the last day ends with it.
    Column("service_start", String(10), nullable=False),
    Column("service_end", String(10), nullable=True),
    Column("note", String(400), nullable=False, server_default=""),
    us("created_us"),
    version(),
    CheckConstraint("count >= 1", name="count"),
    CheckConstraint("service_end IS NULL OR service_end >= service_start", name="span"),
)

capacity_days = Table(
    "capacity_days",
    metadata,
    Column("day", String(10), primary_key=True),
    Column("site_id", String(40), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("service_start", String(10), primary_key=True),
    # The least that was there at any look of the day.
    Column("count", Integer, nullable=False),
    Column("healthy", Integer, nullable=False),
    count("fp16_dense_gflops"),
    us("updated_us"),
    Index(None, "site_id", "day"),
    CheckConstraint("count >= 0 AND healthy BETWEEN 0 AND count", name="counts"),
)
