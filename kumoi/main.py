"""The entry point and the wiring: the only file that knows every room.

Rooms are imported where they are needed, so that `kumoi --help` costs no more than the interpreter.
"""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kumoi.app.founding import FoundedRegion
    from kumoi.app.plane import Plane
    from kumoi.engines.base import Engine
    from kumoi.ledger.note import Signer
    from kumoi.loops.context import LoopContext
    from kumoi.loops.runner import Loop, Runner
    from kumoi.model.settings import Settings
    from kumoi.store.database import Store

ENVIRONMENT_PREFIX = "KUMOI_"
CLIENT_VARIABLES = frozenset(
    {"KUMOI_URL", "KUMOI_TOKEN", "KUMOI_PROJECT", "KUMOI_ORGANIZATION", "KUMOI_LANG"}
)
_log = logging.getLogger("kumoi")


def main() -> None:
    """Run the command line."""
    from kumoi.cli.root import run

    run()


@click.command("up")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where everything is kept.")
@click.option("--listen", help="HOST:PORT of the API; port 0 takes a free one.")
@click.option("--database", help="postgresql://... for several planes; SQLite in the data directory else.")
@click.option("--region", help="The name of the region.")
@click.option("--log-origin", help="The name of the operations log.")
@click.option("--log-interval-s", type=float, help="Seconds between checkpoints of the log.")
@click.option(
    "--host-cpu-milli", type=int, help="CPU that this machine offers; more than it has overcommits."
)
@click.option("--host-memory-bytes", type=int, help="Memory that this machine offers.")
def up(data_dir: Path | None, **flags: object) -> None:
    """Start a region on this machine and run until stopped."""
    try:
        settings = settings_load(
            data_dir, {name: value for name, value in flags.items() if value is not None}
        )
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    _logging_start()
    import uvloop

    from kumoi.model.errors import KumoiError
    from kumoi.store.errors import StoreError
    from kumoi.web.api.access_log import access_log_configure

    access_log_configure()
    try:
        uvloop.run(_serve(settings))
    except (KumoiError, StoreError, OSError, ValueError) as error:
        click.echo(f"kumoi up: {error}", err=True)
        sys.exit(1)


def settings_load(data_dir: Path | None, flags: dict[str, object]) -> "Settings":
    """Flags, then KUMOI_* variables, then DATA/kumoi.toml."""
    from kumoi.model.settings import settings_build

    variables: dict[str, object] = {
        name.removeprefix(ENVIRONMENT_PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in CLIENT_VARIABLES
    }
    named = variables.pop("data_dir", None)
    place = data_dir or (Path(str(named)) if named else _data_dir_default())
    file = place / "kumoi.toml"
    stored = tomllib.loads(file.read_text("utf-8")) if file.exists() else {}
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


async def _serve(settings: "Settings") -> None:
    """Start everything, say so, and run until SIGTERM or SIGINT."""
    from kumoi.model.settings import address_split
    from kumoi.web.api.application import application_create
    from kumoi.web.api.server import server_create
    from kumoi.web.settings import WebSettings

    started_s = time.perf_counter()
    host, port = address_split(settings.listen)
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
        await _reachable(host, port, serving)
        runner.start()
        _ready_say(settings, time.perf_counter() - started_s)
        await asyncio.wait([serving, asyncio.create_task(stopped.wait())], return_when="FIRST_COMPLETED")
    finally:
        application.stop()
        server.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(serving, 10)
        runner.stop()
        for engine in plane.engines.values():
            engine.close()
        plane.files.close()
        plane.store.close()


async def _reachable(host: str, port: int, serving: "asyncio.Task[None]") -> None:
    """Wait until the server accepts; raise what ended it if it never does."""
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        if serving.done():
            serving.result()
            raise OSError(f"cannot listen on {host}:{port}; is the port in use?")
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.005)
            continue
        writer.close()
        return
    raise OSError(f"cannot listen on {host}:{port}: nothing answers after 10 s")


def _ready_say(settings: "Settings", took_s: float) -> None:
    """Tell people on standard output where the region is, once it is."""
    click.echo(f"region {settings.region} is ready at http://{settings.listen} after {took_s:.2f} s")
    click.echo(f"operator token: {settings.data_dir / 'admin.token'}")
    sys.stdout.flush()


def plane_build(settings: "Settings") -> "tuple[Plane, Runner]":
    """Wire store, guard, engines, loops and app into a plane. Nothing runs yet."""
    from kumoi.app.pages import Cursors
    from kumoi.app.plane import Plane, Region
    from kumoi.guard.decide import Guard
    from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT
    from kumoi.ledger.note import Signer, vkey_format
    from kumoi.loops.context import LoopContext, Retention
    from kumoi.loops.runner import Runner
    from kumoi.store.database import Store
    from kumoi.store.files import FileStore
    from kumoi.store.vault import Vault, key_file_ensure

    keys = _directories_ensure(settings.data_dir)
    store = Store(settings.database_url)
    with _first_start(settings.data_dir):
        founded = _region_ensure(store, settings)
        log_key, secrets_key, cursors_key = (
            key_file_ensure(keys / f"{name}.key") for name in ("log", "secrets", "cursors")
        )
    signer = Signer(settings.origin, log_key)
    _log_key_check(store, signer)
    region = Region(
        name=founded.name,
        cell=founded.cell,
        incarnation=founded.incarnation,
        platform_organization_id=founded.platform_organization_id,
        log_origin=settings.origin,
        log_vkey=vkey_format(signer.key),
    )
    vault = Vault(secrets_key)
    engines = _engines_build(settings, founded.incarnation)
    plane = Plane(
        store=store,
        guard=Guard.load(SCHEMA_TEXT, tuple(POLICY_TEXTS.values()), founded.platform_organization_id),
        cursors=Cursors(cursors_key),
        vault=vault,
        files=FileStore(settings.data_dir / "objects"),
        region=region,
        data_dir=settings.data_dir,
        engines=engines,
    )
    wakes: list[Callable[..., None]] = []

    def nudge(*names: str) -> None:
        for wake in wakes:
            wake(*names)

    context = LoopContext(
        store=store,
        engines=engines,
        vault=vault,
        clock_us=plane.clock_us,
        nudge=nudge,
        incarnation=founded.incarnation,
        platform_organization_id=founded.platform_organization_id,
        cell=founded.cell,
        retention=Retention(
            settings.task_log_retention_s, settings.job_retention_s, settings.plan_retention_s
        ),
    )
    runner = Runner(store, _loops_build(context, signer, settings))
    wakes.append(runner.nudge)
    plane.nudge = runner.nudge
    for engine in engines.values():
        engine.on_change(lambda: runner.nudge("tasks"))
    return plane, runner


def _directories_ensure(data_dir: Path) -> Path:
    """DATA with its parts, closed to everybody else; returns the directory of the keys."""
    for place in (data_dir, data_dir / "keys", data_dir / "run"):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.chmod(0o700)
    return data_dir / "keys"


@contextlib.contextmanager
def _first_start(data_dir: Path) -> Iterator[None]:
    """Planes that share a data directory found the region and make its keys one after the other."""
    descriptor = os.open(data_dir / "run" / "first-start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _region_ensure(store: "Store", settings: "Settings") -> "FoundedRegion":
    """The region in the store; founded at the first start, with the operator's token in `admin.token`.

    The token is on disk before the store knows it: a crash in between leaves a file that the next start
    replaces, never a token that nobody knows.
    """
    from kumoi.app.founding import region_found
    from kumoi.core.tokens import SECRET_BYTES, token_format
    from kumoi.store.organizations import region_get

    token = ""
    if store.read_wait(region_get) is None:
        token = token_format(os.urandom(SECRET_BYTES))
        _file_write(settings.data_dir / "admin.token", token + "\n")
    now_us = time.time_ns() // 1_000
    return region_found(
        store, region_name=settings.region, cell=settings.cell, now_us=now_us, admin_token=token
    )


def _log_key_check(store: "Store", signer: "Signer") -> None:
    """Refuse to go on with a log that another key signed: that would be a second history."""
    from kumoi.ledger.checkpoint import checkpoint_open
    from kumoi.ledger.errors import LedgerError
    from kumoi.store.log import head_read

    head = store.read_wait(head_read, signer.name)
    if head is None:
        return
    try:
        checkpoint_open(head.checkpoint.encode(), signer.key)
    except LedgerError as error:
        raise ValueError(f"keys/log.key is not the key of this region's log ({error}); restore it") from error


def _file_write(path: Path, text: str) -> None:
    """Write `path` (mode 600) durably, whole or not at all."""
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _engines_build(settings: "Settings", incarnation: str) -> "dict[str, Engine]":
    """The engines of this machine. Without bubblewrap the plane serves, and runs nothing."""
    from kumoi.engines.base import EngineUnavailable
    from kumoi.engines.sandbox.engine import SandboxEngine

    try:
        engine = SandboxEngine(
            settings.data_dir,
            incarnation,
            host_name=settings.host_name or _host_name(),
            cpu_milli=settings.host_cpu_milli or None,
            memory_bytes=settings.host_memory_bytes or None,
            files_root=settings.data_dir / "objects",
        )
    except EngineUnavailable as error:
        _log.warning("this plane runs no work: %s", error)
        return {}
    return {engine.name: engine}


def _host_name() -> str:
    """The machine's name in the form of names."""
    letters = "".join(c if c.isalnum() and c.isascii() else "-" for c in os.uname().nodename.lower())
    return letters.strip("-")[:63] or "host-1"


def _loops_build(context: "LoopContext", signer: "Signer", settings: "Settings") -> "list[Loop]":
    """The reconcilers, how often each runs by itself, and how long each rests in between."""
    from functools import partial

    from kumoi.loops.hosts import hosts_activate
    from kumoi.loops.jobs import jobs_activate
    from kumoi.loops.ledger import ledger_activate
    from kumoi.loops.orphans import orphans_activate
    from kumoi.loops.placement import placement_activate
    from kumoi.loops.retention import retention_activate
    from kumoi.loops.runner import Loop
    from kumoi.loops.tasks import tasks_activate
    from kumoi.loops.upkeep import upkeep_activate

    return [
        Loop("jobs", partial(jobs_activate, context), 2.0),
        Loop("placement", partial(placement_activate, context), 2.0),
        Loop("tasks", partial(tasks_activate, context), 1.0),
        Loop("upkeep", partial(upkeep_activate, context), 5.0),
        Loop("hosts", partial(hosts_activate, context), 10.0),
        Loop("orphans", partial(orphans_activate, context), 30.0),
        Loop(
            "ledger",
            partial(ledger_activate, context, signer),
            settings.log_interval_s,
            settings.log_interval_s,
        ),
        Loop("retention", partial(retention_activate, context), 60.0),
    ]


if __name__ == "__main__":
    main()
