"""`kumoi store`: the file of an embedded store, on the machine where it is."""

from pathlib import Path

import click

from kumoi.cli.command import Command, Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.session import Session, pass_session
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


@store.command("backup", cls=Command)
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path))
@_data_dir
@pass_session
def backup(session: Session, target: Path, data_dir: Path | None) -> None:
    """Copy the store as of now into FILE, which is encrypted as the store is; the plane may run meanwhile."""
    try:
        file = _file(data_dir)
        file.copy(target.resolve())
    except (StoreError, OSError, ValueError) as error:
        raise fail(Exit.REFUSED, str(error)) from error
    told = _("Written: {file}. It opens with {key} as it is now: keep a copy of that, elsewhere.")
    _tell(session, {"file": str(target), "key": str(file.key_path)}, told)


@store.command("rotate-key", cls=Command)
@_data_dir
@pass_session
def rotate_key(session: Session, data_dir: Path | None) -> None:
    """Encrypt the store anew under a new key. Stop the plane first; earlier backups need the old key."""
    try:
        file = _file(data_dir)
        file.key_rotate()
    except (StoreError, OSError, ValueError) as error:
        raise fail(Exit.REFUSED, str(error)) from error
    told = _("The store has a new key: {key}. Back up both now; earlier backups open with the earlier key.")
    _tell(session, {"key": str(file.key_path)}, told)


def _file(data_dir: Path | None) -> SqliteFile:
    """The file that the settings name. Raises ValueError where they name none."""
    settings = settings_load(data_dir, {})
    secrecy_begin()
    return SqliteFile.at(settings.database_url, settings.keys_dir)


def _tell(session: Session, done: dict[str, str], told: str) -> None:
    """What was done: a sentence for people, the paths for programs."""
    if session.out.json_output:
        session.out.document(done)
    session.out.line(told.format(**done))
