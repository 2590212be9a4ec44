"""`kumoi reservation`: whole hosts, held for an organization at a date."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, organization_option, pass_session
from kumoi.model.shares import ReservationCreate

COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("host_count", "HOSTS"),
    Column("pool", "POOL"),
    Column("start_at", "START"),
    Column("end_at", "END"),
    Column("id", "ID"),
)


@click.group("reservation", cls=Group)
def reservation() -> None:
    """Hosts held for an organization at a date."""


@reservation.command("list")
@organization_option
@limit_option
@pass_session
def reservation_list(session: Session, organization: str | None, limit: int) -> None:
    """List reservations, past ones too."""
    found = session.client.reservations.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@reservation.command("show")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def reservation_show(session: Session, identifier: str, organization: str | None) -> None:
    """Show a reservation."""
    session.out.record(session.client.reservations.get(session.organization(organization), identifier))


@reservation.command("create")
@click.argument("name")
@option("--pool", required=True, help="Name of the pool whose hosts are held.")
@option("--hosts", type=click.IntRange(1, 10_000), required=True, help="How many whole hosts.")
@option("--start", required=True, help="From this RFC 3339 time on.")
@option("--end", required=True, help="Until this RFC 3339 time.")
@organization_option
@pass_session
def reservation_create(
    session: Session, name: str, pool: str, hosts: int, start: str, end: str, organization: str | None
) -> None:
    """Hold hosts for an organization (for operators)."""
    body = ReservationCreate(name, pool, hosts, start, end)
    session.out.record(session.client.reservations.create(session.organization(organization), body))


@reservation.command("cancel")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def reservation_cancel(session: Session, identifier: str, organization: str | None) -> None:
    """Give the hosts of a reservation back (for operators). Work that runs there goes on."""
    session.out.record(session.client.reservations.cancel(session.organization(organization), identifier))
