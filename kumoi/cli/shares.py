"""`kumoi quota` and `kumoi fair-share`: what an organization may hold, and its weight."""

import click

from kumoi.cli.command import Group
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, limit_option, organization_option, pass_session
from kumoi.model.shares import QuotaResource

COLUMNS = (Column("resource", "RESOURCE"), Column("most", "MOST"), Column("used", "USED"))
resource_argument = click.argument("resource", type=click.Choice([str(known) for known in QuotaResource]))


@click.group("quota", cls=Group)
def quota() -> None:
    """Quotas: what an organization may hold at once."""


@quota.command("list")
@organization_option
@limit_option
@pass_session
def quota_list(session: Session, organization: str | None, limit: int) -> None:
    """List quotas. What is not listed has no limit."""
    found = session.client.quotas.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@quota.command("set")
@resource_argument
@click.argument("most", type=click.IntRange(min=0))
@organization_option
@pass_session
def quota_set(session: Session, resource: str, most: int, organization: str | None) -> None:
    """Set a quota (for operators). Less than is held now ends nothing."""
    owner = session.organization(organization)
    session.out.record(session.client.quotas.put(owner, QuotaResource(resource), most))


@quota.command("rm")
@resource_argument
@organization_option
@pass_session
def quota_rm(session: Session, resource: str, organization: str | None) -> None:
    """Lift a quota (for operators)."""
    owner = session.organization(organization)
    for held in session.client.quotas.list(owner, limit=NAMES_MAX):
        if held.resource == resource:
            session.client.quotas.delete(owner, held.resource, held.version)
            session.out.done(resource)
            return
    raise fail(
        Exit.NOT_FOUND,
        _("there is no quota of {resource} for {organization}").format(resource=resource, organization=owner),
        _("kumoi quota list shows them"),
    )


@click.group("fair-share", cls=Group)
def fair_share() -> None:
    """Weights of organizations that compete."""


@fair_share.command("show")
@organization_option
@pass_session
def fair_share_show(session: Session, organization: str | None) -> None:
    """Show the weight of an organization."""
    session.out.record(session.client.fair_shares.get(session.organization(organization)))


@fair_share.command("set")
@click.argument("weight", type=click.IntRange(1, 1_000))
@organization_option
@pass_session
def fair_share_set(session: Session, weight: int, organization: str | None) -> None:
    """Set the weight of an organization (for operators): twice the weight, twice the share."""
    session.out.record(session.client.fair_shares.put(session.organization(organization), weight))
