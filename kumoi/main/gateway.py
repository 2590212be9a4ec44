"""`kumoi gateway`: the data path of services, as a process of its own."""

import logging
import sys
from pathlib import Path

import click
import uvloop

from kumoi.gateway.process import GatewaySettings, gateway_main
from kumoi.main.memory_place import closed_ensure


@click.command("gateway")
@click.option(
    "--state-dir", type=click.Path(path_type=Path), required=True, help="Where the last good table is kept."
)
@click.option(
    "--control", type=click.Path(path_type=Path), required=True, help="The Unix socket for the plane."
)
@click.option("--listen", default="127.0.0.1:8580", show_default=True, help="HOST:PORT for requests.")
@click.option("--metrics-listen", help="HOST:PORT for OpenMetrics; on the control socket only else.")
@click.option("--haproxy/--no-haproxy", default=True, help="Whether HAProxy carries what it can.")
def gateway(state_dir: Path, control: Path, listen: str, metrics_listen: str | None, haproxy: bool) -> None:
    """Carry requests to services until stopped."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = GatewaySettings(
            state_dir.resolve(),
            control.resolve(),
            _address(listen),
            _address(metrics_listen) if metrics_listen else None,
            haproxy,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        # HAProxy reads its configuration there as root: whoever may write to it decides where requests go.
        closed_ensure(settings.state_dir)
        uvloop.run(gateway_main(settings))
    except OSError as error:
        click.echo(f"kumoi gateway: {error}", err=True)
        sys.exit(1)


def _address(listen: str) -> tuple[str, int]:
    """HOST:PORT, where 0 is a free port. ValueError where it is none."""
    host, separator, port = listen.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65_535:
        raise ValueError(f"an address to listen on must be HOST:PORT such as 127.0.0.1:8580, not {listen!r}")
    return host.strip("[]"), int(port)
