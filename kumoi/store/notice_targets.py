"""Targets of notices; the store holds the secrets of webhooks sealed."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, select

from kumoi.model.notices import NoticeChannel, NoticeKind, NoticeTarget
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.keys.names import SealedName
from kumoi.store.schema import AnyRow


def target_seal_name(organization_id: str, target_id: str) -> SealedName:
    """What the secret of a webhook is sealed as."""
    return SealedName("notice-target", organization_id, (target_id,))


def kinds_format(kinds: Sequence[NoticeKind]) -> str:
    """Kinds as the store keeps them."""
    return msgspec.json.encode(sorted(set(kinds))).decode()


def target_get(connection: Connection, target_id: str) -> NoticeTarget | None:
    """One target, without its secret."""
    table = schema.notice_targets
    row = connection.execute(select(table).where(table.c.id == target_id)).one_or_none()
    return None if row is None else _from_row(row)


def target_list(
    connection: Connection, organization_id: str, limit: int, after_id: str | None
) -> Sequence[NoticeTarget]:
    """Targets of an organization, oldest first, after `after_id`, without their secrets."""
    table = schema.notice_targets
    statement = select(table).where(table.c.organization_id == organization_id, table.c.id > (after_id or ""))
    return [_from_row(row) for row in connection.execute(statement.order_by(table.c.id).limit(limit))]


def target_count(connection: Connection, organization_id: str) -> int:
    """How many targets an organization has; another plane that adds one waits until this one has."""
    organizations, table = schema.organizations, schema.notice_targets
    own = select(organizations.c.id).where(organizations.c.id == organization_id)
    connection.execute(own.with_for_update(key_share=True))
    counted = select(func.count()).where(table.c.organization_id == organization_id)
    return int(connection.execute(counted).scalar_one())


def target_delete(connection: Connection, target_id: str) -> bool:
    """Remove a target with the sendings to it; False if it is gone already."""
    table = schema.notice_targets
    return connection.execute(delete(table).where(table.c.id == target_id)).rowcount == 1


def trial_latest_us(connection: Connection, target_id: str) -> int:
    """When the last trial was sent to a target; 0 for never."""
    notices, sendings = schema.notices, schema.notice_sendings
    statement = (
        select(func.max(notices.c.created_us))
        .join(sendings, sendings.c.notice_id == notices.c.id)
        .where(sendings.c.target_id == target_id, notices.c.kind == NoticeKind.TRIAL)
    )
    return connection.execute(statement).scalar_one() or 0


def _from_row(row: AnyRow) -> NoticeTarget:
    return NoticeTarget(
        id=row.id,
        organization=row.organization_id,
        channel=NoticeChannel(row.channel),
        address=row.address,
        kinds=tuple(NoticeKind(kind) for kind in msgspec.json.decode(row.kinds)),
        created_at=time_format(row.created_us),
    )
