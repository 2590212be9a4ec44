"""Requests of operators for access to what is a tenant's, what they grant, and what was done with it."""

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from kumoi.model.access import AccessGrant, AccessSet, ResourceKind
from kumoi.model.access_requests import AccessKind, AccessRequest, AccessUse
from kumoi.model.ids import IdKind
from kumoi.model.notices import NoticeKind
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.notices import notice_row
from kumoi.store.schema import (
    AnyRow,
    access_requests,
    access_uses,
    events,
    in_state,
    jobs,
    projects,
    services,
)
from kumoi.store.writer import Move, insert_many, move_many

LIVE_MAX = 10_000
LAPSE = "access_request_lapse"
EXPIRE = "access_request_expire"
INCIDENT = "access_request_incident"
_KINDS = {
    IdKind.PROJECT.value: ResourceKind.PROJECT,
    IdKind.JOB.value: ResourceKind.JOB,
    IdKind.SERVICE.value: ResourceKind.SERVICE,
}
_TABLES = {ResourceKind.PROJECT: projects, ResourceKind.JOB: jobs, ResourceKind.SERVICE: services}


def access_request_get(connection: Connection, organization_id: str, request_id: str) -> AnyRow | None:
    """The row of a request about an organization."""
    statement = select(access_requests).where(
        access_requests.c.id == request_id, access_requests.c.organization_id == organization_id
    )
    return connection.execute(statement).one_or_none()


def access_request_list(
    connection: Connection, organization_id: str, limit: int, before_id: str | None
) -> Sequence[AccessRequest]:
    """Requests about an organization, newest first, older than `before_id`."""
    statement = select(access_requests).where(access_requests.c.organization_id == organization_id)
    if before_id is not None:
        statement = statement.where(access_requests.c.id < before_id)
    rows = connection.execute(statement.order_by(access_requests.c.id.desc()).limit(limit))
    return [access_request_of(row._asdict()) for row in rows]


def access_grants(
    connection: Connection, operator_id: str, organization_id: str, now_us: int
) -> tuple[AccessGrant, ...]:
    """What an operator may do in an organization at `now_us`, one grant for each live request."""
    statement = (
        select(access_requests)
        .where(
            access_requests.c.requested_by == operator_id,
            access_requests.c.organization_id == organization_id,
            in_state(access_requests, "approved"),
            access_requests.c.expires_us > now_us,
        )
        .order_by(access_requests.c.id)
    )
    return tuple(
        AccessGrant(
            row.id,
            row.organization_id,
            ResourceKind(row.resource_kind),
            row.resource,
            frozenset(sets_of(row.sets)),
        )
        for row in connection.execute(statement)
    )


def access_grants_hold(connection: Connection, request_ids: Collection[str], now_us: int) -> bool:
    """Whether each of these requests still grants at `now_us`; inside a transaction it goes on doing so."""
    table = access_requests
    statement = select(table.c.id).where(
        table.c.id.in_(request_ids), in_state(table, "approved"), table.c.expires_us > now_us
    )
    held = connection.execute(statement.with_for_update(read=True)).scalars().all()
    return len(held) == len(request_ids)


def resource_find(
    connection: Connection, organization_id: str, resource: str
) -> tuple[ResourceKind, str | None] | None:
    """The kind and, if any, the project of a resource of an organization; None if it is not its own."""
    if resource == organization_id:
        return ResourceKind.ORGANIZATION, None
    kind = _KINDS.get(resource.partition("_")[0])
    if kind is None:
        return None
    table = _TABLES[kind]
    statement = select(table).where(table.c.id == resource, table.c.organization_id == organization_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    return kind, resource if kind == ResourceKind.PROJECT else row.project_id


def access_requests_open(connection: Connection, operator_id: str, organization_id: str) -> int:
    """How many requests of an operator about an organization wait or are live."""
    statement = select(access_requests.c.id).where(
        access_requests.c.requested_by == operator_id,
        access_requests.c.organization_id == organization_id,
        or_(in_state(access_requests, "requested"), in_state(access_requests, "approved")),
    )
    return len(connection.execute(statement).all())


def access_requests_revoke(connection: Connection, column: str, held_id: str) -> list[tuple[AnyRow, Move]]:
    """The live requests that a rule (`rule_id`) or a key (`key_id`) approved, each with its end."""
    table = access_requests
    statement = select(table).where(table.c[column] == held_id, in_state(table, "approved"))
    rows = connection.execute(statement.order_by(table.c.id).limit(LIVE_MAX)).all()
    return [(row, Move(table, row.id, "approved", "revoked", {})) for row in rows]


def access_requests_expire(
    connection: Connection, platform_organization_id: str, now_us: int, limit: int
) -> int:
    """Move requests whose time to be answered or used ran out, and note as incidents what was not explained.

    Returns how many steps were taken, at most `limit`.
    """
    steps = _due(connection, now_us, limit)
    told, notices = [], []
    for row, action, _, _ in steps:
        brief = {"organization": row.organization_id, "kind": row.kind, "requested_by": row.requested_by}
        of_tenant, of_platform = (
            event_row(
                action,
                at_us=now_us,
                actor=SYSTEM_ACTOR,
                resource=row.id,
                organization=organization_id,
                detail=brief,
            )
            for organization_id in (row.organization_id, platform_organization_id)
        )
        told += [of_tenant, of_platform]
        if action == INCIDENT:
            notices.append(notice_row(NoticeKind.BREAK_GLASS_UNEXPLAINED, of_tenant))
    move_many(
        connection,
        [Move(access_requests, row.id, row.state, target, values) for row, _, target, values in steps],
    )
    insert_many(connection, events, told)
    insert_many(connection, schema.notices, notices)
    return len(steps)


def _due(connection: Connection, now_us: int, limit: int) -> list[tuple[AnyRow, str, str, Mapping[str, Any]]]:
    """Row, event, new state and values of each step that is due; of one request the most pressing step."""
    table = access_requests
    unexplained = and_(
        table.c.explain_by_us.is_not(None), table.c.explanation.is_(None), table.c.incident_us.is_(None)
    )
    statement = select(table).where(
        or_(
            in_state(table, "requested") & (table.c.answer_by_us <= now_us),
            in_state(table, "approved") & (table.c.expires_us <= now_us),
            unexplained & (table.c.explain_by_us <= now_us),
        )
    )
    steps: list[tuple[AnyRow, str, str, Mapping[str, Any]]] = []
    for row in connection.execute(statement.order_by(table.c.id).limit(limit)):
        if row.state == "requested":
            steps.append((row, LAPSE, "lapsed", {}))
        elif row.state == "approved" and row.expires_us <= now_us:
            steps.append((row, EXPIRE, "expired", {}))
        else:
            steps.append((row, INCIDENT, row.state, {"incident_us": now_us}))
    return steps


def access_use_list(
    connection: Connection, request_id: str, limit: int, after_id: str | None
) -> Sequence[AccessUse]:
    """What was done with a request, oldest first, after `after_id`."""
    statement = (
        select(access_uses)
        .where(access_uses.c.request_id == request_id, access_uses.c.id > (after_id or ""))
        .order_by(access_uses.c.id)
        .limit(limit)
    )
    return [_use(row) for row in connection.execute(statement)]


def sets_of(text: str) -> tuple[AccessSet, ...]:
    """The sets in a row's column."""
    return tuple(AccessSet(name) for name in text.split(","))


def sets_text(sets: Sequence[AccessSet]) -> str:
    """The sets for a row's column: sorted, each once, as statements have them."""
    return ",".join(sorted(set(sets)))


def access_request_of(values: Mapping[str, Any]) -> AccessRequest:
    """The request as tenant and operators see it, from the columns of its row."""
    signature = values.get("signature")
    return AccessRequest(
        id=values["id"],
        organization=values["organization_id"],
        kind=AccessKind(values["kind"]),
        state=values["state"],
        requested_by=values["requested_by"],
        resource=values["resource"],
        sets=sets_of(values["sets"]),
        reason=values["reason"],
        duration_s=values["duration_s"],
        created_at=time_format(values["created_us"]),
        answer_by=time_format(values["answer_by_us"]),
        approved_at=_time(values.get("approved_us")),
        expires_at=_time(values.get("expires_us")),
        decided_by=values.get("decided_by"),
        decision=values.get("decision", ""),
        rule=values.get("rule_id"),
        key=values.get("key_id"),
        statement=values["statement"],
        signature=None if signature is None else base64.b64encode(signature).decode(),
        explain_by=_time(values.get("explain_by_us")),
        explanation=values.get("explanation"),
        incident_at=_time(values.get("incident_us")),
        version=values["version"],
    )


def _use(row: AnyRow) -> AccessUse:
    return AccessUse(
        id=row.id,
        request=row.request_id,
        at=time_format(row.at_us),
        action=row.action,
        resource=row.resource,
        call=row.call,
        phase=row.phase,
        status=row.status,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        event=row.event_id,
    )


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else time_format(at_us)
