"""first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "budgets",
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("month_microyen", sa.BigInteger(), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("spent_microyen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_microyen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("settled_us", sa.BigInteger(), nullable=False),
        sa.Column("promised_microyen", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "month_microyen >= 0 AND settled_microyen >= 0 AND spent_microyen >= settled_microyen AND promised_microyen >= 0",
            name=op.f("ck_budgets_amounts"),
        ),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_budgets")),
    )
    op.create_table(
        "capacity_days",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("site_id", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("service_start", sa.String(length=10), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("healthy", sa.Integer(), nullable=False),
        sa.Column("fp16_dense_gflops", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "count >= 0 AND healthy BETWEEN 0 AND count", name=op.f("ck_capacity_days_counts")
        ),
        sa.PrimaryKeyConstraint("day", "site_id", "model", "service_start", name=op.f("pk_capacity_days")),
    )
    op.create_index(op.f("ix_capacity_days_site_id_day"), "capacity_days", ["site_id", "day"], unique=False)
    op.create_table(
        "device_models",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("vendor", sa.String(length=63), nullable=False),
        sa.Column("kind", sa.String(length=63), nullable=False),
        sa.Column("fp16_dense_gflops", sa.BigInteger(), nullable=False),
        sa.Column("fp16_sparse_gflops", sa.BigInteger(), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("datasheet", sa.String(length=400), nullable=False),
        sa.Column("datasheet_sha256", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "fp16_dense_gflops >= 0 AND memory_bytes >= 0", name=op.f("ck_device_models_amounts")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_device_models")),
    )
    op.create_table(
        "fair_shares",
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("weight BETWEEN 1 AND 1000", name=op.f("ck_fair_shares_weight")),
        sa.PrimaryKeyConstraint("organization_id", name=op.f("pk_fair_shares")),
    )
    op.create_table(
        "host_touches",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("host_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host_touches")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("etag", sa.String(length=40), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_idempotency_keys")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_idempotency_keys_created_us"), "idempotency_keys", ["created_us"], unique=False)
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("holder", sa.String(length=80), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "log_bundles",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_log_bundles")),
    )
    op.create_table(
        "log_gaps",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("begun_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('placing', 'publishing')", name=op.f("ck_log_gaps_kind")),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_log_gaps")),
    )
    op.create_table(
        "log_heads",
        sa.Column("origin", sa.String(length=200), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin", name=op.f("pk_log_heads")),
    )
    op.create_table(
        "log_published",
        sa.Column("origin", sa.String(length=200), nullable=False),
        sa.Column("rules", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin", name=op.f("pk_log_published")),
    )
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", name=op.f("pk_log_tiles")),
    )
    op.create_table(
        "log_witnesses",
        sa.Column("vkey", sa.String(length=400), nullable=False),
        sa.Column("size", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("cosigned_us", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.String(length=400), server_default="", nullable=False),
        sa.Column("failed_us", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("vkey", name=op.f("pk_log_witnesses")),
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("display_name", sa.String(length=200), nullable=False),
        sa.Column("is_platform", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('active', 'suspended')", name=op.f("ck_organizations_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
        sa.UniqueConstraint("name", name=op.f("uq_organizations_name")),
    )
    op.create_table(
        "plans",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("decided_us", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.String(length=63), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_digest", sa.String(length=64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("base_id", sa.String(length=40), nullable=False),
        sa.Column("previous_id", sa.String(length=40), nullable=True),
        sa.Column("inputs", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
    )
    op.create_index(op.f("ix_plans_base_id_id"), "plans", ["base_id", "id"], unique=False)
    op.create_index(op.f("ix_plans_decided_us"), "plans", ["decided_us"], unique=False)
    op.create_table(
        "pool_uses",
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("usage_s", sa.Float(precision=53), nullable=False),
        sa.Column("share", sa.Float(precision=53), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("usage_s >= 0 AND share >= 0", name=op.f("ck_pool_uses_amounts")),
        sa.PrimaryKeyConstraint("pool_id", "organization_id", name=op.f("pk_pool_uses")),
    )
    op.create_table(
        "quotas",
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("resource", sa.String(length=24), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "resource IN ('cpu_milli', 'memory_bytes', 'disk_bytes', 'device_milli', 'tasks')",
            name=op.f("ck_quotas_resource"),
        ),
        sa.CheckConstraint("most >= 0 AND used >= 0", name=op.f("ck_quotas_amounts")),
        sa.PrimaryKeyConstraint("organization_id", "resource", name=op.f("pk_quotas")),
    )
    op.create_table(
        "rates",
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("cpu_core_hour_microyen", sa.BigInteger(), nullable=False),
        sa.Column("memory_gib_hour_microyen", sa.BigInteger(), nullable=False),
        sa.Column("device_hour_microyen", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "cpu_core_hour_microyen >= 0 AND memory_gib_hour_microyen >= 0 AND device_hour_microyen >= 0",
            name=op.f("ck_rates_amounts"),
        ),
        sa.PrimaryKeyConstraint("pool_id", name=op.f("pk_rates")),
    )
    op.create_table(
        "region",
        sa.Column("one", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("incarnation", sa.String(length=40), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one = 1", name=op.f("ck_region_single")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_region")),
    )
    op.create_table(
        "reservation_hosts",
        sa.Column("reservation_id", sa.String(length=40), nullable=False),
        sa.Column("host_id", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("reservation_id", "host_id", name=op.f("pk_reservation_hosts")),
    )
    op.create_index(op.f("ix_reservation_hosts_host_id"), "reservation_hosts", ["host_id"], unique=False)
    op.create_table(
        "sites",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=False),
        sa.Column("functions", sa.String(length=100), nullable=False),
        sa.Column("address", sa.String(length=400), nullable=False),
        sa.Column("latencies", sa.Text(), server_default="{}", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sites")),
        sa.UniqueConstraint("name", name=op.f("uq_sites_name")),
    )
    op.create_table(
        "tombstones",
        sa.Column("ref", sa.String(length=40), nullable=False),
        sa.Column("engine", sa.String(length=63), nullable=False),
        sa.Column("incarnation", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=False),
        sa.Column("purged", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("ref", name=op.f("pk_tombstones")),
    )
    op.create_index(
        "ix_tombstones_kept",
        "tombstones",
        ["engine"],
        unique=False,
        sqlite_where=sa.text("NOT purged"),
        postgresql_where=sa.text("NOT purged"),
    )
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('active', 'retired')", name=op.f("ck_access_keys_state")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_access_keys_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_keys")),
        sa.UniqueConstraint("organization_id", "name", name=op.f("uq_access_keys_organization_id_name")),
        sa.UniqueConstraint(
            "organization_id", "public_key", name=op.f("uq_access_keys_organization_id_public_key")
        ),
    )
    op.create_table(
        "capacity_plans",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=40), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("service_start", sa.String(length=10), nullable=False),
        sa.Column("service_end", sa.String(length=10), nullable=True),
        sa.Column("note", sa.String(length=400), server_default="", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("count >= 1", name=op.f("ck_capacity_plans_count")),
        sa.CheckConstraint(
            "service_end IS NULL OR service_end >= service_start", name=op.f("ck_capacity_plans_span")
        ),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_capacity_plans_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_capacity_plans")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=True),
        sa.Column("canonical", sa.Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=True),
        sa.Column("data_class", sa.String(length=63), server_default="general", nullable=False),
        sa.Column("jurisdiction", sa.String(length=2), server_default="JP", nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_events_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_organization_id_id"), "events", ["organization_id", "id"], unique=False)
    op.create_index(
        "ix_events_organization_log",
        "events",
        ["organization_id", "log_index"],
        unique=False,
        sqlite_where=sa.text("log_index IS NOT NULL"),
        postgresql_where=sa.text("log_index IS NOT NULL"),
    )
    op.create_index(
        "ix_events_unlogged",
        "events",
        ["id"],
        unique=False,
        sqlite_where=sa.text("log_index IS NULL"),
        postgresql_where=sa.text("log_index IS NULL"),
    )
    op.create_index(
        "uq_events_log_index",
        "events",
        ["log_index"],
        unique=True,
        sqlite_where=sa.text("log_index IS NOT NULL"),
        postgresql_where=sa.text("log_index IS NOT NULL"),
    )
    op.create_table(
        "key_holders",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("token", sa.String(length=63), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("on_withdraw", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="held", nullable=False),
        sa.Column("cause", sa.String(length=400), server_default="", nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=False),
        sa.Column("changed_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("on_withdraw IN ('continue', 'end')", name=op.f("ck_key_holders_on_withdraw")),
        sa.CheckConstraint("state IN ('held', 'lost', 'withdrawn')", name=op.f("ck_key_holders_state")),
        sa.ForeignKeyConstraint(["id"], ["organizations.id"], name=op.f("fk_key_holders_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_holders")),
    )
    op.create_table(
        "organization_keys",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="current", nullable=False),
        sa.Column("kek", sa.String(length=200), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("retired_us", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "(state = 'retired') = (retired_us IS NOT NULL)", name=op.f("ck_organization_keys_retired")
        ),
        sa.CheckConstraint("state IN ('current', 'retired')", name=op.f("ck_organization_keys_state")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_organization_keys_number")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_organization_keys_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organization_keys")),
        sa.UniqueConstraint(
            "organization_id", "number", name=op.f("uq_organization_keys_organization_id_number")
        ),
    )
    op.create_index(
        "uq_organization_keys_current",
        "organization_keys",
        ["organization_id"],
        unique=True,
        sqlite_where=sa.text("state = 'current'"),
        postgresql_where=sa.text("state = 'current'"),
    )
    op.create_table(
        "pools",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("site_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("engine", sa.String(length=63), nullable=False),
        sa.Column("isolation", sa.String(length=16), nullable=False),
        sa.Column("network_allowed", sa.Boolean(), nullable=False),
        sa.Column("shared_by_organizations", sa.Boolean(), nullable=False),
        sa.Column("data_classes", sa.Text(), server_default="[]", nullable=False),
        sa.Column("defragment", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="open", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "isolation IN ('process', 'container', 'vm', 'host')", name=op.f("ck_pools_isolation")
        ),
        sa.CheckConstraint("state IN ('open', 'paused')", name=op.f("ck_pools_state")),
        sa.ForeignKeyConstraint(["site_id"], ["sites.id"], name=op.f("fk_pools_site_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pools")),
        sa.UniqueConstraint("name", name=op.f("uq_pools_name")),
    )
    op.create_table(
        "principals",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("kind IN ('user', 'service_account')", name=op.f("ck_principals_kind")),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_principals_state")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_principals_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_principals")),
        sa.UniqueConstraint("organization_id", "name", name=op.f("uq_principals_organization_id_name")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("data_class", sa.String(length=63), server_default="general", nullable=False),
        sa.Column("jurisdiction", sa.String(length=2), server_default="JP", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('active', 'archived')", name=op.f("ck_projects_state")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_projects_number")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_projects_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("number", name=op.f("uq_projects_number")),
        sa.UniqueConstraint("organization_id", "name", name=op.f("uq_projects_organization_id_name")),
    )
    op.create_table(
        "refusals",
        sa.Column("actor_id", sa.String(length=40), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("minute_us", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_refusals_organization_id")
        ),
        sa.PrimaryKeyConstraint("actor_id", "action", "minute_us", name=op.f("pk_refusals")),
    )
    op.create_table(
        "access_rules",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("operator", sa.String(length=40), nullable=False),
        sa.Column("resource", sa.String(length=40), nullable=False),
        sa.Column("sets", sa.String(length=100), nullable=False),
        sa.Column("duration_s", sa.Integer(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('active', 'revoked')", name=op.f("ck_access_rules_state")),
        sa.ForeignKeyConstraint(["key_id"], ["access_keys.id"], name=op.f("fk_access_rules_key_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_access_rules_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_rules")),
        sa.UniqueConstraint("organization_id", "name", name=op.f("uq_access_rules_organization_id_name")),
    )
    op.create_table(
        "autoscales",
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("provider", sa.String(length=63), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("inputs", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=32), server_default="steady", nullable=False),
        sa.Column("figures", sa.Text(), server_default="{}", nullable=False),
        sa.Column("needed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("decided_us", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_us", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.String(length=400), server_default="", nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("needed >= 0 AND failures >= 0", name=op.f("ck_autoscales_amounts")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_autoscales_pool_id")),
        sa.PrimaryKeyConstraint("pool_id", name=op.f("pk_autoscales")),
    )
    op.create_table(
        "hosts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="schedulable", nullable=False),
        sa.Column("health", sa.String(length=8), nullable=False),
        sa.Column("detail", sa.String(length=400), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("disk_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failure_domain", sa.String(length=63), nullable=False),
        sa.Column("fabric_island", sa.String(length=63), server_default="", nullable=False),
        sa.Column("dedicated_to", sa.String(length=40), nullable=True),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("devices_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=True),
        sa.Column("generation", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("health IN ('up', 'lost')", name=op.f("ck_hosts_health")),
        sa.CheckConstraint(
            "state IN ('schedulable', 'draining', 'maintenance', 'quarantined')", name=op.f("ck_hosts_state")
        ),
        sa.CheckConstraint(
            "cpu_milli >= 0 AND memory_bytes >= 0 AND disk_bytes >= 0", name=op.f("ck_hosts_capacity")
        ),
        sa.ForeignKeyConstraint(["dedicated_to"], ["organizations.id"], name=op.f("fk_hosts_dedicated_to")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_hosts_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hosts")),
        sa.UniqueConstraint("name", name=op.f("uq_hosts_name")),
    )
    op.create_table(
        "notice_targets",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("address", sa.String(length=500), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=True),
        sa.Column("data_class", sa.String(length=63), server_default="general", nullable=False),
        sa.Column("jurisdiction", sa.String(length=2), server_default="JP", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "(channel = 'webhook') = (sealed IS NOT NULL)", name=op.f("ck_notice_targets_secret")
        ),
        sa.CheckConstraint("channel IN ('webhook', 'mail')", name=op.f("ck_notice_targets_channel")),
        sa.CheckConstraint("(sealed IS NULL) = (key_version IS NULL)", name=op.f("ck_notice_targets_sealed")),
        sa.ForeignKeyConstraint(
            ["organization_id", "key_version"],
            ["organization_keys.organization_id", "organization_keys.number"],
            name="fk_notice_targets_key_version",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_notice_targets_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_targets")),
        sa.UniqueConstraint(
            "organization_id", "address", name=op.f("uq_notice_targets_organization_id_address")
        ),
    )
    op.create_index(
        op.f("ix_notice_targets_organization_id_key_version_id"),
        "notice_targets",
        ["organization_id", "key_version", "id"],
        unique=False,
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=True),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expanded_to", sa.String(length=40), server_default="", nullable=False),
        sa.Column("expanded_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('access_request', 'access_approve', 'access_deny', 'access_revoke', 'break_glass', 'break_glass_unexplained', 'witness_fail', 'witness_return', 'log_gap_begin', 'log_gap_end', 'trial')",
            name=op.f("ck_notices_kind"),
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_notices_event_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_notices_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index(op.f("ix_notices_created_us"), "notices", ["created_us"], unique=False)
    op.create_index(
        "ix_notices_unexpanded",
        "notices",
        ["id"],
        unique=False,
        sqlite_where=sa.text("expanded_us IS NULL"),
        postgresql_where=sa.text("expanded_us IS NULL"),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("host_count", sa.Integer(), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="held", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('held', 'ended', 'cancelled')", name=op.f("ck_reservations_state")),
        sa.CheckConstraint("host_count >= 1 AND end_us > start_us", name=op.f("ck_reservations_span")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_reservations_organization_id")
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_reservations_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reservations")),
    )
    op.create_index(
        "uq_reservations_held",
        "reservations",
        ["organization_id", "name"],
        unique=True,
        sqlite_where=sa.text("state = 'held'"),
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_table(
        "role_bindings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("principal_id", sa.String(length=40), nullable=False),
        sa.Column("role", sa.String(length=24), nullable=False),
        sa.Column("scope_kind", sa.String(length=16), nullable=False),
        sa.Column("scope_id", sa.String(length=40), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "role <> 'platform_operator' OR scope_kind = 'platform'",
            name=op.f("ck_role_bindings_operator_scope"),
        ),
        sa.CheckConstraint(
            "role IN ('platform_operator', 'organization_admin', 'member', 'viewer', 'auditor', 'service_account')",
            name=op.f("ck_role_bindings_role"),
        ),
        sa.CheckConstraint(
            "scope_kind IN ('platform', 'organization', 'project')", name=op.f("ck_role_bindings_scope_kind")
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_role_bindings_organization_id")
        ),
        sa.ForeignKeyConstraint(
            ["principal_id"], ["principals.id"], name=op.f("fk_role_bindings_principal_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_bindings")),
        sa.UniqueConstraint(
            "principal_id",
            "role",
            "scope_kind",
            "scope_id",
            name=op.f("uq_role_bindings_principal_id_role_scope_kind_scope_id"),
        ),
    )
    op.create_index(
        op.f("ix_role_bindings_organization_id_id"), "role_bindings", ["organization_id", "id"], unique=False
    )
    op.create_table(
        "secrets",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("data_class", sa.String(length=63), server_default="general", nullable=False),
        sa.Column("jurisdiction", sa.String(length=2), server_default="JP", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.ForeignKeyConstraint(
            ["organization_id", "key_version"],
            ["organization_keys.organization_id", "organization_keys.number"],
            name="fk_secrets_key_version",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_secrets_organization_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_secrets_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_secrets_project_id_name")),
    )
    op.create_index(
        op.f("ix_secrets_organization_id_key_version_id"),
        "secrets",
        ["organization_id", "key_version", "id"],
        unique=False,
    )
    op.create_table(
        "services",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("observed_generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("target", sa.Integer(), server_default="0", nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_us", sa.BigInteger(), nullable=True),
        sa.Column("wanted", sa.Integer(), server_default="0", nullable=False),
        sa.Column("scaler", sa.LargeBinary(), nullable=True),
        sa.Column("scaler_at_us", sa.BigInteger(), nullable=True),
        sa.Column("conditions", sa.Text(), server_default="[]", nullable=False),
        sa.Column("data_class", sa.String(length=63), server_default="general", nullable=False),
        sa.Column("jurisdiction", sa.String(length=2), server_default="JP", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("deleted_us", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "(state = 'deleted') = (deleted_us IS NOT NULL)", name=op.f("ck_services_deleted")
        ),
        sa.CheckConstraint("state IN ('active', 'deleting', 'deleted')", name=op.f("ck_services_state")),
        sa.CheckConstraint(
            "observed_generation BETWEEN 0 AND generation", name=op.f("ck_services_generation")
        ),
        sa.CheckConstraint("revision >= 0 AND target >= 0", name=op.f("ck_services_revision")),
        sa.CheckConstraint("wanted >= 0 AND failures >= 0", name=op.f("ck_services_amounts")),
        sa.ForeignKeyConstraint(["created_by"], ["principals.id"], name=op.f("fk_services_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id", "key_version"],
            ["organization_keys.organization_id", "organization_keys.number"],
            name="fk_services_key_version",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_services_organization_id")
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_services_pool_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_services_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
    )
    op.create_index(
        "ix_services_live",
        "services",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state <> 'deleted'"),
        postgresql_where=sa.text("state <> 'deleted'"),
    )
    op.create_index(
        op.f("ix_services_organization_id_key_version_id"),
        "services",
        ["organization_id", "key_version", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_services_project_id_id"), "services", ["project_id", "id"], unique=False)
    op.create_index(
        "uq_services_name",
        "services",
        ["project_id", "name"],
        unique=True,
        sqlite_where=sa.text("state <> 'deleted'"),
        postgresql_where=sa.text("state <> 'deleted'"),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("principal_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=True),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="active", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('active', 'revoked')", name=op.f("ck_tokens_state")),
        sa.CheckConstraint("expires_us > created_us", name=op.f("ck_tokens_expires")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_tokens_organization_id")
        ),
        sa.ForeignKeyConstraint(["principal_id"], ["principals.id"], name=op.f("fk_tokens_principal_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tokens_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_index(op.f("ix_tokens_principal_id_id"), "tokens", ["principal_id", "id"], unique=False)
    op.create_table(
        "usage_intervals",
        sa.Column("attempt_id", sa.String(length=40), nullable=False),
        sa.Column("start_us", sa.BigInteger(), nullable=False),
        sa.Column("end_us", sa.BigInteger(), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("device_milli", sa.BigInteger(), nullable=False),
        sa.Column("cpu_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("end_us > start_us", name=op.f("ck_usage_intervals_length")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_usage_intervals_organization_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_usage_intervals_project_id")),
        sa.PrimaryKeyConstraint("attempt_id", "start_us", name=op.f("pk_usage_intervals")),
    )
    op.create_index(
        op.f("ix_usage_intervals_organization_id_end_us"),
        "usage_intervals",
        ["organization_id", "end_us"],
        unique=False,
    )
    op.create_index(
        op.f("ix_usage_intervals_project_id_end_us"),
        "usage_intervals",
        ["project_id", "end_us"],
        unique=False,
    )
    op.create_table(
        "volumes",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("made_version", sa.Integer(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "substr(id, 1, length(organization_id) + 1) = organization_id || '.'",
            name=op.f("ck_volumes_owned"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id", "key_version"],
            ["organization_keys.organization_id", "organization_keys.number"],
            name="fk_volumes_key_version",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_volumes_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volumes")),
    )
    op.create_index(
        op.f("ix_volumes_organization_id_key_version_id"),
        "volumes",
        ["organization_id", "key_version", "id"],
        unique=False,
    )
    op.create_table(
        "access_requests",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("requested_by", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("resource_kind", sa.String(length=16), nullable=False),
        sa.Column("resource", sa.String(length=40), nullable=False),
        sa.Column("sets", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("duration_s", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="requested", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("answer_by_us", sa.BigInteger(), nullable=False),
        sa.Column("approved_us", sa.BigInteger(), nullable=True),
        sa.Column("expires_us", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.String(length=40), nullable=True),
        sa.Column("decision", sa.Text(), server_default="", nullable=False),
        sa.Column("rule_id", sa.String(length=40), nullable=True),
        sa.Column("key_id", sa.String(length=40), nullable=True),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(length=64), nullable=True),
        sa.Column("explain_by_us", sa.BigInteger(), nullable=True),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("incident_us", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "approved_us IS NULL OR (kind = 'ordinary' AND signature IS NOT NULL) OR (kind <> 'ordinary' AND decided_by <> requested_by)",
            name=op.f("ck_access_requests_approval"),
        ),
        sa.CheckConstraint(
            "kind IN ('ordinary', 'emergency', 'legal_order')", name=op.f("ck_access_requests_kind")
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'approved', 'denied', 'withdrawn', 'lapsed', 'revoked', 'ended', 'expired')",
            name=op.f("ck_access_requests_state"),
        ),
        sa.CheckConstraint(
            "(approved_us IS NULL) = (expires_us IS NULL)", name=op.f("ck_access_requests_span")
        ),
        sa.ForeignKeyConstraint(["key_id"], ["access_keys.id"], name=op.f("fk_access_requests_key_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_access_requests_organization_id")
        ),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["principals.id"], name=op.f("fk_access_requests_requested_by")
        ),
        sa.ForeignKeyConstraint(["rule_id"], ["access_rules.id"], name=op.f("fk_access_requests_rule_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_requests")),
    )
    op.create_index(
        "ix_access_requests_open",
        "access_requests",
        ["requested_by", "organization_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('requested', 'approved')"),
        postgresql_where=sa.text("state IN ('requested', 'approved')"),
    )
    op.create_index(
        op.f("ix_access_requests_organization_id_id"),
        "access_requests",
        ["organization_id", "id"],
        unique=False,
    )
    op.create_index(
        "ix_access_requests_unexplained",
        "access_requests",
        ["explain_by_us"],
        unique=False,
        sqlite_where=sa.text("explain_by_us IS NOT NULL AND explanation IS NULL AND incident_us IS NULL"),
        postgresql_where=sa.text("explain_by_us IS NOT NULL AND explanation IS NULL AND incident_us IS NULL"),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("host_id", sa.String(length=40), nullable=False),
        sa.Column("uuid", sa.String(length=100), nullable=False),
        sa.Column("physical_uuid", sa.String(length=100), server_default="", nullable=False),
        sa.Column("kind", sa.String(length=63), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("partition", sa.String(length=32), server_default="", nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(length=400), nullable=False),
        sa.Column("health", sa.String(length=12), server_default="healthy", nullable=False),
        sa.Column("detail", sa.String(length=400), server_default="", nullable=False),
        sa.Column("milli_used", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=True),
        sa.Column("service_start_us", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("health IN ('healthy', 'unhealthy', 'gone')", name=op.f("ck_devices_health")),
        sa.CheckConstraint("milli_used BETWEEN 0 AND 1000", name=op.f("ck_devices_milli")),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.id"], name=op.f("fk_devices_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("host_id", "kind", "ordinal", name=op.f("uq_devices_host_id_kind_ordinal")),
        sa.UniqueConstraint("host_id", "uuid", name=op.f("uq_devices_host_id_uuid")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("service_id", sa.String(length=40), nullable=True),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), server_default="pending", nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("array_size", sa.Integer(), nullable=False),
        sa.Column("gang", sa.Boolean(), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("disk_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("wall_time_s", sa.Integer(), server_default="3600", nullable=False),
        sa.Column("devices", sa.Text(), nullable=False),
        sa.Column("rules", sa.Text(), server_default="", nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("work_class", sa.String(length=16), nullable=False),
        sa.Column("on_host_lost", sa.String(length=16), nullable=False),
        sa.Column("data_class", sa.String(length=63), server_default="general", nullable=False),
        sa.Column("jurisdiction", sa.String(length=2), server_default="JP", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "(ended_us IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))",
            name=op.f("ck_jobs_ended"),
        ),
        sa.CheckConstraint("on_host_lost IN ('wait', 'replace')", name=op.f("ck_jobs_on_host_lost")),
        sa.CheckConstraint(
            "state IN ('waiting', 'pending', 'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint(
            "work_class IN ('guaranteed', 'standard', 'preemptible')", name=op.f("ck_jobs_work_class")
        ),
        sa.CheckConstraint("array_size BETWEEN 1 AND 10000", name=op.f("ck_jobs_array_size")),
        sa.ForeignKeyConstraint(["created_by"], ["principals.id"], name=op.f("fk_jobs_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id", "key_version"],
            ["organization_keys.organization_id", "organization_keys.number"],
            name="fk_jobs_key_version",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_jobs_organization_id")
        ),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_jobs_pool_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id")),
        sa.ForeignKeyConstraint(["service_id"], ["services.id"], name=op.f("fk_jobs_service_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_ended",
        "jobs",
        ["ended_us"],
        unique=False,
        sqlite_where=sa.text("ended_us IS NOT NULL"),
        postgresql_where=sa.text("ended_us IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_jobs_organization_id_key_version_id"),
        "jobs",
        ["organization_id", "key_version", "id"],
        unique=False,
    )
    op.create_index(
        "ix_jobs_pending",
        "jobs",
        ["pool_id", "organization_id", sa.literal_column("priority DESC"), "id"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        op.f("ix_jobs_project_id_service_id_id"), "jobs", ["project_id", "service_id", "id"], unique=False
    )
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "machines",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("provider", sa.String(length=63), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.String(length=200), server_default="", nullable=False),
        sa.Column("state", sa.String(length=16), server_default="requested", nullable=False),
        sa.Column("detail", sa.String(length=400), server_default="", nullable=False),
        sa.Column("host_id", sa.String(length=40), nullable=True),
        sa.Column("host_hour_microyen", sa.BigInteger(), nullable=False),
        sa.Column("requested_us", sa.BigInteger(), nullable=False),
        sa.Column("ready_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "(state IN ('released', 'failed')) = (ended_us IS NOT NULL)", name=op.f("ck_machines_ended")
        ),
        sa.CheckConstraint(
            "state <> 'ready' OR (host_id IS NOT NULL AND ready_us IS NOT NULL)",
            name=op.f("ck_machines_ready"),
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'booting', 'ready', 'releasing', 'released', 'failed')",
            name=op.f("ck_machines_state"),
        ),
        sa.CheckConstraint("host_hour_microyen >= 0", name=op.f("ck_machines_price")),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.id"], name=op.f("fk_machines_host_id")),
        sa.ForeignKeyConstraint(["pool_id"], ["pools.id"], name=op.f("fk_machines_pool_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_machines")),
        sa.UniqueConstraint("name", name=op.f("uq_machines_name")),
    )
    op.create_index(
        "ix_machines_live",
        "machines",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state NOT IN ('released', 'failed')"),
        postgresql_where=sa.text("state NOT IN ('released', 'failed')"),
    )
    op.create_index(op.f("ix_machines_pool_id_id"), "machines", ["pool_id", "id"], unique=False)
    op.create_table(
        "notice_sendings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("notice_id", sa.String(length=40), nullable=False),
        sa.Column("target_id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="pending", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.String(length=400), server_default="", nullable=False),
        sa.CheckConstraint("(state = 'pending') = (ended_us IS NULL)", name=op.f("ck_notice_sendings_ended")),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'given_up')", name=op.f("ck_notice_sendings_state")
        ),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_notice_sendings_attempts")),
        sa.ForeignKeyConstraint(
            ["notice_id"], ["notices.id"], name=op.f("fk_notice_sendings_notice_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_notice_sendings_organization_id")
        ),
        sa.ForeignKeyConstraint(
            ["target_id"],
            ["notice_targets.id"],
            name=op.f("fk_notice_sendings_target_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_sendings")),
        sa.UniqueConstraint("notice_id", "target_id", name=op.f("uq_notice_sendings_notice_id_target_id")),
    )
    op.create_index(
        "ix_notice_sendings_due",
        "notice_sendings",
        ["target_id", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        op.f("ix_notice_sendings_organization_id_id"),
        "notice_sendings",
        ["organization_id", "id"],
        unique=False,
    )
    op.create_table(
        "revisions",
        sa.Column("id", sa.String(length=48), nullable=False),
        sa.Column("service_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=16), server_default="rolling", nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "state IN ('rolling', 'serving', 'retired', 'failed')", name=op.f("ck_revisions_state")
        ),
        sa.CheckConstraint("number >= 1", name=op.f("ck_revisions_number")),
        sa.ForeignKeyConstraint(["created_by"], ["principals.id"], name=op.f("fk_revisions_created_by")),
        sa.ForeignKeyConstraint(
            ["organization_id", "key_version"],
            ["organization_keys.organization_id", "organization_keys.number"],
            name="fk_revisions_key_version",
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_revisions_organization_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_revisions_project_id")),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_revisions_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint("service_id", "number", name=op.f("uq_revisions_service_id_number")),
    )
    op.create_index(
        op.f("ix_revisions_organization_id_key_version_id"),
        "revisions",
        ["organization_id", "key_version", "id"],
        unique=False,
    )
    op.create_index(
        "uq_revisions_rolling",
        "revisions",
        ["service_id"],
        unique=True,
        sqlite_where=sa.text("state = 'rolling'"),
        postgresql_where=sa.text("state = 'rolling'"),
    )
    op.create_index(
        "uq_revisions_serving",
        "revisions",
        ["service_id"],
        unique=True,
        sqlite_where=sa.text("state = 'serving'"),
        postgresql_where=sa.text("state = 'serving'"),
    )
    op.create_table(
        "scalings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("service_id", sa.String(length=40), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.Integer(), nullable=False),
        sa.Column("ready", sa.Integer(), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("demand_milli", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("inputs", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "wanted >= 0 AND ready >= 0 AND waiting >= 0 AND demand_milli >= 0",
            name=op.f("ck_scalings_amounts"),
        ),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_scalings_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scalings")),
    )
    op.create_index(op.f("ix_scalings_service_id_id"), "scalings", ["service_id", "id"], unique=False)
    op.create_table(
        "service_routes",
        sa.Column("host", sa.String(length=253), nullable=False),
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("service_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_service_routes_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("host", "path", name=op.f("pk_service_routes")),
    )
    op.create_index(op.f("ix_service_routes_service_id"), "service_routes", ["service_id"], unique=False)
    op.create_table(
        "access_uses",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("request_id", sa.String(length=40), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("resource", sa.String(length=1200), nullable=False),
        sa.Column("call", sa.String(length=2200), nullable=False),
        sa.Column("phase", sa.String(length=8), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_access_uses_event_id")),
        sa.ForeignKeyConstraint(
            ["request_id"], ["access_requests.id"], name=op.f("fk_access_uses_request_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_uses")),
    )
    op.create_index(op.f("ix_access_uses_request_id_id"), "access_uses", ["request_id", "id"], unique=False)
    op.create_table(
        "job_dependencies",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("depends_on_id", sa.String(length=40), nullable=False),
        sa.Column("condition", sa.String(length=16), nullable=False),
        sa.CheckConstraint("condition IN ('succeeded', 'ended')", name=op.f("ck_job_dependencies_condition")),
        sa.CheckConstraint("job_id <> depends_on_id", name=op.f("ck_job_dependencies_self")),
        sa.ForeignKeyConstraint(
            ["depends_on_id"], ["jobs.id"], name=op.f("fk_job_dependencies_depends_on_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_dependencies_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "depends_on_id", name=op.f("pk_job_dependencies")),
    )
    op.create_index(
        op.f("ix_job_dependencies_depends_on_id"), "job_dependencies", ["depends_on_id"], unique=False
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("service_id", sa.String(length=40), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="starting", nullable=False),
        sa.Column("reason", sa.String(length=400), nullable=True),
        sa.Column("busy", sa.Integer(), server_default="0", nullable=False),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.Column("ready_us", sa.BigInteger(), nullable=True),
        sa.Column("drain_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("(state = 'ended') = (ended_us IS NOT NULL)", name=op.f("ck_replicas_ended")),
        sa.CheckConstraint("state <> 'draining' OR drain_us IS NOT NULL", name=op.f("ck_replicas_draining")),
        sa.CheckConstraint("state <> 'ready' OR ready_us IS NOT NULL", name=op.f("ck_replicas_ready")),
        sa.CheckConstraint(
            "state IN ('starting', 'ready', 'unready', 'draining', 'ended')", name=op.f("ck_replicas_state")
        ),
        sa.CheckConstraint("revision >= 1 AND busy >= 0", name=op.f("ck_replicas_revision")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_replicas_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_replicas_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replicas")),
        sa.UniqueConstraint("job_id", name=op.f("uq_replicas_job_id")),
    )
    op.create_index(
        "ix_replicas_live",
        "replicas",
        ["service_id", "id"],
        unique=False,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index(op.f("ix_replicas_service_id_id"), "replicas", ["service_id", "id"], unique=False)
    op.create_table(
        "tasks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("pool_id", sa.String(length=40), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("class_rank", sa.Integer(), server_default="1", nullable=False),
        sa.Column("state", sa.String(length=16), server_default="queued", nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("not_before_us", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'active', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_tasks_state")
        ),
        sa.CheckConstraint("ordinal >= 0", name=op.f("ck_tasks_ordinal")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_tasks_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("job_id", "ordinal", name=op.f("uq_tasks_job_id_ordinal")),
    )
    op.create_index(op.f("ix_tasks_job_id_state"), "tasks", ["job_id", "state"], unique=False)
    op.create_index(
        "ix_tasks_queue",
        "tasks",
        ["pool_id", sa.literal_column("priority DESC"), "id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_tasks_turn",
        "tasks",
        ["pool_id", "organization_id", "class_rank", sa.literal_column("priority DESC"), "id"],
        unique=False,
        sqlite_where=sa.text("state = 'queued'"),
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("task_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("organization_id", sa.String(length=40), nullable=False),
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("host_id", sa.String(length=40), nullable=False),
        sa.Column("plan_id", sa.String(length=40), nullable=False),
        sa.Column("candidates", sa.Integer(), nullable=False),
        sa.Column("engine", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="placed", nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("cpu_milli", sa.BigInteger(), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("disk_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("placed_us", sa.BigInteger(), nullable=False),
        sa.Column("start_before_us", sa.BigInteger(), nullable=False),
        sa.Column("lease_us", sa.BigInteger(), nullable=True),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("metered_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("cpu_us", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("memory_peak_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("detail", sa.String(length=400), server_default="", nullable=False),
        sa.Column("preempted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("log_purged", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("(state = 'ended') = (ended_us IS NOT NULL)", name=op.f("ck_attempts_ended")),
        sa.CheckConstraint(
            "(state = 'ended') = (outcome IS NOT NULL)", name=op.f("ck_attempts_ended_outcome")
        ),
        sa.CheckConstraint(
            "outcome IS NULL OR outcome IN ('exited', 'signalled', 'timeout', 'memory', 'cancelled', 'lease_lost', 'host_lost', 'start_failed', 'preempted')",
            name=op.f("ck_attempts_outcome"),
        ),
        sa.CheckConstraint("state <> 'running' OR started_us IS NOT NULL", name=op.f("ck_attempts_running")),
        sa.CheckConstraint(
            "state IN ('placed', 'running', 'stopping', 'ended')", name=op.f("ck_attempts_state")
        ),
        sa.CheckConstraint("cpu_milli > 0 AND memory_bytes > 0", name=op.f("ck_attempts_size")),
        sa.CheckConstraint(
            "ended_us IS NULL OR started_us IS NULL OR ended_us >= started_us", name=op.f("ck_attempts_times")
        ),
        sa.ForeignKeyConstraint(["host_id"], ["hosts.id"], name=op.f("fk_attempts_host_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_attempts_organization_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_attempts_project_id")),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_attempts_task_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("task_id", "number", name=op.f("uq_attempts_task_id_number")),
    )
    op.create_index(
        "ix_attempts_due",
        "attempts",
        ["engine", "state", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('placed', 'stopping')"),
        postgresql_where=sa.text("state IN ('placed', 'stopping')"),
    )
    op.create_index(
        "ix_attempts_engine",
        "attempts",
        ["engine", "id"],
        unique=False,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index(op.f("ix_attempts_job_id"), "attempts", ["job_id"], unique=False)
    op.create_index(
        "ix_attempts_live",
        "attempts",
        ["host_id", "state"],
        unique=False,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index(
        "ix_attempts_log",
        "attempts",
        ["ended_us"],
        unique=False,
        sqlite_where=sa.text("NOT log_purged AND ended_us IS NOT NULL"),
        postgresql_where=sa.text("NOT log_purged AND ended_us IS NOT NULL"),
    )
    op.create_index(
        "uq_attempts_live_task",
        "attempts",
        ["task_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'ended'"),
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_table(
        "attempt_devices",
        sa.Column("attempt_id", sa.String(length=40), nullable=False),
        sa.Column("device_id", sa.String(length=40), nullable=False),
        sa.Column("milli", sa.Integer(), server_default="1000", nullable=False),
        sa.Column("released", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("milli BETWEEN 1 AND 1000", name=op.f("ck_attempt_devices_milli")),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name=op.f("fk_attempt_devices_attempt_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_attempt_devices_device_id")),
        sa.PrimaryKeyConstraint("attempt_id", "device_id", name=op.f("pk_attempt_devices")),
    )
    op.create_index(
        "ix_attempt_devices_held",
        "attempt_devices",
        ["device_id"],
        unique=False,
        sqlite_where=sa.text("NOT released"),
        postgresql_where=sa.text("NOT released"),
    )


def downgrade() -> None:
    raise NotImplementedError("schemas grow and are never shrunk: restore a copy of the database instead")
