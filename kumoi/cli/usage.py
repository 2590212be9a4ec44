"""`kumoi usage`: what was used."""

import click

from kumoi.cli.command import Command, option
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, pass_session
from kumoi.model.records import Usage

COLUMNS = (
    Column("organization", "ORGANIZATION"),
    Column("attempts", "ATTEMPTS"),
    Column("wall_s", "WALL (s)"),
    Column("cpu_s", "CPU (s)"),
    Column("cpu_milli_s", "CPU HELD (m x s)"),
    Column("memory_byte_s", "MEMORY HELD (B x s)"),
    Column("device_s", "DEVICES (s)"),
)


@click.command("usage", cls=Command)
@option("-p", "--project", help="Of this project.")
@option("--organization", help="Of this organization; by default your own.")
@option("--all", "everyone", is_flag=True, help="Of every organization (for operators).")
@option("--since", help="From this RFC 3339 time on; by default since the month began.")
@option("--until", help="Before this RFC 3339 time; by default now.")
@limit_option
@pass_session
def usage(
    session: Session,
    project: str | None,
    organization: str | None,
    everyone: bool,
    since: str | None,
    until: str | None,
    limit: int,
) -> None:
    """Show what was used in a period."""
    if (project is not None) + (organization is not None) + everyone > 1:
        raise click.UsageError(_("name one of --project, --organization and --all"))
    reads = session.client.usage
    if everyone:
        session.out.rows(reads.platform(since=since, until=until, limit=limit + 1), COLUMNS, limit)
        return
    found: Usage
    if project is not None:
        found = reads.project(session.project(project), since=since, until=until)
    else:
        found = reads.organization(session.organization(organization), since=since, until=until)
    session.out.record(found)
