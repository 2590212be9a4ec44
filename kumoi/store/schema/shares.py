"""What organizations may hold: quotas, rates and budgets, reservations, and how much they used lately."""

from sqlalchemy import CheckConstraint, Column, Float, Index, Integer, String, Table, text

from kumoi.core import lifecycles
from kumoi.model.shares import QuotaResource
from kumoi.store.schema.columns import count, id_column, metadata, one_of, ref, state, us, version

quotas = Table(
    "quotas",
    metadata,
    Column("organization_id", String(40), primary_key=True),
    Column("resource", String(24), primary_key=True),
    count("most"),
    # Moved in the transaction that places or ends work, by an update that refuses to pass `most`.
    count("used", default=0),
    us("updated_us"),
    version(),
    one_of("resource", QuotaResource),
    CheckConstraint("most >= 0 AND used >= 0", name="amounts"),
)

rates = Table(
    "rates",
    metadata,
    Column("pool_id", String(40), primary_key=True),
    count("cpu_core_hour_microyen"),
    count("memory_gib_hour_microyen"),
    count("device_hour_microyen"),
    us("updated_us"),
    version(),
    CheckConstraint(
        "cpu_core_hour_microyen >= 0 AND memory_gib_hour_microyen >= 0 AND device_hour_microyen >= 0",
        name="amounts",
    ),
)

budgets = Table(
    "budgets",
    metadata,
    Column("organization_id", String(40), primary_key=True),
    count("month_microyen"),
    # The metered use of the month, summed by the upkeep loop: never the bill itself. What had ended by
    # `settled_us` is in `settled_microyen` and is not looked at again.
    Column("month", String(7), nullable=False),
    count("spent_microyen", default=0),
    count("settled_microyen", default=0),
    us("settled_us"),
    # The most that live work may still cost: raised in the transaction that places work, and reckoned again
    # by the upkeep loop.
    count("promised_microyen", default=0),
    us("updated_us"),
    version(),
    CheckConstraint(
        "month_microyen >= 0 AND settled_microyen >= 0 AND spent_microyen >= settled_microyen "
        "AND promised_microyen >= 0",
        name="amounts",
    ),
)

fair_shares = Table(
    "fair_shares",
    metadata,
    Column("organization_id", String(40), primary_key=True),
    Column("weight", Integer, nullable=False),
    us("updated_us"),
    version(),
    CheckConstraint("weight BETWEEN 1 AND 1000", name="weight"),
)

pool_uses = Table(
    "pool_uses",
    metadata,
    Column("pool_id", String(40), primary_key=True),
    Column("organization_id", String(40), primary_key=True),
    # Decayed share-seconds up to `at_us`, and the dominant share that was held then.
    Column("usage_s", Float(53), nullable=False),
    Column("share", Float(53), nullable=False),
    us("at_us"),
    CheckConstraint("usage_s >= 0 AND share >= 0", name="amounts"),
)

reservations = Table(
    "reservations",
    metadata,
    id_column(),
    ref("organization_id", "organizations"),
    ref("pool_id", "pools"),
    Column("name", String(63), nullable=False),
    Column("host_count", Integer, nullable=False),
    us("start_us"),
    us("end_us"),
    *state(lifecycles.RESERVATION),
    us("created_us"),
    version(),
    Index(
        "uq_reservations_held",
        "organization_id",
        "name",
        unique=True,
        sqlite_where=text("state = 'held'"),
        postgresql_where=text("state = 'held'"),
    ),
    CheckConstraint("host_count >= 1 AND end_us > start_us", name="span"),
)

reservation_hosts = Table(
    "reservation_hosts",
    metadata,
    Column("reservation_id", String(40), primary_key=True),
    Column("host_id", String(40), primary_key=True),
    Index(None, "host_id"),
)
