"""`kumoi event`: what was done or refused."""

from itertools import islice

import click

from kumoi.cli.command import Group, option
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, organization_option, pass_session

COLUMNS = (
    Column("at", "AT"),
    Column("action", "ACTION"),
    Column("outcome", "OUTCOME"),
    Column("actor", "ACTOR"),
    Column("resource", "RESOURCE"),
    Column("log_index", "LOG INDEX"),
    Column("id", "ID"),
)


@click.group("event", cls=Group)
def event() -> None:
    """What was done or refused."""


@event.command("list")
@organization_option
@option("--platform", is_flag=True, help="What the platform and its operators did (for operators).")
@limit_option
@pass_session
def event_list(session: Session, organization: str | None, platform: bool, limit: int) -> None:
    """List what happened, newest first."""
    if platform:
        found = session.client.events.platform(limit=limit + 1)
    else:
        found = session.client.events.organization(session.organization(organization), limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@event.command("show")
@click.argument("event_id", metavar="ID")
@pass_session
def event_show(session: Session, event_id: str) -> None:
    """Show one event."""
    session.out.record(session.client.events.get(event_id))


@event.command("watch")
@organization_option
@option("--after", type=click.IntRange(min=0), metavar="INDEX", help="Begin behind this place in the log.")
@option("--count", type=click.IntRange(min=1), help="End after so many events.")
@pass_session
def event_watch(session: Session, organization: str | None, after: int | None, count: int | None) -> None:
    """Print events as they get their place in the log, until interrupted."""
    watched = session.client.events.watch(session.organization(organization), after=after)
    for found in islice(watched, count):
        session.out.row(found, COLUMNS)
