"""Rules by which a tenant approves operator access in advance, each signed with its key."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from kumoi.app.access_statements import (
    SignatureRefused,
    approval_detail,
    approved_end,
    resource_unknown,
    signature_check,
    signer_find,
)
from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, Region, not_found
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.statements import ANY_OPERATOR, Rule, Scope, statement_format, statement_verify
from kumoi.model.access import Action, Actor
from kumoi.model.access_requests import RULE_S_MAX, RULES_MAX, AccessKind, AccessRule, AccessRuleCreate
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.records import Page
from kumoi.model.time import US_PER_S, time_format, time_parse
from kumoi.store import access_keys, schema
from kumoi.store.access_requests import resource_find, sets_text
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.organizations import organization_lock
from kumoi.store.writer import Change, Move


@dataclass(frozen=True, slots=True)
class Covering:
    """The rule that approves a request: its id, and what it sets in the request and tells in the event."""

    id: str
    values: dict[str, Any]
    detail: dict[str, object]


async def access_rule_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[AccessRule]:
    """Rules of an organization, revoked and past ones too, oldest first."""
    organization_id = await organization_authorized(plane, actor, Action.ACCESS_RULE_LIST, organization)
    listing = f"access-rules/{organization_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(access_keys.access_rule_list, organization_id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda rule: rule.id)


async def access_rule_create(
    plane: Plane, actor: Actor, organization: str, body: AccessRuleCreate, key: IdempotencyKey | None
) -> Written:
    """Keep a rule whose signature is right. Its name is used up, so it cannot be presented twice."""
    return await plane.replay_or(key, _access_rule_create(plane, actor, organization, body, key))


async def _access_rule_create(
    plane: Plane, actor: Actor, organization: str, body: AccessRuleCreate, key: IdempotencyKey | None
) -> Written:
    action = Action.ACCESS_RULE_CREATE
    organization_id = await organization_authorized(plane, actor, action, organization)
    now_us, rule_id = plane.clock_us(), id_new(IdKind.ACCESS_RULE, plane.region.cell)
    until_us = _until_us(body.until, now_us)
    statement = _statement(plane.region.log_origin, organization_id, body, until_us)
    signature = base64.b64decode(body.signature)

    def build(connection: Connection) -> Change:
        organization_lock(connection, organization_id)
        if resource_find(connection, organization_id, body.resource) is None:
            raise resource_unknown(body.resource)
        if access_keys.access_rules_count(connection, organization_id, now_us) >= RULES_MAX:
            raise Conflict(
                "access_rules_full",
                "an organization has at most {limit} rules; revoke one first",
                limit=RULES_MAX,
            )
        signer = signer_find(connection, organization_id, body.key)
        signature_check(statement, signature, signer.public_key)
        row = {
            "id": rule_id,
            "organization_id": organization_id,
            "name": body.name,
            "operator": body.operator,
            "resource": body.resource,
            "sets": sets_text(body.sets),
            "duration_s": body.duration_s,
            "until_us": until_us,
            "key_id": signer.id,
            "statement": statement.decode(),
            "signature": signature,
            "state": "active",
            "created_us": now_us,
            "version": 1,
        }
        detail = {
            "key": signer.id,
            "public_key": base64.b64encode(signer.public_key).decode(),
            "signature": body.signature,
            "statement": statement.decode(),
        }
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=rule_id,
            organization=organization_id,
            detail=detail,
        )
        made = access_keys.access_rule_of(row)
        return Change(
            [(schema.access_rules, [row]), (schema.events, [event])], key=key, answer=answer(201, made, 1)
        )

    try:
        return await plane.commit_built(build, key)
    except SignatureRefused:
        await plane.refusal_count(actor, action)
        raise


async def access_rule_revoke(
    plane: Plane, actor: Actor, organization: str, rule_id: str, key: IdempotencyKey | None
) -> Written:
    """End a rule, and with it the access that it approved."""
    action = Action.ACCESS_RULE_REVOKE
    organization_id = await organization_authorized(plane, actor, action, organization)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        organization_lock(connection, organization_id)
        row = access_keys.access_rule_get(connection, organization_id, rule_id)
        if row is None:
            raise not_found(rule_id)
        if row.state != "active":
            raise Conflict("access_rule_state", "the rule {name} is revoked already", name=row.name)
        found = access_keys.access_rule_of(row._asdict())
        moved = replace(found, state="revoked", version=found.version + 1)
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=rule_id,
            organization=organization_id,
            detail={"name": found.name},
        )
        move = Move(schema.access_rules, rule_id, "active", "revoked", {})
        ended = approved_end(connection, plane.region, actor.id, "rule_id", rule_id, now_us)
        inserts = [(schema.events, [event]), *ended.inserts]
        return Change(inserts, [move, *ended.moves], key, answer(200, moved, moved.version))

    return await plane.commit_built(build, key, wake=("notices",))


def rule_covering(
    connection: Connection, region: Region, request: Mapping[str, Any], project_id: str | None, now_us: int
) -> Covering | None:
    """The oldest rule that approves a new request, None where the tenant has to be asked.

    What counts is the statement that the tenant signed, verified here once more, and not what the rule's row
    says. `project_id` is the project that the request's resource is in.
    """
    if request["kind"] != AccessKind.ORDINARY:
        return None
    for row in access_keys.access_rules_live(connection, request["organization_id"], now_us):
        try:
            rule = statement_verify(row.statement.encode(), row.signature, row.public_key)
        except LedgerError:
            continue
        if isinstance(rule, Rule) and _covers(rule, region, request, project_id, now_us):
            span_us = request["duration_s"] * US_PER_S
            values = {
                "approved_us": now_us,
                "expires_us": min(now_us + span_us, time_parse(rule.until)),
                "decided_by": row.id,
                "rule_id": row.id,
                "key_id": row.key_id,
                "statement": row.statement,
                "signature": row.signature,
            }
            return Covering(row.id, values, approval_detail(values, row.public_key) | {"rule": row.id})
    return None


def _covers(
    rule: Rule, region: Region, request: Mapping[str, Any], project_id: str | None, now_us: int
) -> bool:
    scope = rule.scope
    return (
        rule.origin == region.log_origin
        and rule.organization == request["organization_id"]
        and rule.operator in (ANY_OPERATOR, request["requested_by"])
        and scope.resource in (request["organization_id"], project_id, request["resource"])
        and set(request["sets"].split(",")) <= set(scope.sets)
        and request["duration_s"] <= scope.duration_s
        and now_us < time_parse(rule.until)
    )


def _statement(origin: str, organization_id: str, body: AccessRuleCreate, until_us: int) -> bytes:
    scope = Scope(body.resource, body.sets, body.duration_s)
    until = time_format(until_us)
    return statement_format(Rule(origin, organization_id, body.name, body.operator, scope, until))


def _until_us(text: str, now_us: int) -> int:
    try:
        until_us = time_parse(text)
    except ValueError:
        raise Invalid(
            "time_invalid",
            "{parameter} is not an RFC 3339 time with an offset; write it as 2026-01-31T09:00:00Z",
            at="/until",
            parameter="until",
        ) from None
    if not now_us < until_us <= now_us + RULE_S_MAX * US_PER_S:
        raise Invalid(
            "access_rule_until",
            "a rule ends after now and within {days} days",
            at="/until",
            days=RULE_S_MAX // 86_400,
        )
    return until_us
