"""`kumoi notice`: where an organization is told of what concerns it at once, and how that fares."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.failures import secret_lost
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, organization_option, pass_session
from kumoi.model.notices import CHOICES, NoticeChannel, NoticeKind

COLUMNS = (
    Column("notice", "NOTICE"),
    Column("kind", "KIND"),
    Column("target", "TARGET"),
    Column("state", "STATE"),
    Column("attempts", "TRIES"),
    Column("failure", "FAILURE"),
    Column("created_at", "CREATED"),
)
TARGET_COLUMNS = (
    Column("id", "ID"),
    Column("channel", "CHANNEL"),
    Column("address", "ADDRESS"),
    Column("kinds", "KINDS"),
)


@click.group("notice", cls=Group)
def notice() -> None:
    """Notices by webhook and mail of what cannot wait."""


@notice.command("list")
@organization_option
@limit_option
@pass_session
def notice_list(session: Session, organization: str | None, limit: int) -> None:
    """List notices and how the sending of each fares, newest first."""
    found = session.client.notices.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@notice.group("target", cls=Group)
def target() -> None:
    """Webhooks and mail addresses that notices go to."""


@target.command("list")
@organization_option
@limit_option
@pass_session
def target_list(session: Session, organization: str | None, limit: int) -> None:
    """List where notices go."""
    found = session.client.notice_targets.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, TARGET_COLUMNS, limit)


@target.command("add")
@click.argument("address")
@option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([str(kind) for kind in CHOICES]),
    help="What to send there; may be repeated (all).",
)
@organization_option
@pass_session
def target_add(session: Session, address: str, kinds: tuple[str, ...], organization: str | None) -> None:
    """Send notices to ADDRESS: the URL of a webhook, whose secret is shown once, or a mail address."""
    channel = NoticeChannel.WEBHOOK if "://" in address else NoticeChannel.MAIL
    within = session.organization(organization)
    created = session.client.notice_targets.create(
        within, channel, address, [NoticeKind(kind) for kind in kinds]
    )
    shown = {"id": created.target.id, "channel": created.target.channel, "address": created.target.address}
    if channel is NoticeChannel.MAIL:
        session.out.record(created, shown)
        return
    session.out.record(created, shown | {"secret": created.secret})
    if created.secret is None:
        raise secret_lost(created.target.id)
    session.out.note(_("the secret is shown this once: its receiver verifies notices with it"))


@target.command("remove")
@click.argument("target_id", metavar="ID")
@pass_session
def target_remove(session: Session, target_id: str) -> None:
    """Send notices there no more."""
    session.client.notice_targets.delete(target_id)
    session.out.done(target_id)


@target.command("test")
@click.argument("target_id", metavar="ID")
@pass_session
def target_test(session: Session, target_id: str) -> None:
    """Send a trial notice there, once; `kumoi notice list` shows how it fares."""
    session.out.record(session.client.notice_targets.test(target_id))
