"""`kumoi host`: machines."""

from collections.abc import Sequence

import click
from msgspec import to_builtins

from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, limit_option, pass_session
from kumoi.cli.text import bytes_show
from kumoi.model.places import Device, DeviceHealth


def devices_show(devices: Sequence[Device]) -> str:
    """`8 H200 (2.5 used, 1 unhealthy)`: those that are there, by model and partition."""
    groups: dict[str, list[Device]] = {}
    for device in devices:
        if device.health is not DeviceHealth.GONE:
            name = f"{device.model}/{device.partition}" if device.partition else device.model
            groups.setdefault(name, []).append(device)
    return ", ".join(_group_show(name, group) for name, group in sorted(groups.items())) or "-"


def _group_show(name: str, group: Sequence[Device]) -> str:
    used_milli = sum(device.milli_used for device in group)
    sick = sum(device.health is DeviceHealth.UNHEALTHY for device in group)
    remarks = [_("{count} used").format(count=f"{used_milli / 1_000:g}")] if used_milli else []
    remarks += [_("{count} unhealthy").format(count=sick)] if sick else []
    return f"{len(group)} {name}" + (f" ({', '.join(remarks)})" if remarks else "")


COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("health", "HEALTH"),
    Column("cpu_milli_used", "CPU USED (m)"),
    Column("cpu_milli", "CPU (m)"),
    Column("memory_bytes_used", "MEMORY USED", bytes_show),
    Column("memory_bytes", "MEMORY", bytes_show),
    Column("attempts", "RUNNING"),
    Column("devices", "DEVICES", devices_show, devices_show),
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
    found = session.client.hosts.get(name)
    lines = [_device_line(device) for device in found.devices]
    session.out.record(found, {**to_builtins(found), "devices": lines})


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


@host.command("dedicate")
@click.argument("name")
@option("--organization", help="Name or id; without it everybody's work may run there again.")
@pass_session
def host_dedicate(session: Session, name: str, organization: str | None) -> None:
    """Keep a machine for one organization's work."""
    session.out.record(session.client.hosts.dedicate(name, organization))


@host.command("lost")
@click.argument("name")
@option("--yes", is_flag=True, help="The machine is dead: nothing runs there any more.")
@pass_session
def host_lost(session: Session, name: str, yes: bool) -> None:
    """Declare a silent machine dead: what ran there ends as lost, and may run elsewhere."""
    if not yes:
        raise fail(
            Exit.USAGE,
            _("if {name} still runs, its tasks may run twice").format(name=name),
            _("switch it off, then add --yes"),
        )
    session.out.record(session.client.hosts.declare_lost(name))


def _device_line(device: Device) -> str:
    model = f"{device.model}/{device.partition}" if device.partition else device.model
    parts = [device.uuid, model, device.health.value, f"{device.milli_used}m", *device.attempts]
    return " ".join([*parts, f"({device.detail})"] if device.detail else parts)


def _pool_id(session: Session, name: str) -> str:
    for pool in session.client.pools.list(limit=NAMES_MAX):
        if name in (pool.id, pool.name):
            return pool.id
    raise fail(
        Exit.NOT_FOUND,
        _("there is no pool {name}").format(name=name),
        _("kumoi pool list shows them"),
    )
