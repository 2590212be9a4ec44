"""The public keys of a tenant, whose private halves approve operator access."""

import base64

from msgspec.structs import replace

from kumoi.app.access_statements import SignatureRefused, approved_end, signature_check, signer_find
from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.ledger.statements import KeyAddition, statement_format
from kumoi.model.access import Action, Actor
from kumoi.model.access_requests import KEYS_MAX, AccessKey, AccessKeyCreate
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.records import Page
from kumoi.store import access_keys, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.organizations import organization_lock
from kumoi.store.writer import Change, Move


async def access_key_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[AccessKey]:
    """Every key of an organization, retired ones too, oldest first."""
    organization_id = await organization_authorized(plane, actor, Action.ACCESS_KEY_LIST, organization)
    listing = f"access-keys/{organization_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(access_keys.access_key_list, organization_id, limit + 1, after)
    found = [access_keys.access_key_of(row._asdict()) for row in rows]
    return plane.cursors.page(listing, found, limit, lambda key: key.id)


async def access_key_create(
    plane: Plane, actor: Actor, organization: str, body: AccessKeyCreate, key: IdempotencyKey | None
) -> Written:
    """Add a key. The first is taken as it comes; each further one needs the signature of an active one.

    So a token of an administrator, which the operator handed out once, is not enough to approve anything
    from the moment on that the tenant has a key.
    """
    return await plane.replay_or(key, _access_key_create(plane, actor, organization, body, key))


async def _access_key_create(
    plane: Plane, actor: Actor, organization: str, body: AccessKeyCreate, key: IdempotencyKey | None
) -> Written:
    action = Action.ACCESS_KEY_CREATE
    organization_id = await organization_authorized(plane, actor, action, organization)
    now_us, key_id = plane.clock_us(), id_new(IdKind.ACCESS_KEY, plane.region.cell)
    public_key = base64.b64decode(body.public_key)

    def build(connection: Connection) -> Change:
        organization_lock(connection, organization_id)
        known = access_keys.access_key_list(connection, organization_id, KEYS_MAX)
        if len(known) >= KEYS_MAX:
            raise Conflict(
                "access_keys_full",
                "an organization has at most {limit} keys, retired ones too",
                limit=KEYS_MAX,
            )
        detail: dict[str, object] = {"name": body.name, "public_key": body.public_key}
        if known:
            detail |= _signed(connection, plane.region.log_origin, organization_id, body, public_key)
        row = {
            "id": key_id,
            "organization_id": organization_id,
            "name": body.name,
            "public_key": public_key,
            "state": "active",
            "created_us": now_us,
            "version": 1,
        }
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=key_id,
            organization=organization_id,
            detail=detail,
        )
        made = access_keys.access_key_of(row)
        return Change(
            [(schema.access_keys, [row]), (schema.events, [event])], key=key, answer=answer(201, made, 1)
        )

    try:
        return await plane.commit_built(build, key)
    except SignatureRefused:
        await plane.refusal_count(actor, action)
        raise


async def access_key_retire(
    plane: Plane, actor: Actor, organization: str, key_id: str, key: IdempotencyKey | None
) -> Written:
    """Let a key and the rules that it signed approve nothing more, and end what it approved.

    The last active one stays: without it anybody with an administrator's token could begin anew with a key of
    his own.
    """
    action = Action.ACCESS_KEY_RETIRE
    organization_id = await organization_authorized(plane, actor, action, organization)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        organization_lock(connection, organization_id)
        known = {row.id: row for row in access_keys.access_key_list(connection, organization_id, KEYS_MAX)}
        row = known.get(key_id)
        if row is None:
            raise not_found(key_id)
        active = [one for one in known.values() if one.state == "active"]
        if row.state != "active" or len(active) == 1:
            raise Conflict(
                "access_key_state",
                "the key {name} is retired, or the only active one; add another first",
                name=row.name,
            )
        found = access_keys.access_key_of(row._asdict())
        moved = replace(found, state="retired", version=found.version + 1)
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=key_id,
            organization=organization_id,
            detail={"name": found.name},
        )
        move = Move(schema.access_keys, key_id, "active", "retired", {})
        ended = approved_end(connection, plane.region, actor.id, "key_id", key_id, now_us)
        inserts = [(schema.events, [event]), *ended.inserts]
        return Change(inserts, [move, *ended.moves], key, answer(200, moved, moved.version))

    return await plane.commit_built(build, key, wake=("notices",))


def _signed(
    connection: Connection, origin: str, organization_id: str, body: AccessKeyCreate, public_key: bytes
) -> dict[str, object]:
    """What tells that an active key signed for this one. Raises Invalid where none did."""
    if body.signed_with is None or body.signature is None:
        raise Invalid(
            "access_key_unsigned",
            "the organization has a key; a further one needs the signature of an active one",
            at="/signature",
        )
    signer = signer_find(connection, organization_id, body.signed_with)
    statement = statement_format(KeyAddition(origin, organization_id, body.name, public_key))
    signature_check(statement, base64.b64decode(body.signature), signer.public_key)
    return {
        "signed_with": signer.id,
        "signature": body.signature,
        "statement": statement.decode(),
    }
