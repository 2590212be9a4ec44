"""The gateway's process: what is started in which order, and how it ends."""

import asyncio
import json
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Final

from msgspec import Struct

from kumoi.gateway.activator import Activator
from kumoi.gateway.connecting import Connector
from kumoi.gateway.control import Control
from kumoi.gateway.haproxy import Haproxy
from kumoi.gateway.haproxy_config import Places
from kumoi.gateway.haproxy_process import (
    HaproxyFailed,
    haproxy_find,
    identity_find,
    socket_admit,
    sockets_prepare,
)
from kumoi.gateway.health import Health
from kumoi.gateway.table_file import table_load
from kumoi.gateway.traffic import Traffic
from kumoi.model.routes import GatewayReport

SWEEP_S: Final = 0.25
DRAIN_S: Final = 30.0
BACKLOG: Final = 1_024
_log = logging.getLogger(__name__)


class GatewaySettings(Struct, frozen=True):
    """Where the gateway listens and keeps its state. A port of 0 takes a free one.

    `control` is the Unix socket for the plane; the addresses in use are written beside it, as JSON.
    """

    state_dir: Path
    control: Path
    listen: tuple[str, int]
    metrics: tuple[str, int] | None = None
    haproxy: bool = True


async def gateway_serve(settings: GatewaySettings, stopped: asyncio.Event) -> None:
    """Serve until `stopped`, then finish what is in flight. OSError if an address is taken."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.control.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    loop = asyncio.get_running_loop()
    traffic = Traffic(loop)
    connector = Connector(loop)
    health = Health(traffic, connector, loop)
    activator = Activator(traffic, connector, loop)
    table = table_load(settings.state_dir)
    if table is not None:
        traffic.table_use(table)

    servers: list[asyncio.Server] = []
    haproxy = await _haproxy_start(settings, traffic, activator, servers)

    async def report() -> GatewayReport:
        if haproxy is not None:
            await haproxy.sample()
        return traffic.report()

    control = Control(traffic, settings.state_dir, report)
    sweeping = loop.create_task(_sweep(activator, settings.state_dir, stopped))
    try:
        found: dict[str, object] = {"pid": os.getpid(), "haproxy": haproxy is not None}
        found["state_dir"] = str(settings.state_dir)
        if haproxy is not None:
            found["listen"] = haproxy.listen
        else:
            host, port = settings.listen
            servers.append(await loop.create_server(activator.protocol, host, port, backlog=BACKLOG))
            found["listen"] = _address(servers[-1])
        if settings.metrics is not None:
            servers.append(await control.listen_metrics(*settings.metrics))
            found["metrics"] = _address(servers[-1])
        servers.append(await control.listen(settings.control))
        _addresses_keep(settings.control, found)
        _log.info("the gateway listens on %s", found["listen"])
        await stopped.wait()
        if haproxy is not None:
            await haproxy.stop(DRAIN_S)
        for server in servers:
            server.close()
        await activator.drain(DRAIN_S)
    finally:
        sweeping.cancel()
        health.close()
        for server in servers:
            server.close()
        connector.close()


async def _haproxy_start(
    settings: GatewaySettings, traffic: Traffic, activator: Activator, servers: list[asyncio.Server]
) -> Haproxy | None:
    """HAProxy where it is wanted, installed and may run; the activator carries everything otherwise."""
    program = haproxy_find() if settings.haproxy else None
    if program is None:
        return None
    host, port = settings.listen
    listen = _place(host, port or _port_free(host))
    places = Places(listen, settings.state_dir / "haproxy", identity_find())
    haproxy = Haproxy(program, traffic, places)
    try:
        sockets_prepare(places)
        servers.append(await _unix_listen(activator, places))
        await haproxy.start()
    except (HaproxyFailed, OSError) as error:
        _log.warning("HAProxy cannot be used, the activator carries everything: %s", error)
        await haproxy.stop(0)
        return None
    return haproxy


async def _unix_listen(activator: Activator, places: Places) -> asyncio.Server:
    place = places.activator
    draft = place.with_suffix(".new")
    draft.unlink(missing_ok=True)
    server = await asyncio.get_running_loop().create_unix_server(
        activator.protocol_trusted, str(draft), backlog=BACKLOG
    )
    socket_admit(draft, places)
    draft.replace(place)
    return server


def _port_free(host: str) -> int:
    """A port that nobody has now: HAProxy cannot say which one it took."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def _sweep(activator: Activator, state_dir: Path, stopped: asyncio.Event) -> None:
    """End silent connections; and the gateway, once its directory with HAProxy's configuration is gone."""
    while True:
        await asyncio.sleep(SWEEP_S)
        if not stopped.is_set() and not state_dir.exists():
            _log.error("%s was removed; the gateway ends, and whoever started it starts it anew", state_dir)
            stopped.set()
        try:
            activator.sweep()
        except Exception:
            _log.exception("ending silent connections failed")


def _address(server: asyncio.Server) -> str:
    return _place(*server.sockets[0].getsockname()[:2])


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _addresses_keep(control: Path, found: dict[str, object]) -> None:
    place = control.with_suffix(".json")
    draft = place.with_suffix(".draft")
    draft.write_text(json.dumps(found), "utf-8")
    draft.replace(place)


async def gateway_main(settings: GatewaySettings) -> None:
    """`gateway_serve` until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await gateway_serve(settings, stopped)
