"""Organizations' keys: who holds them, withdrawn, restored and rotated; and the platform's own."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from kumoi.app.answers import answer
from kumoi.app.keys import key_answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.model.access import PLATFORM, PLATFORM_TARGET, Action, Actor
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.keys import (
    KeyAttach,
    KeyHolder,
    KeyVersion,
    OrganizationKey,
    PlatformKey,
    PlatformKeyVersion,
    VolumeState,
)
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.keys import rotation
from kumoi.store.keys.errors import KeyFailure, TokenFailure
from kumoi.store.keys.names import organization_key_additional
from kumoi.store.keys.rows import OrganizationKeys, organization_keys_read
from kumoi.store.keys.tokens import TokenKey
from kumoi.store.organizations import organization_get
from kumoi.store.schema import AnyRow
from kumoi.store.volumes.rows import volumes_made_version
from kumoi.store.writer import Change

WITHDRAWN_CAUSE = "withdrawn by its administrator"
WAKES = ("keys", "placement", "tasks")
T = TypeVar("T")


async def key_read(plane: Plane, actor: Actor, organization: str) -> OrganizationKey:
    """The versions of the key, who holds it, and what is sealed with which version."""
    organization_id = await organization_authorized(plane, actor, Action.KEY_READ, organization)
    return await plane.store.read(_key_show, organization_id)


async def key_attach(plane: Plane, actor: Actor, organization: str, body: KeyAttach) -> Written:
    """Let a key in a token wrap the organization's key from now on, and nothing else any more.

    A new version is made, which the platform never wrapped; what is sealed moves to it bit by bit.
    """
    organization_id = await organization_authorized(plane, actor, Action.KEY_ATTACH, organization)
    wrapper = await _token_key(plane, organization_id, body)
    known = await plane.store.read(organization_keys_read, organization_id)
    _held_check(organization_id, known)
    now_us = plane.clock_us()
    encryptions = plane.keys.encryptions

    def prepare() -> tuple[list[rotation.Wrapped], dict[str, object]]:
        wrapper.check()
        wrapped = rotation.versions_wrap(encryptions, known.versions, wrapper)
        return list(wrapped), rotation.version_next(wrapper, _current(known), now_us)

    wrapped, fresh = await _asked(prepare)
    holder: dict[str, object] = {
        "from_number": fresh["number"],
        "token": body.token,
        "label": body.object,
        "on_withdraw": body.on_withdraw.value,
        "cause": "",
        "changed_us": now_us,
    }

    def build(connection: Connection) -> Change:
        _unchanged_check(connection, organization_id, known)
        rotation.versions_put(connection, wrapped)
        rotation.version_add(connection, _current(known), fresh, now_us)
        rotation.holder_put(connection, organization_id, holder)
        detail = {k: holder[k] for k in ("token", "label", "on_withdraw")}
        return _told(connection, Action.KEY_ATTACH, actor, organization_id, now_us, detail)

    written = await plane.commit_built(build, wake=WAKES)
    plane.keys.reread(organization_id)
    await asyncio.to_thread(plane.store.residue_clear)
    return written


async def key_withdraw(plane: Plane, actor: Actor, organization: str, key: IdempotencyKey | None) -> Written:
    """Use the organization's key no more, at once, until its administrator restores it."""
    organization_id = await organization_authorized(plane, actor, Action.KEY_WITHDRAW, organization)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        holder = _holder(organization_id, organization_keys_read(connection, organization_id))
        if holder.state != "withdrawn":
            rotation.holder_move(connection, holder, "withdrawn", WITHDRAWN_CAUSE, now_us)
        detail = {"on_withdraw": holder.on_withdraw}
        return _told(connection, Action.KEY_WITHDRAW, actor, organization_id, now_us, detail, key)

    written = await plane.commit_built(build, key, wake=WAKES)
    if not written.replayed:
        plane.keys.forget(organization_id, WITHDRAWN_CAUSE)
    return written


async def key_restore(plane: Plane, actor: Actor, organization: str, key: IdempotencyKey | None) -> Written:
    """Use the organization's key again. The token has to give it."""
    organization_id = await organization_authorized(plane, actor, Action.KEY_RESTORE, organization)
    known = await plane.store.read(organization_keys_read, organization_id)
    _holder(organization_id, known)
    current = _current(known)
    named = organization_key_additional(organization_id, current.number, current.kek)
    encryptions = plane.keys.encryptions
    await _asked(lambda: encryptions.find(current.kek).unwrap(current.wrapped_key, named))
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        holder = _holder(organization_id, organization_keys_read(connection, organization_id))
        if holder.state != "held":
            rotation.holder_move(connection, holder, "held", "", now_us)
        return _told(connection, Action.KEY_RESTORE, actor, organization_id, now_us, {}, key)

    written = await plane.commit_built(build, key, wake=WAKES)
    if not written.replayed:
        await _asked(lambda: plane.keys.load(organization_id))
    return written


async def key_rotate(plane: Plane, actor: Actor, organization: str, key: IdempotencyKey | None) -> Written:
    """Make a new version of the organization's key. What is sealed moves to it without an interruption."""
    organization_id = await organization_authorized(plane, actor, Action.KEY_ROTATE, organization)
    return await plane.replay_or(key, _key_rotate(plane, actor, organization_id, key))


async def _key_rotate(
    plane: Plane, actor: Actor, organization_id: str, key: IdempotencyKey | None
) -> Written:
    known = await plane.store.read(organization_keys_read, organization_id)
    _held_check(organization_id, known)
    now_us = plane.clock_us()
    encryptions = plane.keys.encryptions
    is_platform = known.holder is None
    kek = encryptions.platform.current.name if is_platform else _current(known).kek
    fresh = await _asked(lambda: rotation.version_next(encryptions.find(kek), _current(known), now_us))

    def build(connection: Connection) -> Change:
        _unchanged_check(connection, organization_id, known)
        rotation.version_add(connection, _current(known), fresh, now_us)
        detail = {"version": fresh["number"]}
        return _told(connection, Action.KEY_ROTATE, actor, organization_id, now_us, detail, key)

    written = await plane.commit_built(build, key, wake=("keys",))
    if not written.replayed:
        plane.keys.reread(organization_id)
    return written


async def platform_key_read(plane: Plane, actor: Actor) -> PlatformKey:
    """The versions of the platform's own key, and what each wraps."""
    await plane.authorize(actor, Action.PLATFORM_KEY_READ, PLATFORM_TARGET)
    return await plane.store.read(_platform_show, plane)


async def platform_key_rotate(plane: Plane, actor: Actor, key: IdempotencyKey | None) -> Written:
    """Make a new version of the platform's key. Organizations' keys move to it; then the old is destroyed."""
    await plane.authorize(actor, Action.PLATFORM_KEY_ROTATE, PLATFORM_TARGET)
    return await plane.replay_or(key, _platform_key_rotate(plane, actor, key))


async def _platform_key_rotate(plane: Plane, actor: Actor, key: IdempotencyKey | None) -> Written:
    made = await asyncio.to_thread(plane.keys.encryptions.platform.rotate)
    event = event_row(
        Action.PLATFORM_KEY_ROTATE,
        at_us=plane.clock_us(),
        actor=actor.id,
        resource=PLATFORM,
        organization=plane.region.platform_organization_id,
        detail={"version": made.version},
    )

    def build(connection: Connection) -> Change:
        shown = _platform_show(connection, plane)
        return Change([(schema.events, [event])], key=key, answer=answer(200, shown))

    return await plane.commit_built(build, key, wake=("keys",))


def _platform_show(connection: Connection, plane: Plane) -> PlatformKey:
    platform = plane.keys.encryptions.platform
    versions = [*platform.old(), platform.current]
    return PlatformKey(
        tuple(
            PlatformKeyVersion(one.version, one is versions[-1], rotation.wrapped_count(connection, one.name))
            for one in versions
        )
    )


def _key_show(connection: Connection, organization_id: str) -> OrganizationKey:
    found = organization_keys_read(connection, organization_id)
    uses = rotation.key_uses(connection, organization_id)
    return OrganizationKey(
        organization_id,
        None if found.holder is None else _holder_show(found.holder),
        tuple(
            KeyVersion(
                number=row.number,
                state=row.state,
                kek=row.kek,
                created_at=time_format(row.created_us),
                retired_at=None if row.retired_us is None else time_format(row.retired_us),
                sealed=uses.get(row.number, 0),
            )
            for row in found.versions
        ),
        _volume_state(found.holder, volumes_made_version(connection, organization_id)),
    )


def _volume_state(holder: AnyRow | None, made_version: int | None) -> VolumeState:
    if made_version is None:
        return VolumeState.NONE
    is_older = holder is not None and made_version < holder.from_number
    return VolumeState.OLDER_THAN_KEY if is_older else VolumeState.FRESH


def _holder_show(row: AnyRow) -> KeyHolder:
    return KeyHolder(
        token=row.token,
        object=row.label,
        on_withdraw=row.on_withdraw,
        state=row.state,
        cause=row.cause,
        changed_at=time_format(row.changed_us),
    )


def _told(
    connection: Connection,
    action: Action,
    actor: Actor,
    organization_id: str,
    now_us: int,
    detail: dict[str, object],
    key: IdempotencyKey | None = None,
) -> Change:
    """The change whose event tells of `action`, and whose answer is the key as it is then."""
    event = event_row(
        action,
        at_us=now_us,
        actor=actor.id,
        resource=organization_id,
        organization=organization_id,
        detail=detail,
    )
    shown = _key_show(connection, organization_id)
    return Change([(schema.events, [event])], key=key, answer=answer(200, shown))


async def _token_key(plane: Plane, organization_id: str, body: KeyAttach) -> TokenKey:
    """The key that `body` names. Raises Invalid: whose the other tokens are is nobody's affair."""
    found = await plane.store.read(organization_get, organization_id)
    if found is None:
        raise not_found(organization_id)
    tokens = plane.keys.encryptions.tokens
    token = None if tokens is None else tokens.get(body.token)
    if token is None or not token.rule.serves(found.name):
        raise Invalid(
            "token_unknown",
            "the operator offers your organization no token {token}; ask which there are",
            at="/token",
            token=body.token,
        )
    if not token.rule.takes(found.name, body.object):
        raise Invalid(
            "key_label_foreign",
            "in the token {token} your keys are those whose label begins with {prefix}",
            at="/object",
            token=body.token,
            prefix=f"{found.name}.",
        )
    return TokenKey(token, body.object)


async def _asked(work: Callable[[], T]) -> T:
    """What a token answers, without blocking the event loop. Raises Conflict where it does not."""
    try:
        return await asyncio.to_thread(work)
    except TokenFailure as error:
        raise Conflict(
            "key_unreachable",
            "the token does not give the key: {cause}; see to the token, then ask again",
            cause=str(error),
        ) from error
    except KeyFailure as error:
        raise key_answer(error) from error


def _current(known: OrganizationKeys) -> AnyRow:
    return next(row for row in known.versions if row.state == "current")


def _holder(organization_id: str, known: OrganizationKeys) -> AnyRow:
    if known.holder is None:
        raise Conflict(
            "key_not_attached",
            "the platform holds the key of {organization}; attach one of your own first: `kumoi key attach`",
            organization=organization_id,
        )
    return known.holder


def _held_check(organization_id: str, known: OrganizationKeys) -> None:
    if known.holder is not None and known.holder.state != "held":
        raise Conflict(
            "key_withdrawn",
            "the key of {organization} is withdrawn ({cause}), so nothing sealed with it is read "
            "or written; its administrator restores it with `kumoi key restore`",
            organization=organization_id,
            cause=known.holder.cause,
        )


def _unchanged_check(connection: Connection, organization_id: str, known: OrganizationKeys) -> None:
    """Neither the current version nor the holder changed since `known` was read. Raises Conflict."""
    now = organization_keys_read(connection, organization_id)
    is_held_alike = (now.holder and now.holder.version) == (known.holder and known.holder.version)
    if _current(now).id != _current(known).id or not is_held_alike:
        raise Conflict("state_changed", "the resource changed meanwhile; read it again, then decide again")
