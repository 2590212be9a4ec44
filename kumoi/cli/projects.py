"""`kumoi project`: where jobs, files and secrets live."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, organization_option, pass_session
from kumoi.cli.settings import config_read, config_write

COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("data_class", "DATA CLASS"),
    Column("jurisdiction", "LAW OF"),
    Column("created_at", "CREATED"),
)


@click.group("project", cls=Group)
def project() -> None:
    """Projects: where jobs, files and secrets live."""


@project.command("list")
@organization_option
@limit_option
@pass_session
def project_list(session: Session, organization: str | None, limit: int) -> None:
    """List projects."""
    found = session.client.projects.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@project.command("create")
@click.argument("name")
@option("--data-class", default="general", show_default=True, help="What kind of data it holds.")
@option(
    "--jurisdiction", default="JP", show_default=True, help="Whose law the data stays under (ISO 3166-1)."
)
@organization_option
@pass_session
def project_create(
    session: Session, name: str, data_class: str, jurisdiction: str, organization: str | None
) -> None:
    """Create a project."""
    within = session.organization(organization)
    made = session.client.projects.create(within, name, data_class=data_class, jurisdiction=jurisdiction)
    session.out.record(made)


@project.command("show")
@click.argument("name", required=False)
@pass_session
def project_show(session: Session, name: str | None) -> None:
    """Show a project: the default one, or the one named."""
    session.out.record(session.client.projects.get(session.project(name)))


@project.command("use")
@click.argument("name")
@pass_session
def project_use(session: Session, name: str) -> None:
    """Make a project the default of the commands."""
    found = session.client.projects.get(session.project(name))
    path = config_write({**config_read(), "project": found.id})
    if session.out.json_output:
        session.out.document(found)
    session.out.line(_("{name} is the default now, in {path}").format(name=found.name, path=path))


@project.command("archive")
@click.argument("name")
@pass_session
def project_archive(session: Session, name: str) -> None:
    """Close a project for new work; what it holds stays."""
    session.out.record(session.client.projects.archive(session.project(name)))


@project.command("restore")
@click.argument("name")
@pass_session
def project_restore(session: Session, name: str) -> None:
    """Open an archived project again."""
    session.out.record(session.client.projects.restore(session.project(name)))
