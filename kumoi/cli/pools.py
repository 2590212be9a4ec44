"""`kumoi pool`: machines that take work together."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.machines import autoscale
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, limit_option, pass_session
from kumoi.model.places import IsolationClass, PoolCreate

COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("engine", "ENGINE"),
    Column("isolation", "ISOLATION"),
    Column("network_allowed", "NETWORK"),
    Column("shared_by_organizations", "SHARED"),
    Column("id", "ID"),
)


@click.group("pool", cls=Group)
def pool() -> None:
    """Pools of machines."""


pool.add_command(autoscale)


@pool.command("list")
@limit_option
@pass_session
def pool_list(session: Session, limit: int) -> None:
    """List pools."""
    session.out.rows(session.client.pools.list(limit=limit + 1), COLUMNS, limit)


@pool.command("create")
@click.argument("name")
@option("--site", required=True, help="Name or id of the site where its machines stand.")
@option("--engine", default="sandbox", show_default=True, help="What runs work there.")
@option(
    "--isolation",
    type=click.Choice([str(known) for known in IsolationClass]),
    default=str(IsolationClass.PROCESS),
    show_default=True,
    help="What stands between two tenants.",
)
@option("--network", is_flag=True, help="Work there may use the network.")
@option(
    "--data-class",
    "data_classes",
    multiple=True,
    help="Take work of this class of data only, wherever it is bound to; may be repeated.",
)
@option("--defragment", is_flag=True, help="Restartable work may be moved so that a large group fits.")
@option("--shared", is_flag=True, help="Organizations may share a machine; tenants see this.")
@pass_session
def pool_create(
    session: Session,
    name: str,
    site: str,
    engine: str,
    isolation: str,
    network: bool,
    shared: bool,
    data_classes: tuple[str, ...],
    defragment: bool,
) -> None:
    """Create a pool at a site."""
    body = PoolCreate(
        name=name,
        site=site_id_find(session, site),
        engine=engine,
        isolation=IsolationClass(isolation),
        network_allowed=network,
        shared_by_organizations=shared,
        data_classes=data_classes,
        defragment=defragment,
    )
    session.out.record(session.client.pools.create(body))


@pool.command("pause")
@click.argument("name")
@pass_session
def pool_pause(session: Session, name: str) -> None:
    """Hold new work of a pool: it is accepted and waits."""
    session.out.record(session.client.pools.pause(name))


@pool.command("resume")
@click.argument("name")
@pass_session
def pool_resume(session: Session, name: str) -> None:
    """Let a paused pool start work again."""
    session.out.record(session.client.pools.resume(name))


def site_id_find(session: Session, name: str) -> str:
    """The id of the site with this name or id."""
    for site in session.client.sites.list(limit=NAMES_MAX):
        if name in (site.id, site.name):
            return site.id
    raise fail(
        Exit.NOT_FOUND,
        _("there is no site {name}").format(name=name),
        _("kumoi site list shows them"),
    )
