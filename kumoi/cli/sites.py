"""`kumoi site`: places with an address, a country and a function."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, pass_session
from kumoi.cli.spec_flags import latencies_parse
from kumoi.model.places import SiteCreate, SiteFunction

COLUMNS = (
    Column("name", "NAME"),
    Column("country", "COUNTRY"),
    Column("functions", "FUNCTIONS"),
    Column("address", "ADDRESS"),
    Column("id", "ID"),
)


@click.group("site", cls=Group)
def site() -> None:
    """Sites."""


@site.command("list")
@limit_option
@pass_session
def site_list(session: Session, limit: int) -> None:
    """List sites."""
    session.out.rows(session.client.sites.list(limit=limit + 1), COLUMNS, limit)


@site.command("create")
@click.argument("name")
@option("--country", required=True, help="Where it stands (ISO 3166-1).")
@option(
    "--function",
    "functions",
    multiple=True,
    type=click.Choice([str(known) for known in SiteFunction]),
    help="What it is for; may be repeated (compute).",
)
@option("--address", default="", help="Its postal address.")
@option(
    "--latency",
    "latencies",
    multiple=True,
    metavar="PLACE=MS",
    help="Round trip to a place; may be repeated.",
)
@pass_session
def site_create(
    session: Session,
    name: str,
    country: str,
    functions: tuple[str, ...],
    address: str,
    latencies: tuple[str, ...],
) -> None:
    """Create a site."""
    wanted = tuple(SiteFunction(function) for function in functions) or (SiteFunction.COMPUTE,)
    body = SiteCreate(name, country, wanted, address, latencies_parse(latencies))
    session.out.record(session.client.sites.create(body))
