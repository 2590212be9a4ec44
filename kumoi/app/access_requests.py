"""Operator access: asked for by an operator, approved by the tenant's key, ended by either or by time."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kumoi.app.access_rules import rule_covering
from kumoi.app.access_statements import (
    SignatureRefused,
    access_events,
    approval_detail,
    resource_unknown,
    signature_check,
    signer_find,
)
from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.ledger.statements import Approval, Scope, reason_digest, statement_format
from kumoi.model.access import Action, Actor
from kumoi.model.access_requests import (
    AccessApprove,
    AccessDeny,
    AccessExplain,
    AccessKind,
    AccessRequest,
    AccessRequestCreate,
    AccessUse,
)
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.notices import NoticeKind
from kumoi.model.records import Page
from kumoi.model.time import US_PER_S, time_format
from kumoi.store import access_requests, schema
from kumoi.store.access_requests import access_request_of, sets_of, sets_text
from kumoi.store.database import Connection
from kumoi.store.ids import id_new
from kumoi.store.organizations import organization_lock
from kumoi.store.principals import principal_get
from kumoi.store.schema import AnyRow
from kumoi.store.tokens import token_get
from kumoi.store.writer import Change, Move

NOTICES = {
    Action.ACCESS_REQUEST_CREATE: NoticeKind.ACCESS_REQUEST,
    Action.ACCESS_REQUEST_APPROVE: NoticeKind.ACCESS_APPROVE,
    Action.ACCESS_REQUEST_DENY: NoticeKind.ACCESS_DENY,
    Action.ACCESS_REQUEST_REVOKE: NoticeKind.ACCESS_REVOKE,
    Action.ACCESS_REQUEST_CONFIRM: NoticeKind.BREAK_GLASS,
}
OPEN_MAX = 100
"""How many requests of an operator about an organization may wait or be live at once."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A move of a request: what it is called in the log, where it leads, and what it sets and tells."""

    action: Action
    target: str
    values: dict[str, Any]
    detail: dict[str, object]


async def access_request_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[AccessRequest]:
    """Requests about an organization, newest first."""
    organization_id = await organization_authorized(plane, actor, Action.ACCESS_REQUEST_LIST, organization)
    listing = f"access-requests/{organization_id}"
    before = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(access_requests.access_request_list, organization_id, limit + 1, before)
    return plane.cursors.page(listing, rows, limit, lambda request: request.id)


async def access_request_read(
    plane: Plane, actor: Actor, organization: str, request_id: str
) -> AccessRequest:
    """One request."""
    organization_id = await organization_authorized(plane, actor, Action.ACCESS_REQUEST_READ, organization)
    row = await _row(plane, organization_id, request_id)
    return access_request_of(row._asdict())


async def access_use_list(
    plane: Plane, actor: Actor, organization: str, request_id: str, limit: int, cursor: str | None
) -> Page[AccessUse]:
    """What was read or done with a request, oldest first: for the tenant, whose names stand in it."""
    organization_id = await organization_authorized(plane, actor, Action.ACCESS_USE_LIST, organization)
    await _row(plane, organization_id, request_id)
    listing = f"access-uses/{request_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(access_requests.access_use_list, request_id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda use: use.id)


async def access_request_create(
    plane: Plane, actor: Actor, organization: str, body: AccessRequestCreate, key: IdempotencyKey | None
) -> Written:
    """Ask for access. A rule that the tenant signed in advance approves it at once."""
    return await plane.replay_or(key, _access_request_create(plane, actor, organization, body, key))


async def _access_request_create(
    plane: Plane, actor: Actor, organization: str, body: AccessRequestCreate, key: IdempotencyKey | None
) -> Written:
    organization_id = await organization_authorized(plane, actor, Action.ACCESS_REQUEST_CREATE, organization)
    if organization_id == plane.region.platform_organization_id:
        raise Invalid(
            "access_to_platform", "operators need no access to their own organization; name a tenant's"
        )
    now_us, request_id = plane.clock_us(), id_new(IdKind.ACCESS_REQUEST, plane.region.cell)

    def build(connection: Connection) -> Change:
        organization_lock(connection, organization_id)
        found = access_requests.resource_find(connection, organization_id, body.resource)
        if found is None:
            raise resource_unknown(body.resource)
        if access_requests.access_requests_open(connection, actor.id, organization_id) >= OPEN_MAX:
            raise Conflict(
                "access_requests_full",
                "{limit} of your requests about this organization are open; end some first",
                limit=OPEN_MAX,
            )
        kind, project_id = found
        row = _new_row(plane, actor, organization_id, request_id, body, now_us) | {"resource_kind": kind}
        asked = _asked(row) | {"project": project_id}
        create, approve = Action.ACCESS_REQUEST_CREATE, Action.ACCESS_REQUEST_APPROVE
        told = access_events(plane.region, actor.id, create, row, asked, now_us, NOTICES[create])
        covering = rule_covering(connection, plane.region, row, project_id, now_us)
        if covering is not None:
            row |= covering.values | {"state": "approved"}
            detail, notice = covering.detail, NOTICES[approve]
            told += access_events(plane.region, covering.id, approve, row, detail, now_us, notice)
        return Change(
            [(schema.access_requests, [row]), *told], key=key, answer=answer(201, access_request_of(row), 1)
        )

    return await plane.commit_built(build, key, wake=("notices",))


async def access_request_approve(
    plane: Plane,
    actor: Actor,
    organization: str,
    request_id: str,
    body: AccessApprove,
    key: IdempotencyKey | None,
) -> Written:
    """Approve with the tenant's key: the signature must be over exactly what is granted."""
    return await plane.replay_or(key, _approve(plane, actor, organization, request_id, body, key))


async def _approve(
    plane: Plane,
    actor: Actor,
    organization: str,
    request_id: str,
    body: AccessApprove,
    key: IdempotencyKey | None,
) -> Written:
    action = Action.ACCESS_REQUEST_APPROVE
    organization_id = await organization_authorized(plane, actor, action, organization)
    now_us = plane.clock_us()

    def step(connection: Connection, row: AnyRow) -> _Step:
        if row.kind != AccessKind.ORDINARY:
            raise Conflict(
                "access_kind", "the request {id} breaks the glass, which nobody approves", id=row.id
            )
        _lapsed_check(row, now_us)
        sets, duration_s = _narrowed(row, body)
        signer = signer_find(connection, organization_id, body.key)
        statement = _statement(plane.region.log_origin, row._asdict(), sets, duration_s)
        signature = base64.b64decode(body.signature)
        signature_check(statement, signature, signer.public_key)
        values = {
            "approved_us": now_us,
            "expires_us": now_us + duration_s * US_PER_S,
            "decided_by": actor.id,
            "key_id": signer.id,
            "sets": sets,
            "duration_s": duration_s,
            "statement": statement.decode(),
            "signature": signature,
        }
        return _Step(action, "approved", values, approval_detail(values, signer.public_key))

    try:
        return await _move(plane, actor, organization_id, request_id, ("requested",), step, key)
    except SignatureRefused:
        await plane.refusal_count(actor, action)
        raise


async def access_request_deny(
    plane: Plane,
    actor: Actor,
    organization: str,
    request_id: str,
    body: AccessDeny,
    key: IdempotencyKey | None,
) -> Written:
    """Say no."""
    action = Action.ACCESS_REQUEST_DENY
    organization_id = await organization_authorized(plane, actor, action, organization)
    values = {"decided_by": actor.id, "decision": body.reason}

    def step(_connection: Connection, _row: AnyRow) -> _Step:
        return _Step(action, "denied", values, {"reason": body.reason})

    return await _move(plane, actor, organization_id, request_id, ("requested",), step, key)


async def access_request_revoke(
    plane: Plane, actor: Actor, organization: str, request_id: str, key: IdempotencyKey | None
) -> Written:
    """End an operator's access at once; what is being read is cut off. Needs no signature: it only takes."""
    action = Action.ACCESS_REQUEST_REVOKE
    organization_id = await organization_authorized(plane, actor, action, organization)

    def step(_connection: Connection, _row: AnyRow) -> _Step:
        return _Step(action, "revoked", {}, {"by": actor.id})

    return await _move(plane, actor, organization_id, request_id, ("approved",), step, key)


async def access_request_end(
    plane: Plane, actor: Actor, organization: str, request_id: str, key: IdempotencyKey | None
) -> Written:
    """Take a request back, or give back the access: any operator may, since it only takes."""
    action = Action.ACCESS_REQUEST_END
    organization_id = await organization_authorized(plane, actor, action, organization)

    def step(_connection: Connection, row: AnyRow) -> _Step:
        return _Step(action, "withdrawn" if row.state == "requested" else "ended", {}, {"by": actor.id})

    return await _move(plane, actor, organization_id, request_id, ("requested", "approved"), step, key)


async def access_request_confirm(
    plane: Plane, actor: Actor, organization: str, request_id: str, key: IdempotencyKey | None
) -> Written:
    """Break the glass, as the second operator. The tenant is told at once; the first must explain in time."""
    action = Action.ACCESS_REQUEST_CONFIRM
    organization_id = await organization_authorized(plane, actor, action, organization)
    now_us = plane.clock_us()

    def step(connection: Connection, row: AnyRow) -> _Step:
        if row.kind == AccessKind.ORDINARY:
            raise Conflict(
                "access_kind", "the request {id} is for the tenant to approve, not for operators", id=row.id
            )
        _lapsed_check(row, now_us)
        _second_check(connection, actor, row, plane.access_terms.second_age_s)
        explain_by_us = now_us + plane.access_terms.explain_s * US_PER_S
        values = {
            "approved_us": now_us,
            "expires_us": now_us + row.duration_s * US_PER_S,
            "decided_by": actor.id,
            "explain_by_us": explain_by_us,
        }
        detail = _asked(row._asdict()) | {
            "confirmed_by": actor.id,
            "confirmed_with": actor.token_id,
            "expires_at": time_format(values["expires_us"]),
            "explain_by": time_format(explain_by_us),
        }
        return _Step(action, "approved", values, detail)

    return await _move(plane, actor, organization_id, request_id, ("requested",), step, key)


async def access_request_explain(
    plane: Plane,
    actor: Actor,
    organization: str,
    request_id: str,
    body: AccessExplain,
    key: IdempotencyKey | None,
) -> Written:
    """Explain broken glass to the tenant. Late is possible, and stays an incident; twice is not."""
    action = Action.ACCESS_REQUEST_EXPLAIN
    organization_id = await organization_authorized(plane, actor, action, organization)

    def step(_connection: Connection, row: AnyRow) -> _Step:
        if row.explain_by_us is None or row.explanation is not None:
            raise Conflict(
                "access_explained", "the request {id} has nothing to explain, or was explained", id=row.id
            )
        return _Step(action, row.state, {"explanation": body.explanation}, {"explanation": body.explanation})

    states = ("approved", "revoked", "ended", "expired")
    return await _move(plane, actor, organization_id, request_id, states, step, key)


def _statement(origin: str, request: Mapping[str, Any], sets: str, duration_s: int) -> bytes:
    """The text that approves a request with these sets and for this long."""
    approval = Approval(
        origin,
        request["organization_id"],
        request["id"],
        request["requested_by"],
        Scope(request["resource"], tuple(sets.split(",")), duration_s),
        reason_digest(request["reason"]),
        time_format(request["answer_by_us"]),
    )
    return statement_format(approval)


def _narrowed(row: AnyRow, body: AccessApprove) -> tuple[str, int]:
    """The sets and seconds that are granted. Raises Invalid for more than was asked."""
    asked = sets_of(row.sets)
    sets = asked if body.sets is None else body.sets
    if not set(sets) <= set(asked):
        raise Invalid(
            "access_widened",
            "the request asks for {sets}; grant some of these",
            at="/sets",
            sets=row.sets,
        )
    duration_s = row.duration_s if body.duration_s is None else body.duration_s
    if duration_s > row.duration_s:
        raise Invalid(
            "access_lengthened",
            "the request asks for {seconds} s; grant as much or less",
            at="/duration_s",
            seconds=row.duration_s,
        )
    return sets_text(sets), duration_s


def _second_check(connection: Connection, actor: Actor, row: AnyRow, age_s: int) -> None:
    """Raises Conflict unless `actor` is another operator, and was one long before the request was made.

    Its token must be as old: whoever asked might have made it. Whom it was made by is in the platform's log,
    and the age is the time that its auditors and the colleague have to notice.
    """
    principal, token = principal_get(connection, actor.id), token_get(connection, actor.token_id)
    latest = time_format(row.created_us - age_s * US_PER_S)
    made_at = [] if principal is None or token is None else [principal.created_at, token.token.created_at]
    if actor.id == row.requested_by or not made_at or max(made_at) > latest:
        raise Conflict(
            "second_operator_needed",
            "another operator has to confirm {id}, with an account and a token at least {seconds} s older",
            id=row.id,
            seconds=age_s,
        )


def _new_row(
    plane: Plane, actor: Actor, organization_id: str, request_id: str, body: AccessRequestCreate, now_us: int
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": request_id,
        "organization_id": organization_id,
        "requested_by": actor.id,
        "kind": body.kind,
        "resource": body.resource,
        "sets": sets_text(body.sets),
        "reason": body.reason,
        "duration_s": body.duration_s,
        "state": "requested",
        "created_us": now_us,
        "answer_by_us": now_us + plane.access_terms.answer_s * US_PER_S,
        "version": 1,
    }
    statement = _statement(plane.region.log_origin, row, row["sets"], row["duration_s"])
    return row | {"statement": statement.decode()}


def _asked(request: Mapping[str, Any]) -> dict[str, object]:
    """What was asked for, as events tell it."""
    return {
        "kind": request["kind"],
        "resource": request["resource"],
        "sets": request["sets"].split(","),
        "reason": request["reason"],
        "duration_s": request["duration_s"],
        "requested_by": request["requested_by"],
    }


async def _row(plane: Plane, organization_id: str, request_id: str) -> AnyRow:
    row = await plane.store.read(access_requests.access_request_get, organization_id, request_id)
    if row is None:
        raise not_found(request_id)
    return row


async def _move(
    plane: Plane,
    actor: Actor,
    organization_id: str,
    request_id: str,
    states: tuple[str, ...],
    step: Callable[[Connection, AnyRow], _Step],
    key: IdempotencyKey | None,
) -> Written:
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        organization_lock(connection, organization_id)
        row = access_requests.access_request_get(connection, organization_id, request_id)
        if row is None:
            raise not_found(request_id)
        if row.state not in states:
            raise _state_conflict(row, states)
        taken = step(connection, row)
        moved = row._asdict() | taken.values | {"state": taken.target, "version": row.version + 1}
        notice = NOTICES.get(taken.action)
        return Change(
            access_events(plane.region, actor.id, taken.action, moved, taken.detail, now_us, notice),
            [Move(schema.access_requests, row.id, row.state, taken.target, taken.values)],
            key,
            answer(200, access_request_of(moved), moved["version"]),
        )

    return await plane.commit_built(build, key, wake=("notices",))


def _state_conflict(row: AnyRow, states: tuple[str, ...]) -> Conflict:
    return Conflict(
        "access_request_state",
        "the request {id} is {state}; this is for requests that are {states}",
        id=row.id,
        state=row.state,
        states=", ".join(states),
    )


def _lapsed_check(row: AnyRow, now_us: int) -> None:
    if row.answer_by_us <= now_us:
        raise Conflict(
            "access_request_lapsed",
            "the request {id} had to be answered by {by}; the operator has to ask again",
            id=row.id,
            by=time_format(row.answer_by_us),
        )
