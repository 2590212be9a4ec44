"""`kumoi key`: the key of an organization, and the platform's own."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.output import Column
from kumoi.cli.session import Session, organization_option, pass_session
from kumoi.model.keys import OnWithdraw, OrganizationKey, PlatformKey

VERSIONS = (
    Column("number", "VERSION"),
    Column("state", "STATE"),
    Column("kek", "WRAPPED BY"),
    Column("sealed", "SEALED"),
    Column("created_at", "CREATED"),
)
PLATFORM_VERSIONS = (
    Column("number", "VERSION"),
    Column("current", "CURRENT"),
    Column("wrapped", "WRAPS"),
)


@click.group("key", cls=Group)
def key() -> None:
    """The key that everything of an organization is sealed with."""


@key.command("show")
@organization_option
@pass_session
def key_show(session: Session, organization: str | None) -> None:
    """Show the key: who holds it, its versions, and what is sealed with each."""
    _show(session, session.client.keys.get(session.organization(organization)))


@key.command("attach")
@click.argument("token")
@click.argument("label")
@option(
    "--on-withdraw",
    type=click.Choice([str(known) for known in OnWithdraw]),
    default=str(OnWithdraw.CONTINUE),
    show_default=True,
    help="What becomes of running work when the key is withdrawn.",
)
@organization_option
@pass_session
def key_attach(session: Session, token: str, label: str, on_withdraw: str, organization: str | None) -> None:
    """Hold the key in a token of yours: the key LABEL in the operator's TOKEN."""
    owner = session.organization(organization)
    _show(session, session.client.keys.attach(owner, token, label, OnWithdraw(on_withdraw)))


@key.command("withdraw")
@organization_option
@pass_session
def key_withdraw(session: Session, organization: str | None) -> None:
    """Withdraw the key: nothing sealed with it can be read until it is restored."""
    _show(session, session.client.keys.withdraw(session.organization(organization)))


@key.command("restore")
@organization_option
@pass_session
def key_restore(session: Session, organization: str | None) -> None:
    """Restore a withdrawn key. Its token has to give it."""
    _show(session, session.client.keys.restore(session.organization(organization)))


@key.command("rotate")
@organization_option
@pass_session
def key_rotate(session: Session, organization: str | None) -> None:
    """Make a new version of the key. What is sealed moves to it without an interruption."""
    _show(session, session.client.keys.rotate(session.organization(organization)))


@key.command("platform")
@pass_session
def key_platform(session: Session) -> None:
    """Show the platform's own key (for operators)."""
    _platform_show(session, session.client.platform_key.get())


@key.command("platform-rotate")
@pass_session
def key_platform_rotate(session: Session) -> None:
    """Make a new version of the platform's own key (for operators)."""
    _platform_show(session, session.client.platform_key.rotate())


def _show(session: Session, found: OrganizationKey) -> None:
    holder = found.holder
    held = (
        {"holder": "platform"}
        if holder is None
        else {
            "holder": f"{holder.token}/{holder.object}",
            "state": holder.state,
            "cause": holder.cause,
            "on_withdraw": str(holder.on_withdraw),
        }
    )
    session.out.record(found, {"organization": found.organization, **held, "volume": str(found.volume)})
    if not session.out.json_output:
        session.out.rows(found.versions, VERSIONS, len(found.versions))


def _platform_show(session: Session, found: PlatformKey) -> None:
    if session.out.json_output:
        session.out.document(found)
    else:
        session.out.rows(found.versions, PLATFORM_VERSIONS, len(found.versions))
