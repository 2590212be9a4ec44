"""`kumoi host`: machines."""

import click

from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, limit_option, pass_session
from kumoi.cli.text import bytes_show

COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("health", "HEALTH"),
    Column("cpu_milli_used", "CPU USED (m)"),
    Column("cpu_milli", "CPU (m)"),
    Column("memory_bytes_used", "MEMORY USED", bytes_show),
    Column("memory_bytes", "MEMORY", bytes_show),
    Column("attempts", "RUNNING"),
    Column("id", "ID"),
)


@click.group("host", cls=Group)
def host() -> None:
    """Machines."""


@host.command("list")
@option("--pool", help="Of this pool only.")
@limit_option
@pass_session
def host_list(session: Session, pool: str | None, limit: int) -> None:
    """List machines with what they offer and hold."""
    within = _pool_id(session, pool) if pool else None
    session.out.rows(session.client.hosts.list(within, limit=limit + 1), COLUMNS, limit)


@host.command("show")
@click.argument("name")
@pass_session
def host_show(session: Session, name: str) -> None:
    """Show a machine."""
    session.out.record(session.client.hosts.get(name))


@host.command("drain")
@click.argument("name")
@pass_session
def host_drain(session: Session, name: str) -> None:
    """Give a machine no new work; what runs there may end."""
    session.out.record(session.client.hosts.drain(name))


@host.command("resume")
@click.argument("name")
@pass_session
def host_resume(session: Session, name: str) -> None:
    """Give a machine work again."""
    session.out.record(session.client.hosts.resume(name))


def _pool_id(session: Session, name: str) -> str:
    for pool in session.client.pools.list(limit=NAMES_MAX):
        if name in (pool.id, pool.name):
            return pool.id
    raise fail(
        Exit.NOT_FOUND,
        _("there is no pool {name}").format(name=name),
        _("kumoi pool list shows them"),
    )
