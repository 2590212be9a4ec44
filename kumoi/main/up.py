"""`kumoi up`: settings, logging, and the life of the plane's process."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
import tomllib
from pathlib import Path

import click
import uvloop

from kumoi.engines.sandbox.wrapper import secrecy_begin
from kumoi.main.listening import free_check, reachable_wait
from kumoi.main.wiring import plane_build
from kumoi.model.errors import KumoiError
from kumoi.model.settings import Settings, address_split, settings_build
from kumoi.store.errors import StoreError
from kumoi.store.volumes.errors import VolumeUnavailable
from kumoi.web.api.access_log import access_log_configure
from kumoi.web.api.application import application_create
from kumoi.web.api.server import server_create
from kumoi.web.settings import WebSettings

ENVIRONMENT_PREFIX = "KUMOI_"
CLIENT_VARIABLES = frozenset(
    {"KUMOI_URL", "KUMOI_TOKEN", "KUMOI_PROJECT", "KUMOI_ORGANIZATION", "KUMOI_LANG"}
)


@click.command("up")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--listen", help="HOST:PORT of the API.")
@click.option("--database", help="postgresql://... for several planes; SQLite in the data directory else.")
@click.option("--region", help="The name of the region.")
@click.option("--log-origin", help="The name of the operations log.")
@click.option("--log-interval-s", type=float, help="Seconds between checkpoints of the log.")
@click.option(
    "--host-cpu-milli", type=int, help="CPU that this machine offers; more than it has overcommits."
)
@click.option("--host-pool", help="The pool that this machine joins when it is first seen.")
@click.option("--host-memory-bytes", type=int, help="Memory that this machine offers.")
@click.option("--podman/--no-podman", default=None, help="Whether this machine runs containers too.")
@click.option("--podman-registries", help="Registries that images may be pulled from, HOST[:PORT] each.")
@click.option("--gateway/--no-gateway", default=None, help="Whether this starts the gateway of services.")
@click.option("--gateway-listen", help="HOST:PORT of the gateway; port 0 takes a free one.")
def up(data_dir: Path | None, **flags: object) -> None:
    """Start a region on this machine and run until stopped."""
    try:
        settings = settings_load(
            data_dir, {name: value for name, value in flags.items() if value is not None}
        )
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    secrecy_begin()
    _logging_start()
    access_log_configure()
    try:
        uvloop.run(_serve(settings))
    except (KumoiError, StoreError, VolumeUnavailable, OSError, ValueError) as error:
        click.echo(f"kumoi up: {error}", err=True)
        sys.exit(1)


def settings_load(data_dir: Path | None, flags: dict[str, object]) -> Settings:
    """Flags, then KUMOI_* variables, then DATA/kumoi.toml."""
    variables: dict[str, object] = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in CLIENT_VARIABLES
    }
    named = variables.pop("data_dir", None)
    place = data_dir or (Path(str(named)) if named else _data_dir_default())
    file = place / "kumoi.toml"
    try:
        stored = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not TOML: {error}") from error
    return settings_build(place.resolve(), flags, variables, stored)


def _data_dir_default() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/kumoi")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "kumoi"


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _logging_start() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


async def _serve(settings: Settings) -> None:
    """Start everything, say so, and run until SIGTERM or SIGINT."""
    host, port = address_split(settings.listen)
    free_check(host, port)
    plane, runner = plane_build(settings)
    web = WebSettings()
    application = application_create(plane, web)
    server = server_create(application, host, port, web)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    serving = asyncio.create_task(server.serve())
    try:
        await reachable_wait(host, port, serving)
        runner.start()
        _ready_say(settings)
        await asyncio.wait([serving, asyncio.create_task(stopped.wait())], return_when="FIRST_COMPLETED")
    finally:
        application.stop()
        server.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(serving, 10)
        runner.stop()
        await plane.refusals.flush()
        for engine in plane.engines.values():
            engine.close()
        plane.files.close()
        plane.volumes.close()
        plane.store.close()


def _ready_say(settings: Settings) -> None:
    """Tell people on standard output where the region is, once it is."""
    click.echo(f"region {settings.region} is ready at http://{settings.listen}")
    if (settings.data_dir / "admin.token").exists():
        click.echo(f"operator token is in {settings.data_dir / 'admin.token'}")
    sys.stdout.flush()
