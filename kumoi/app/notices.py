"""Notices: where an organization wants them, and how the sending of each fares."""

import base64
import ipaddress
import os
from typing import Any

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.keys import seal
from kumoi.app.organizations import organization_authorized, organization_target
from kumoi.app.plane import Plane, not_found
from kumoi.core.notice_addresses import NoticeRules, is_entered, is_mail_address, url_parse
from kumoi.model.access import Action, Actor, ResourceKind
from kumoi.model.errors import Conflict, Invalid, TooMany
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind, id_is
from kumoi.model.notices import (
    CHOICES,
    TARGETS_MAX,
    NoticeChannel,
    NoticeKind,
    NoticeSending,
    NoticeTarget,
    NoticeTargetCreate,
    NoticeTargetCreated,
)
from kumoi.model.records import Page
from kumoi.model.time import US_PER_S, time_format
from kumoi.store import notice_targets, notices, schema
from kumoi.store.database import Connection
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.writer import Change, Row, Table

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a credential
"""How Standard Webhooks marks the secret of a webhook."""
TRIAL_EVERY_S = 60
MAILS_MAX = 5
MAILS_WITHIN_S = 3_600
"""So many mail targets may an organization add in that time: whose an address is, nobody proves."""


async def notice_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[NoticeSending]:
    """Notices of an organization on their way to its targets, newest first."""
    organization_id = await organization_authorized(plane, actor, Action.NOTICE_LIST, organization)
    listing = f"notices/{organization_id}"
    before = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(notices.sending_list, organization_id, limit + 1, before)
    return plane.cursors.page(listing, rows, limit, lambda sending: sending.id)


async def notice_target_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[NoticeTarget]:
    """Targets of an organization, oldest first."""
    organization_id = await organization_authorized(plane, actor, Action.NOTICE_TARGET_LIST, organization)
    listing = f"notice-targets/{organization_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(notice_targets.target_list, organization_id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda target: target.id)


async def notice_target_create(
    plane: Plane, actor: Actor, organization: str, body: NoticeTargetCreate, key: IdempotencyKey | None
) -> Written:
    """Add a target. The secret of a webhook is made here, and only the first answer shows it."""
    organization_id = await organization_authorized(plane, actor, Action.NOTICE_TARGET_CREATE, organization)
    _address_check(body, plane.notice_rules)
    kinds = _kinds(body)
    now_us = plane.clock_us()
    target = NoticeTarget(
        id=id_new(IdKind.NOTICE_TARGET, plane.region.cell),
        organization=organization_id,
        channel=body.channel,
        address=body.address,
        kinds=kinds,
        created_at=time_format(now_us),
    )
    secret = os.urandom(SECRET_BYTES) if body.channel is NoticeChannel.WEBHOOK else None
    row = await _row(plane, target, secret, now_us)
    event = _event(Action.NOTICE_TARGET_CREATE, actor, target, now_us)
    kept = NoticeTargetCreated(target, None)

    def build(connection: Connection) -> Change:
        if notice_targets.target_count(connection, organization_id) >= TARGETS_MAX:
            raise Conflict(
                "notice_targets_full",
                "an organization has {limit} targets of notices at most; remove one that is not needed",
                limit=TARGETS_MAX,
            )
        _mails_check(connection, target, now_us)
        inserts: list[tuple[Table, list[Row]]] = [(schema.notice_targets, [row]), (schema.events, [event])]
        return Change(inserts, key=key, answer=answer(201, kept))

    written = await plane.commit_built(build, key)
    if written.replayed or secret is None:
        return written
    return answer(201, replace(kept, secret=SECRET_PREFIX + base64.b64encode(secret).decode()))


async def notice_target_delete(plane: Plane, actor: Actor, target_id: str) -> Written:
    """Remove a target; what is on its way there is not sent any more."""
    target = await _target_authorized(plane, actor, Action.NOTICE_TARGET_DELETE, target_id)
    event = _event(Action.NOTICE_TARGET_DELETE, actor, target, plane.clock_us())

    def build(connection: Connection) -> Change:
        if not notice_targets.target_delete(connection, target_id):
            raise not_found(target_id)
        return Change([(schema.events, [event])])

    return await plane.commit_built(build)


async def notice_target_test(
    plane: Plane, actor: Actor, target_id: str, key: IdempotencyKey | None
) -> Written:
    """Send a trial notice to one target, once."""
    target = await _target_authorized(plane, actor, Action.NOTICE_TARGET_TEST, target_id)
    now_us = plane.clock_us()
    event = _event(Action.NOTICE_TARGET_TEST, actor, target, now_us)
    notice = notices.notice_row(NoticeKind.TRIAL, event) | {"expanded_us": now_us}
    row = notices.sending_row(notice["id"], now_us, target.id, target.organization)
    sending = NoticeSending(
        id=row["id"],
        notice=notice["id"],
        target=target.id,
        kind=NoticeKind.TRIAL,
        event=event["id"],
        state="pending",
        attempts=0,
        failure="",
        created_at=time_format(now_us),
        next_at=time_format(now_us),
        ended_at=None,
    )

    def build(connection: Connection) -> Change:
        notice_targets.targets_hold(connection, target.organization)
        since_us = now_us - TRIAL_EVERY_S * US_PER_S
        if notice_targets.is_tried_since(connection, target.organization, since_us):
            raise TooMany(
                "notice_trial_early",
                "an organization tries its targets once in {limit} seconds; the list of notices shows how "
                "the last fares",
                limit=TRIAL_EVERY_S,
            )
        inserts = [(schema.events, [event]), (schema.notices, [notice]), (schema.notice_sendings, [row])]
        return Change(inserts, key=key, answer=answer(202, sending))

    return await plane.commit_built(build, key, wake=("notices",))


async def _target_authorized(plane: Plane, actor: Actor, action: Action, target_id: str) -> NoticeTarget:
    found = None
    if id_is(IdKind.NOTICE_TARGET, target_id):
        found = await plane.store.read(notice_targets.target_get, target_id)
    if found is None:
        await plane.refuse_unknown(actor, action, ResourceKind.ORGANIZATION, target_id)
    await plane.authorize(
        actor,
        action,
        organization_target(found.organization),
        named=target_id,
        reading=Action.NOTICE_TARGET_LIST,
    )
    return found


def _mails_check(connection: Connection, target: NoticeTarget, now_us: int) -> None:
    if target.channel is not NoticeChannel.MAIL:
        return
    if notice_targets.mails_added(connection, target.organization, now_us, MAILS_WITHIN_S) >= MAILS_MAX:
        raise TooMany(
            "notice_mails_early",
            "an organization adds {limit} mail addresses an hour at most, removed ones included; wait, or "
            "name a webhook",
            limit=MAILS_MAX,
        )


def _address_check(body: NoticeTargetCreate, rules: NoticeRules) -> None:
    if body.channel is NoticeChannel.WEBHOOK:
        _url_check(body.address, rules)
        return
    if not rules.has_mail:
        raise Invalid(
            "mail_not_set_up",
            "this region sends no mail; name a webhook, or ask the operator to set smtp_url",
            at="/channel",
        )
    if not is_mail_address(body.address):
        raise Invalid(
            "mail_address_invalid", "it is not one plain mail address such as ops@example.org", at="/address"
        )


def _url_check(address: str, rules: NoticeRules) -> None:
    """Refuse what can be refused by the text alone; what its name means is checked at each sending."""
    try:
        url = url_parse(address)
    except ValueError:
        raise Invalid(
            "notice_url_invalid",
            "it is not a URL such as https://host.example/path, without user and fragment",
            at="/address",
        ) from None
    is_plain = url.scheme == "http"
    if is_plain and not rules.has_http:
        raise Invalid("notice_url_plain", "notices leave with TLS only; name a URL with https", at="/address")
    try:
        ipaddress.ip_address(url.host)
    except ValueError:
        return
    if not is_entered(url.host, rules, is_plain=is_plain):
        raise Invalid(
            "notice_url_refused",
            "notices are not sent to the address {host}; name a public one, or ask the operator about "
            "notice_networks",
            at="/address",
            host=url.host,
        )


def _kinds(body: NoticeTargetCreate) -> tuple[NoticeKind, ...]:
    if NoticeKind.TRIAL in body.kinds:
        raise Invalid(
            "notice_kind_invalid",
            "a trial is sent when it is asked for; name some of {kinds}",
            at="/kinds",
            kinds=", ".join(CHOICES),
        )
    return tuple(sorted(set(body.kinds or CHOICES)))


async def _row(plane: Plane, target: NoticeTarget, secret: bytes | None, now_us: int) -> Row:
    row: dict[str, Any] = {
        "id": target.id,
        "organization_id": target.organization,
        "channel": target.channel,
        "address": target.address,
        "kinds": notice_targets.kinds_format(target.kinds),
        "created_us": now_us,
    }
    if secret is not None:
        sealed = await seal(plane, notice_targets.target_seal_name(target.organization, target.id), secret)
        row |= {"sealed": sealed.blob, "key_version": sealed.key_version}
    return row


def _event(action: Action, actor: Actor, target: NoticeTarget, now_us: int) -> dict[str, Any]:
    return event_row(
        action,
        at_us=now_us,
        actor=actor.id,
        resource=target.id,
        organization=target.organization,
        detail={"channel": target.channel, "host": _host(target.address), "kinds": target.kinds},
    )


def _host(address: str) -> str:
    """Where an address is, for the event: a URL may hold a token of its receiver, and so stays out of it."""
    return url_parse(address).host if "://" in address else address.rpartition("@")[2]
