"""The schema. It refuses impossible states by itself: its CHECKs come from `core.lifecycles`.

`version` counts the changes of a row and is its ETag.
"""

from kumoi.store.schema.access import organizations, principals, projects, region, role_bindings, tokens
from kumoi.store.schema.capacity import capacity_days, capacity_plans, device_models
from kumoi.store.schema.columns import AnyRow, in_state, is_false, metadata
from kumoi.store.schema.keys import key_holders, organization_keys
from kumoi.store.schema.machines import autoscales, machines
from kumoi.store.schema.notices import log_gaps, notice_sendings, notice_targets, notices
from kumoi.store.schema.operator_access import access_keys, access_requests, access_rules, access_uses
from kumoi.store.schema.places import devices, host_touches, hosts, pools, sites
from kumoi.store.schema.records import (
    events,
    idempotency_keys,
    leases,
    log_bundles,
    log_heads,
    log_published,
    log_tiles,
    log_witnesses,
    refusals,
    secrets,
    volumes,
)
from kumoi.store.schema.services import (
    replica_is_live,
    replicas,
    revisions,
    scalings,
    service_is_live,
    service_routes,
    services,
)
from kumoi.store.schema.shares import (
    budgets,
    fair_shares,
    pool_uses,
    quotas,
    rates,
    reservation_hosts,
    reservations,
)
from kumoi.store.schema.work import (
    attempt_devices,
    attempts,
    is_due,
    is_live,
    job_dependencies,
    jobs,
    plans,
    tasks,
    tombstones,
    usage_intervals,
)

__all__ = [
    "AnyRow",
    "access_keys",
    "access_requests",
    "access_rules",
    "access_uses",
    "attempt_devices",
    "attempts",
    "autoscales",
    "budgets",
    "capacity_days",
    "capacity_plans",
    "device_models",
    "devices",
    "events",
    "fair_shares",
    "host_touches",
    "hosts",
    "idempotency_keys",
    "in_state",
    "is_due",
    "is_false",
    "is_live",
    "job_dependencies",
    "jobs",
    "key_holders",
    "leases",
    "log_bundles",
    "log_gaps",
    "log_heads",
    "log_published",
    "log_tiles",
    "log_witnesses",
    "machines",
    "metadata",
    "notice_sendings",
    "notice_targets",
    "notices",
    "organization_keys",
    "organizations",
    "plans",
    "pool_uses",
    "pools",
    "principals",
    "projects",
    "quotas",
    "rates",
    "refusals",
    "region",
    "replica_is_live",
    "replicas",
    "reservation_hosts",
    "reservations",
    "revisions",
    "role_bindings",
    "scalings",
    "secrets",
    "service_is_live",
    "service_routes",
    "services",
    "sites",
    "tasks",
    "tokens",
    "tombstones",
    "usage_intervals",
    "volumes",
]
