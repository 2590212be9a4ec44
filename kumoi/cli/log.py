"""`kumoi log`: receipts, mirrors, and verification by anyone, offline."""

import uuid
from pathlib import Path

import click
import msgspec

from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.log_files import (
    HeldReceipt,
    directory_fetch,
    mirror_paths,
    receipt_entry,
    vkey_read,
)
from kumoi.cli.output import Column
from kumoi.cli.progress import progress
from kumoi.cli.session import Session, pass_session
from kumoi.cli.text import duration_parse
from kumoi.ledger.checkpoint import CHECKPOINT_PATH, checkpoint_open, checkpoint_peek
from kumoi.ledger.note import MAX_NOTE_BYTES
from kumoi.ledger.verify import Fetch, history_verify, log_verify

WITNESS_COLUMNS = (
    Column("name", "NAME"),
    Column("size", "ENTRIES"),
    Column("cosigned_at", "COSIGNED"),
    Column("failure", "FAILURE"),
)
_vkey_help = "The log's verifier key, or @FILE. Get it from somebody you trust, not from the log."


@click.group("log", cls=Group)
def log() -> None:
    """The operations log: receipts, mirrors, offline verification."""


def _mirror_covers_check(fetch: Fetch, read: list[HeldReceipt]) -> None:
    """A mirror made before a receipt says nothing about it; that is no sign of a shortened log."""
    size = checkpoint_peek(fetch(CHECKPOINT_PATH)).size
    newest = max((checkpoint_peek(held.receipt.checkpoint).size for held in read), default=0)
    if newest > size:
        raise fail(
            Exit.USAGE,
            _(
                "the mirror is older than the receipt: it has {size} entries, the receipt is of {newest}"
            ).format(size=size, newest=newest),
            _("mirror the log again, then verify"),
        )


@log.command("checkpoint")
@pass_session
def log_checkpoint(session: Session) -> None:
    """Print the newest signed checkpoint. Keep it: a later log must contain it."""
    note = session.public.log.checkpoint()
    if session.out.json_output:
        found = checkpoint_peek(note)
        session.out.document(
            {"origin": found.origin, "size": found.size, "root": found.root.hex(), "note": note.decode()}
        )
    else:
        click.echo(note.decode(), nl=False)


@log.command("vkey")
@pass_session
def log_vkey(session: Session) -> None:
    """Print the verifier key that the plane shows. Compare it with what you got another way."""
    found = session.public.log.vkey()
    if session.out.json_output:
        session.out.document({"vkey": found})
    session.out.line(found)


@log.command("witnesses")
@pass_session
def log_witnesses(session: Session) -> None:
    """Show who cosigns the log, how far each came, and how far the log is published."""
    found = session.public.log.witnesses()
    if session.out.json_output:
        session.out.document(found)
        return
    session.out.rows(found.witnesses, WITNESS_COLUMNS)
    session.out.note(
        _("{published} of {size} entries are published; that takes {quorum} witnesses").format(
            published=found.published_size, size=found.size, quorum=found.quorum
        )
    )


@log.command("receipt")
@click.argument("event_id", metavar="EVENT")
@option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write it to this file; - is standard output."
)
@option(
    "--timeout",
    metavar="TIME",
    default="30s",
    show_default=True,
    help="Wait so long for its place in the log.",
)
@pass_session
def log_receipt(session: Session, event_id: str, output: Path | None, timeout: str) -> None:
    """Fetch what proves an event offline: its bytes, its salt and a tlog-proof."""
    receipt = session.client.log.receipt(event_id, timeout_s=duration_parse(timeout))
    target = output or Path(f"{event_id}.receipt.json")
    encoded = msgspec.json.format(msgspec.json.encode(receipt), indent=2) + b"\n"
    if target == Path("-"):
        click.echo(encoded.decode(), nl=False)
        return
    target.write_bytes(encoded)
    if session.out.json_output:
        session.out.document({"event": receipt.event, "path": str(target)})
    session.out.line(str(target))


@log.command("mirror")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@option("--vkey", help=_vkey_help)
@pass_session
def log_mirror(session: Session, directory: Path, vkey: str | None) -> None:
    """Download the log for offline verification; what is there already is not fetched again.

    With --vkey the checkpoint's signature is checked, and that the log still contains the one before.
    """
    read = session.public.log.read
    note = read(CHECKPOINT_PATH)
    found = checkpoint_peek(note)
    before = _checkpoint_before(directory)
    if vkey is not None:
        key = vkey_read(vkey)
        found = checkpoint_open(note, key).checkpoint
        if before is not None:
            history_verify(read, checkpoint_open(before, key).checkpoint, found)
    paths = [path for path in mirror_paths(found.size) if not (directory / path).exists()]
    with progress(_("mirror"), len(paths), quiet=session.out.json_output) as bar:
        for number, path in enumerate(paths, start=1):
            _write(directory / path, read(path))
            bar.update(number, path)
    _write(directory / CHECKPOINT_PATH, note)
    session.out.record({"directory": str(directory), "size": found.size, "files_fetched": len(paths) + 1})


@log.command("verify")
@option(
    "--dir",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Verify a mirror; else the plane's own files.",
)
@option("--vkey", required=True, help=_vkey_help)
@option(
    "--receipt",
    "receipts",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check this receipt too; may be repeated.",
)
@option(
    "--old-checkpoint",
    "older",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Check that the log still contains this checkpoint; may be repeated.",
)
@option("--witness", "witnesses", multiple=True, help="Key of a witness, or @FILE; may be repeated.")
@option(
    "--quorum",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many witnesses must have signed.",
)
@pass_session
def log_verify_command(
    session: Session,
    directory: Path | None,
    vkey: str,
    receipts: tuple[Path, ...],
    older: tuple[Path, ...],
    witnesses: tuple[str, ...],
    quorum: int,
) -> None:
    """Check every file of the log against its signed checkpoint, and receipts against the log."""
    key = vkey_read(vkey)
    fetch: Fetch = session.public.log.read if directory is None else directory_fetch(directory)
    read = [receipt_entry(path) for path in receipts]
    if directory is not None:
        _mirror_covers_check(fetch, read)
    report = log_verify(
        fetch,
        key,
        witnesses=[vkey_read(witness) for witness in witnesses],
        quorum=quorum,
        older=[_limited(path) for path in older],
        receipts=[(held.receipt, held.entry) for held in read],
    )
    session.out.record(
        {
            "verified": True,
            "origin": report.checkpoint.origin,
            "size": report.checkpoint.size,
            "root": report.checkpoint.root.hex(),
            "tiles_checked": report.tiles_checked,
            "bundles_checked": report.bundles_checked,
            "older_checked": report.older_checked,
            "cosignatures": [held.key.name for held in report.cosignatures],
            "receipts": [held.event for held in read],
        }
    )


def _checkpoint_before(directory: Path) -> bytes | None:
    path = directory / CHECKPOINT_PATH
    return _limited(path) if path.exists() else None


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_NOTE_BYTES + 1)


def _write(path: Path, data: bytes) -> None:
    """Write a file at once, so that an interrupted mirror holds no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
