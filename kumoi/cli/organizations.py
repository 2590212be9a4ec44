"""`kumoi org`: organizations, their members and who may do what."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.failures import token_lost
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, organization_option, pass_session
from kumoi.model.access import PrincipalKind, Role

COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("created_at", "CREATED"),
)
MEMBER_COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME"),
    Column("kind", "KIND"),
    Column("state", "STATE"),
    Column("created_at", "CREATED"),
)
ROLE_COLUMNS = (
    Column("id", "ID"),
    Column("principal", "PRINCIPAL"),
    Column("role", "ROLE"),
    Column("scope_kind", "SCOPE"),
    Column("scope", "OF"),
)


@click.group("org", cls=Group)
def org() -> None:
    """Organizations, their members and roles."""


@org.command("list")
@limit_option
@pass_session
def org_list(session: Session, limit: int) -> None:
    """List the organizations that you may see."""
    session.out.rows(session.client.organizations.list(limit=limit + 1), COLUMNS, limit)


@org.command("create")
@click.argument("name")
@option("--admin-name", default="admin", show_default=True, help="Name of its first administrator.")
@option("--display-name", default="", help="Name for people.")
@pass_session
def org_create(session: Session, name: str, admin_name: str, display_name: str) -> None:
    """Create an organization. Its administrator's token is shown once."""
    created = session.client.organizations.create(name, admin_name=admin_name, display_name=display_name)
    shown = {
        "id": created.organization.id,
        "name": created.organization.name,
        "admin": created.admin.id,
        "admin_token": created.admin_token,
    }
    session.out.record(created, shown)
    if created.admin_token is None:
        raise token_lost(created.admin.id)
    session.out.note(_("the token is shown this once: keep it safe"))


@org.command("show")
@click.argument("organization", required=False)
@pass_session
def org_show(session: Session, organization: str | None) -> None:
    """Show an organization: yours, or the one named."""
    session.out.record(session.client.organizations.get(session.organization(organization)))


@org.command("suspend")
@click.argument("organization")
@pass_session
def org_suspend(session: Session, organization: str) -> None:
    """Shut an organization out until it is resumed."""
    session.out.record(session.client.organizations.suspend(organization))


@org.command("resume")
@click.argument("organization")
@pass_session
def org_resume(session: Session, organization: str) -> None:
    """Let a suspended organization in again."""
    session.out.record(session.client.organizations.resume(organization))


@org.group("member", cls=Group)
def member() -> None:
    """Users and service accounts of an organization."""


@member.command("list")
@organization_option
@limit_option
@pass_session
def member_list(session: Session, organization: str | None, limit: int) -> None:
    """List users and service accounts."""
    found = session.client.principals.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, MEMBER_COLUMNS, limit)


@member.command("create")
@click.argument("name")
@option("--service-account", is_flag=True, help="A program instead of a person.")
@organization_option
@pass_session
def member_create(session: Session, name: str, service_account: bool, organization: str | None) -> None:
    """Create a user or a service account. It can do nothing until it has a role."""
    kind = PrincipalKind.SERVICE_ACCOUNT if service_account else PrincipalKind.USER
    session.out.record(session.client.principals.create(session.organization(organization), name, kind))


@member.command("disable")
@click.argument("principal")
@pass_session
def member_disable(session: Session, principal: str) -> None:
    """End what a user or service account may do; its tokens stop working."""
    session.out.record(session.client.principals.disable(principal))


@member.command("enable")
@click.argument("principal")
@pass_session
def member_enable(session: Session, principal: str) -> None:
    """Let a disabled user or service account act again."""
    session.out.record(session.client.principals.enable(principal))


@org.group("role", cls=Group)
def role() -> None:
    """Who may do what in an organization and its projects."""


@role.command("list")
@organization_option
@limit_option
@pass_session
def role_list(session: Session, organization: str | None, limit: int) -> None:
    """List the roles that are granted."""
    found = session.client.role_bindings.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, ROLE_COLUMNS, limit)


@role.command("grant")
@click.argument("principal")
@click.argument("role_name", metavar="ROLE", type=click.Choice([str(known) for known in Role]))
@option("-p", "--project", help="Over this project only; else over the organization.")
@organization_option
@pass_session
def role_grant(
    session: Session, principal: str, role_name: str, project: str | None, organization: str | None
) -> None:
    """Grant a role to a user or service account."""
    scope = session.project(project) if project else None
    within = session.organization(organization)
    session.out.record(session.client.role_bindings.create(within, principal, Role(role_name), scope))


@role.command("revoke")
@click.argument("role_binding")
@pass_session
def role_revoke(session: Session, role_binding: str) -> None:
    """Take a granted role away."""
    session.client.role_bindings.delete(role_binding)
    session.out.done(role_binding)
