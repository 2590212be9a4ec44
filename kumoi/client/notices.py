"""Notices: where an organization wants them, and how the sending of each fares."""

from collections.abc import Sequence

from kumoi.client.flows import Flow, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, delete, pages, path, post, tell
from kumoi.model.notices import (
    NoticeChannel,
    NoticeKind,
    NoticeSending,
    NoticeTarget,
    NoticeTargetCreate,
    NoticeTargetCreated,
)


def notice_list(organization: str, *, limit: int | None = None) -> Stream[NoticeSending]:
    """Notices on their way to the targets of an organization, newest first."""
    return pages(NoticeSending, path("organizations", organization, "notices"), limit)


def notice_target_list(organization: str, *, limit: int | None = None) -> Stream[NoticeTarget]:
    """Where notices of an organization go."""
    return pages(NoticeTarget, path("organizations", organization, "notice-targets"), limit)


def notice_target_create(
    organization: str,
    channel: NoticeChannel,
    address: str,
    kinds: Sequence[NoticeKind] = (),
    *,
    key: str | None = None,
) -> Flow[NoticeTargetCreated]:
    """Add a webhook or a mail address, for all kinds or some. A webhook's secret is in the answer, once."""
    at = path("organizations", organization, "notice-targets")
    return ask(NoticeTargetCreated, post(at, NoticeTargetCreate(channel, address, tuple(kinds)), key))


def notice_target_delete(target: str) -> Flow[None]:
    """Remove a target; what is on its way there is not sent any more."""
    return tell(delete(path("notice-targets", target)))


def notice_target_test(target: str, *, key: str | None = None) -> Flow[NoticeSending]:
    """Send a trial notice to a target, once."""
    return ask(NoticeSending, post(path("notice-targets", target, "test"), None, key))


class Notices(Group[D]):
    """`client.notices`"""

    list = Streaming(notice_list)


class NoticeTargets(Group[D]):
    """`client.notice_targets`"""

    list = Streaming(notice_target_list)
    create = Operation(notice_target_create)
    delete = Operation(notice_target_delete)
    test = Operation(notice_target_test)
