"""`kumoi machine` and `kumoi pool autoscale`: machines that a provider lends."""

import click

from kumoi.cli.budgets import Yen
from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, limit_option, pass_session
from kumoi.cli.text import cpu_parse, duration_parse, memory_parse
from kumoi.model.machines import MACHINES_MAX, AutoscaleWrite

COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("provider", "PROVIDER"),
    Column("provider_ref", "THERE"),
    Column("requested_at", "ASKED FOR"),
    Column("detail", "DETAIL"),
    Column("id", "ID"),
)


@click.group("machine", cls=Group)
def machine() -> None:
    """Machines that providers lend."""


@machine.command("list")
@option("--pool", help="Of this pool only.")
@limit_option
@pass_session
def machine_list(session: Session, pool: str | None, limit: int) -> None:
    """List machines, those that were given back too."""
    within = _pool_id(session, pool) if pool else None
    session.out.rows(session.client.machines.list(within, limit=limit + 1), COLUMNS, limit)


@machine.command("show")
@click.argument("name")
@pass_session
def machine_show(session: Session, name: str) -> None:
    """Show a machine."""
    session.out.record(session.client.machines.get(name))


@click.group("autoscale", cls=Group)
def autoscale() -> None:
    """How a pool borrows machines as demand goes (for operators)."""


@autoscale.command("show")
@click.argument("pool")
@pass_session
def autoscale_show(session: Session, pool: str) -> None:
    """Show the settings, how many machines there are, and why."""
    session.out.record(session.client.autoscales.get(pool))


@autoscale.command("set")
@click.argument("pool")
@option("--provider", required=True, help="Name of the provider in the plane's file of providers.")
@option("--image", required=True, help="What the provider calls the image.")
@option("--size", required=True, help="What the provider calls the size (flavor, instance type).")
@option("--network", help="What the provider calls the network or subnet.")
@option("--cpu", required=True, help="CPU that a machine offers to work, such as 8.")
@option("--memory", required=True, help="Memory that a machine offers to work, such as 28Gi.")
@option("--disk", default="0", help="Disk that a machine offers to work.")
@option("--devices", type=click.IntRange(0, 64), default=0, help="Devices that a machine offers to work.")
@option("--boot", required=True, help="Time from asking for a machine until it takes work, such as 3m.")
@option("--min", "least", type=click.IntRange(0, MACHINES_MAX), default=0, help="Never fewer machines.")
@option("--max", "most", type=click.IntRange(0, MACHINES_MAX), required=True, help="Never more machines.")
@option("--headroom", type=float, help="Hosts that stay free; one by default, 0.5 is half of one.")
@option("--patience", help="How long demand must last before a machine is asked for; a boot by default.")
@option("--hold", help="How long a machine is kept beyond need; four boots by default.")
@option("--price", type=Yen(), default="0", help="Yen for a machine for an hour.")
@option("--budget", type=Yen(), help="Yen for all machines of the pool for an hour, at most.")
@pass_session
def autoscale_set(
    session: Session,
    pool: str,
    provider: str,
    image: str,
    size: str,
    network: str | None,
    cpu: str,
    memory: str,
    disk: str,
    devices: int,
    boot: str,
    least: int,
    most: int,
    headroom: float | None,
    patience: str | None,
    hold: str | None,
    price: int,
    budget: int | None,
) -> None:
    """Let a pool borrow machines of a provider as demand goes."""
    body = AutoscaleWrite(
        provider=provider,
        image=image,
        size=size,
        network=network,
        host_cpu_milli=cpu_parse(cpu),
        host_memory_bytes=memory_parse(memory),
        host_disk_bytes=memory_parse(disk),
        host_devices=devices,
        boot_s=int(duration_parse(boot)),
        hosts_min=least,
        hosts_max=most,
        headroom_milli=None if headroom is None else round(1_000 * headroom),
        patience_s=None if patience is None else int(duration_parse(patience)),
        hold_s=None if hold is None else int(duration_parse(hold)),
        host_hour_microyen=price,
        budget_hour_microyen=budget,
    )
    session.out.record(session.client.autoscales.put(pool, body))


@autoscale.command("rm")
@click.argument("pool")
@pass_session
def autoscale_rm(session: Session, pool: str) -> None:
    """Let a pool borrow no more machines; give back those that it has before (--max 0)."""
    session.client.autoscales.delete(pool, session.client.autoscales.get(pool).version)
    session.out.done(pool)


def _pool_id(session: Session, name: str) -> str:
    for pool in session.client.pools.list(limit=NAMES_MAX):
        if name in (pool.id, pool.name):
            return pool.id
    raise fail(
        Exit.NOT_FOUND,
        _("there is no pool {name}").format(name=name),
        _("kumoi pool list shows them"),
    )
