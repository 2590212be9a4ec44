"""Notices: the outbox, written with the event that each is about, and the sendings of each to its targets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, func, select, update

from kumoi.model.ids import IdKind
from kumoi.model.notices import REGION_WIDE, NoticeKind, NoticeSending
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.ids import id_new
from kumoi.store.schema import AnyRow, in_state
from kumoi.store.writer import insert_many

EXPAND_MAX = 1_000
"""Targets that one transaction writes sendings for."""


def notice_row(kind: NoticeKind, event: Mapping[str, Any]) -> dict[str, Any]:
    """The row for `schema.notices`, to be written in the transaction that writes the row `event`.

    It goes to the targets of the event's organization, a region-wide one to everybody's. Nudge the loop
    `notices` after the commit.
    """
    return {
        "id": id_new(IdKind.NOTICE),
        "organization_id": None if kind in REGION_WIDE else event["organization_id"],
        "kind": kind.value,
        "event_id": event["id"],
        "created_us": event["at_us"],
    }


def sending_row(notice_id: str, next_us: int, target_id: str, organization_id: str) -> dict[str, Any]:
    """The row of a sending that is due at `next_us`."""
    return {
        "id": id_new(IdKind.NOTICE_SENDING),
        "notice_id": notice_id,
        "target_id": target_id,
        "organization_id": organization_id,
        "next_us": next_us,
    }


@dataclass(frozen=True, slots=True)
class SendingEnd:
    """What became of one try. `next_us` is None where there will be no other; a try that waits for a key is
    not counted."""

    id: str
    now_us: int
    is_delivered: bool
    failure: str = ""
    next_us: int | None = None
    is_counted: bool = True


def notice_expand(connection: Connection, now_us: int) -> bool:
    """Write the sendings of the oldest notice that lacks some, a bounded number; False if none does.

    Targets that are younger than the notice do not get it.
    """
    notices, targets = schema.notices, schema.notice_targets
    waiting = select(notices).where(notices.c.expanded_us.is_(None)).order_by(notices.c.id).limit(1)
    notice = connection.execute(waiting.with_for_update()).one_or_none()
    if notice is None:
        return False
    statement = (
        select(targets)
        .where(targets.c.id > notice.expanded_to, targets.c.created_us <= notice.created_us)
        .order_by(targets.c.id)
        .limit(EXPAND_MAX)
    )
    if notice.organization_id is not None:
        statement = statement.where(targets.c.organization_id == notice.organization_id)
    page = connection.execute(statement).all()
    rows = [
        sending_row(notice.id, notice.created_us, target.id, target.organization_id)
        for target in page
        if notice.kind in msgspec.json.decode(target.kinds)
    ]
    insert_many(connection, schema.notice_sendings, rows)
    done = {"expanded_us": now_us} if len(page) < EXPAND_MAX else {"expanded_to": page[-1].id}
    connection.execute(update(notices).where(notices.c.id == notice.id).values(**done))
    return True


def sendings_due(connection: Connection, now_us: int, limit: int) -> Sequence[AnyRow]:
    """The oldest due sending of each target: its id, target, organization, attempts; first tries first."""
    table = schema.notice_sendings
    oldest = (
        select(func.min(table.c.id).label("id"))
        .where(in_state(table, "pending"), table.c.next_us <= now_us)
        .group_by(table.c.target_id)
        .subquery()
    )
    statement = (
        select(table.c.id, table.c.target_id, table.c.organization_id, table.c.attempts)
        .join(oldest, oldest.c.id == table.c.id)
        .order_by(table.c.attempts > 0, table.c.next_us, table.c.id)
        .limit(limit)
    )
    return connection.execute(statement).all()


def sendings_get(connection: Connection, sending_ids: Sequence[str]) -> Sequence[AnyRow]:
    """What sending each takes: the sending, its notice, the event's text, the target, its sealed secret."""
    sendings, notices, targets, events = (
        schema.notice_sendings,
        schema.notices,
        schema.notice_targets,
        schema.events,
    )
    statement = (
        select(
            sendings.c.id,
            sendings.c.attempts,
            sendings.c.notice_id,
            sendings.c.target_id,
            sendings.c.organization_id,
            notices.c.kind,
            notices.c.created_us,
            events.c.organization_id.label("event_organization_id"),
            events.c.canonical,
            targets.c.channel,
            targets.c.address,
            targets.c.sealed,
            targets.c.key_version,
        )
        .join(notices, notices.c.id == sendings.c.notice_id)
        .join(events, events.c.id == notices.c.event_id)
        .join(targets, targets.c.id == sendings.c.target_id)
        .where(sendings.c.id.in_(sending_ids), in_state(sendings, "pending"))
    )
    return connection.execute(statement).all()


def sendings_record(connection: Connection, ends: Sequence[SendingEnd]) -> None:
    """Write what became of tries. One that was given up is an event; of a target that is gone nothing is."""
    table = schema.notice_sendings
    for end in ends:
        state = "delivered" if end.is_delivered else "pending" if end.next_us is not None else "given_up"
        values: dict[str, object] = {"state": state, "failure": end.failure}
        if state == "pending":
            values["next_us"] = end.next_us
        else:
            values["ended_us"] = end.now_us
        statement = update(table).where(table.c.id == end.id, in_state(table, "pending"))
        changed = connection.execute(
            statement.values(attempts=table.c.attempts + int(end.is_counted), **values)
        ).rowcount
        if changed and state == "given_up":
            _given_up_tell(connection, end)


def _given_up_tell(connection: Connection, end: SendingEnd) -> None:
    table = schema.notice_sendings
    row = connection.execute(select(table).where(table.c.id == end.id)).one()
    event = event_row(
        "notice_give_up",
        at_us=end.now_us,
        actor=SYSTEM_ACTOR,
        resource=row.target_id,
        organization=row.organization_id,
        detail={"notice": row.notice_id, "attempts": row.attempts, "failure": row.failure},
    )
    insert_many(connection, schema.events, [event])


def sending_list(
    connection: Connection, organization_id: str, limit: int, before_id: str | None
) -> Sequence[NoticeSending]:
    """Sendings of an organization's targets, newest first, older than `before_id`."""
    sendings, notices = schema.notice_sendings, schema.notices
    statement = (
        select(sendings, notices.c.kind, notices.c.event_id, notices.c.created_us)
        .join(notices, notices.c.id == sendings.c.notice_id)
        .where(sendings.c.organization_id == organization_id)
    )
    if before_id is not None:
        statement = statement.where(sendings.c.id < before_id)
    rows = connection.execute(statement.order_by(sendings.c.id.desc()).limit(limit))
    return [sending_from_row(row) for row in rows]


def sending_from_row(row: Any) -> NoticeSending:
    """The sending as its organization sees it."""
    return NoticeSending(
        id=row.id,
        notice=row.notice_id,
        target=row.target_id,
        kind=NoticeKind(row.kind),
        event=row.event_id,
        state=row.state,
        attempts=row.attempts,
        failure=row.failure,
        created_at=time_format(row.created_us),
        next_at=time_format(row.next_us) if row.state == "pending" else None,
        ended_at=None if row.ended_us is None else time_format(row.ended_us),
    )


def notices_drop(connection: Connection, before_us: int, limit: int) -> int:
    """Drop notices from before `before_us` that nobody waits for, with their sendings."""
    notices, sendings = schema.notices, schema.notice_sendings
    pending = and_(sendings.c.notice_id == notices.c.id, in_state(sendings, "pending"))
    statement = (
        select(notices.c.id)
        .where(
            notices.c.created_us < before_us,
            notices.c.expanded_us.is_not(None),
            ~select(1).where(pending).exists(),
        )
        .limit(limit)
    )
    old = notices.delete().where(notices.c.id.in_(statement.scalar_subquery()))
    return connection.execute(old).rowcount
