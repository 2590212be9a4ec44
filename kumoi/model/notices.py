"""Notices: what people are told of at once, by webhook or by mail."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kumoi.model.ids import Id

ADDRESS_MAX = 500
TARGETS_MAX = 20
"""Targets of an organization."""


class NoticeKind(StrEnum):
    """What a notice is about. Those in REGION_WIDE concern everybody; the others one organization."""

    ACCESS_REQUEST = "access_request"
    ACCESS_APPROVE = "access_approve"
    ACCESS_DENY = "access_deny"
    ACCESS_REVOKE = "access_revoke"
    BREAK_GLASS = "break_glass"
    BREAK_GLASS_UNEXPLAINED = "break_glass_unexplained"
    WITNESS_FAIL = "witness_fail"
    WITNESS_RETURN = "witness_return"
    LOG_GAP_BEGIN = "log_gap_begin"
    LOG_GAP_END = "log_gap_end"
    TRIAL = "trial"


REGION_WIDE = frozenset(
    {
        NoticeKind.WITNESS_FAIL,
        NoticeKind.WITNESS_RETURN,
        NoticeKind.LOG_GAP_BEGIN,
        NoticeKind.LOG_GAP_END,
    }
)
CHOICES = tuple(kind for kind in NoticeKind if kind is not NoticeKind.TRIAL)
"""What a target may be for; a trial is sent when it is asked for."""


class NoticeChannel(StrEnum):
    """How a notice is sent."""

    WEBHOOK = "webhook"
    MAIL = "mail"


class NoticeTargetCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new target: the URL of a webhook or a mail address, and the kinds that it is for; none means all."""

    channel: NoticeChannel
    address: Annotated[str, Meta(min_length=3, max_length=ADDRESS_MAX)]
    kinds: Annotated[tuple[NoticeKind, ...], Meta(max_length=len(CHOICES))] = ()


class NoticeTarget(Struct, frozen=True):
    """Where notices of an organization go."""

    id: Id
    organization: Id
    channel: NoticeChannel
    address: str
    kinds: tuple[NoticeKind, ...]
    created_at: str


class NoticeTargetCreated(Struct, frozen=True):
    """`secret` verifies what a webhook gets. It is shown once: null in a replay, and for mail."""

    target: NoticeTarget
    secret: str | None


class NoticeSending(Struct, frozen=True):
    """A notice on its way to a target. `notice` is the id that its receiver sees, `failure` the last one."""

    id: Id
    notice: Id
    target: Id
    kind: NoticeKind
    event: Id
    state: str
    attempts: int
    failure: str
    created_at: str
    next_at: str | None
    ended_at: str | None
