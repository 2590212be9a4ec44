"""`kumoi store`: the file of an embedded store, on the machine where it is."""

from pathlib import Path

import click

from kumoi.cli.command import Command, Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.engines.sandbox.wrapper import secrecy_begin
from kumoi.main.up import settings_load
from kumoi.store.errors import StoreError
from kumoi.store.sqlite import SqliteFile

_data_dir = option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where everything is kept; as for `kumoi up` where it is not given.",
)


@click.group("store", cls=Group)
def store() -> None:
    """The store's file on this machine."""


@store.command("backup", cls=Command, json_output=False)
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@_data_dir
def backup(target: Path, data_dir: Path | None) -> None:
    """Copy the store as of now into FILE, which is encrypted as the store is; the plane may run meanwhile."""
    try:
        file = _file(data_dir)
        file.copy(target.resolve())
    except (StoreError, OSError, ValueError) as error:
        raise fail(Exit.REFUSED, str(error)) from error
    told = _("Written: {file}. It opens with {key} as it is now: keep a copy of that, elsewhere.")
    click.echo(told.format(file=target, key=file.key_path))


@store.command("rotate-key", cls=Command, json_output=False)
@_data_dir
def rotate_key(data_dir: Path | None) -> None:
    """Encrypt the store anew under a new key. Stop the plane first; earlier backups need the old key."""
    try:
        file = _file(data_dir)
        file.key_rotate()
    except (StoreError, OSError, ValueError) as error:
        raise fail(Exit.REFUSED, str(error)) from error
    told = _("The store has a new key: {key}. Back up both now; earlier backups open with the earlier key.")
    click.echo(told.format(key=file.key_path))


def _file(data_dir: Path | None) -> SqliteFile:
    """The file that the settings name. Raises ValueError where they name none."""
    settings = settings_load(data_dir, {})
    secrecy_begin()
    return SqliteFile.at(settings.database_url, settings.keys_dir)
