"""API tokens: made for oneself, or by an administrator for a principal of the organization."""

import os

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.plane import Plane, unauthenticated
from kumoi.app.principals import principal_authorized
from kumoi.core.tokens import SECRET_BYTES, token_format, token_hash
from kumoi.model.access import (
    TOKEN_EXPIRES_S_MAX,
    Action,
    Actor,
    Principal,
    ResourceKind,
    Target,
    Token,
    TokenCreate,
    TokenCreated,
    TokenScope,
)
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind, id_is
from kumoi.model.records import Page
from kumoi.model.time import US_PER_S, time_format
from kumoi.store import schema, tokens
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.writer import Change, Move


async def token_list(
    plane: Plane, actor: Actor, principal_id: str | None, limit: int, cursor: str | None
) -> Page[Token]:
    """Tokens of the caller, or of `principal_id`, oldest first."""
    principal = await principal_authorized(plane, actor, Action.TOKEN_LIST, principal_id or actor.id)
    listing = f"tokens/{principal.id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(tokens.token_list, principal.id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda token: token.id)


async def token_create(plane: Plane, actor: Actor, body: TokenCreate, key: IdempotencyKey | None) -> Written:
    """Create a token; only the first answer shows it. It can do no more than the token it is made with, nor
    for longer."""
    return await plane.replay_or(key, _token_create(plane, actor, body, key))


async def _token_create(plane: Plane, actor: Actor, body: TokenCreate, key: IdempotencyKey | None) -> Written:
    principal = await principal_authorized(plane, actor, Action.TOKEN_CREATE, body.principal or actor.id)
    _narrowing_check(actor, body)
    await _project_check(plane, principal, body.project)
    if principal.state != "active":
        raise Conflict(
            "principal_disabled",
            "{name} is disabled, so a token for it would not work; enable it first",
            name=principal.name,
        )
    now_us = plane.clock_us()
    expires_us = min(now_us + body.expires_s * US_PER_S, await _expiry_latest_us(plane, actor))
    secret = token_format(os.urandom(SECRET_BYTES))
    scopes = tokens.scopes_format(body.scopes)
    token = Token(
        id=id_new(IdKind.TOKEN, plane.region.cell),
        principal=principal.id,
        name=body.name,
        scopes=tokens.scopes_parse(scopes),
        project=body.project,
        state="active",
        created_at=time_format(now_us),
        expires_at=time_format(expires_us),
    )
    row = {
        "id": token.id,
        "organization_id": principal.organization,
        "principal_id": principal.id,
        "project_id": body.project,
        "name": body.name,
        "hash": token_hash(secret),
        "scopes": scopes,
        "created_us": now_us,
        "expires_us": expires_us,
    }
    event = event_row(
        Action.TOKEN_CREATE,
        at_us=now_us,
        actor=actor.id,
        resource=token.id,
        organization=principal.organization,
        project=body.project,
        detail={
            "principal": principal.id,
            "name": body.name,
            "scopes": token.scopes,
            "expires_at": token.expires_at,
        },
    )
    inserts = [(schema.tokens, [row]), (schema.events, [event])]
    kept = TokenCreated(token, None)
    written = await plane.commit(Change(inserts, key=key, answer=answer(201, kept)))
    return written if written.replayed else answer(201, replace(kept, secret=secret))


async def token_revoke(plane: Plane, actor: Actor, token_id: str, key: IdempotencyKey | None) -> Written:
    """End a token at once."""
    found = await plane.store.read(tokens.token_get, token_id) if id_is(IdKind.TOKEN, token_id) else None
    if found is None:
        await plane.refuse_unknown(actor, Action.TOKEN_REVOKE, ResourceKind.TOKEN, token_id)
    owner_id = found.token.principal
    target = Target(ResourceKind.TOKEN, token_id, found.organization_id, owner_id=owner_id)
    await plane.authorize(actor, Action.TOKEN_REVOKE, target)
    event = event_row(
        Action.TOKEN_REVOKE,
        at_us=plane.clock_us(),
        actor=actor.id,
        resource=token_id,
        organization=found.organization_id,
        project=found.token.project,
        detail={"principal": owner_id, "name": found.token.name},
    )

    def build(connection: Connection) -> Change:
        current = tokens.token_get(connection, token_id)
        if current is None or current.token.state != "active":
            raise Conflict("token_revoked", "the token {id} is revoked already", id=token_id)
        move = Move(schema.tokens, token_id, "active", "revoked", {})
        revoked = replace(current.token, state="revoked")
        return Change([(schema.events, [event])], [move], key, answer(200, revoked))

    written = await plane.commit_built(build, key)
    plane.access_changed()
    return written


async def _expiry_latest_us(plane: Plane, actor: Actor) -> int:
    """When a token made by `actor` ends at the latest: with the token in use.

    Only one of the longest term may make tokens that outlast it, as every token of an organization comes
    from the first: it would lock itself out for good.
    """
    own = await plane.store.read(tokens.token_get, actor.token_id)
    if own is None or own.token.state != "active":
        raise unauthenticated()
    longest_us = TOKEN_EXPIRES_S_MAX * US_PER_S
    renews = own.expires_us - own.created_us >= longest_us
    return plane.clock_us() + longest_us if renews else own.expires_us


def _narrowing_check(actor: Actor, body: TokenCreate) -> None:
    """Raise Invalid if the new token could do what the caller's token cannot."""
    if TokenScope.ALL not in actor.token_scopes and not set(body.scopes) <= actor.token_scopes:
        raise Invalid(
            "scopes_too_wide",
            "a token can only be made with the scopes of the token that makes it: {scopes}",
            at="/scopes",
            scopes=", ".join(sorted(actor.token_scopes)),
        )
    if actor.token_project_id not in (None, body.project):
        raise Invalid(
            "project_too_wide",
            "your token is for the project {project} only, and so are tokens made with it",
            at="/project",
            project=actor.token_project_id,
        )


async def _project_check(plane: Plane, principal: Principal, project_id: str | None) -> None:
    """Raise Invalid if the project is not of the principal's organization."""
    if project_id is None:
        return
    place = await plane.directory.project(project_id)
    if place is None or place.organization_id != principal.organization:
        raise Invalid(
            "project_unknown",
            "the organization has no project {project}; take an id from its list of projects",
            at="/project",
            project=project_id,
        )
