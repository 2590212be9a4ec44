"""Targets of notices; the store holds the secrets of webhooks sealed."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, delete, func, select

from kumoi.model.ids import IdKind
from kumoi.model.notices import NoticeChannel, NoticeKind, NoticeTarget
from kumoi.model.time import US_PER_S, time_format
from kumoi.store import schema
from kumoi.store.ids import id_ago
from kumoi.store.keys.names import SealedName
from kumoi.store.schema import AnyRow

CLOCKS_APART_S = 600
_ADDED = '{"action":"notice_target_create",'
_BY_MAIL = '"detail":{"channel":"mail",'


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


def targets_hold(connection: Connection, organization_id: str) -> None:
    """Have other planes that add or try a target of the organization wait until this one has."""
    organizations = schema.organizations
    own = select(organizations.c.id).where(organizations.c.id == organization_id)
    connection.execute(own.with_for_update(key_share=True))


def target_count(connection: Connection, organization_id: str) -> int:
    """How many targets an organization has; they are held."""
    table = schema.notice_targets
    targets_hold(connection, organization_id)
    counted = select(func.count()).where(table.c.organization_id == organization_id)
    return int(connection.execute(counted).scalar_one())


def target_delete(connection: Connection, target_id: str) -> bool:
    """Remove a target with the sendings to it; False if it is gone already."""
    table = schema.notice_targets
    return connection.execute(delete(table).where(table.c.id == target_id)).rowcount == 1


def is_tried_since(connection: Connection, organization_id: str, since_us: int) -> bool:
    """Whether a trial was sent to any target of the organization after `since_us`, removed ones included."""
    notices = schema.notices
    statement = select(notices.c.id).where(
        notices.c.created_us > since_us,
        notices.c.organization_id == organization_id,
        notices.c.kind == NoticeKind.TRIAL,
    )
    return connection.execute(statement.limit(1)).first() is not None


def mails_added(connection: Connection, organization_id: str, now_us: int, within_s: int) -> int:
    """How many mail targets the organization added in the last `within_s` seconds, removed ones included.

    Its events tell, which nobody removes.
    """
    events = schema.events
    statement = select(func.count()).where(
        events.c.organization_id == organization_id,
        events.c.id >= id_ago(IdKind.EVENT, within_s + CLOCKS_APART_S),
        events.c.at_us > now_us - within_s * US_PER_S,
        events.c.canonical.startswith(_ADDED),
        events.c.canonical.contains(_BY_MAIL),
    )
    return int(connection.execute(statement).scalar_one())


def _from_row(row: AnyRow) -> NoticeTarget:
    return NoticeTarget(
        id=row.id,
        organization=row.organization_id,
        channel=NoticeChannel(row.channel),
        address=row.address,
        kinds=tuple(NoticeKind(kind) for kind in msgspec.json.decode(row.kinds)),
        created_at=time_format(row.created_us),
    )
