"""Where sealed things are kept: what a rotation wraps anew, and what keeps an old key version in use."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Table

from kumoi.store import schema
from kumoi.store.keys.names import SealedName
from kumoi.store.notice_targets import target_seal_name
from kumoi.store.schema import AnyRow
from kumoi.store.secrets import secret_seal_name
from kumoi.store.specs import spec_seal_name
from kumoi.store.volumes.rows import volume_seal_name


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table with `id`, `organization_id`, `sealed` and `key_version`, its `sealed_with` constraint, and an
    index over (organization_id, key_version, id). `name` is what a row's blob was sealed as."""

    table: Table
    name: Callable[[AnyRow], SealedName]


SEALED_TABLES = (
    SealedTable(schema.notice_targets, lambda row: target_seal_name(row.organization_id, row.id)),
    *(
        SealedTable(table, lambda row: spec_seal_name(row.organization_id, row.project_id))
        for table in (schema.jobs, schema.services, schema.revisions)
    ),
    SealedTable(schema.secrets, lambda row: secret_seal_name(row.organization_id, row.project_id, row.name)),
    SealedTable(schema.volumes, lambda row: volume_seal_name(row.organization_id)),
)
