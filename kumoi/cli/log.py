"""`kumoi log`: receipts, mirrors, and verification by anyone, offline."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from operator import itemgetter
from pathlib import Path

import click
import msgspec

from kumoi.cli.access_signing import public_key_read
from kumoi.cli.command import Group, option
from kumoi.cli.events import COLUMNS as EVENT_COLUMNS
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.log_export import EVENTS_MAX, events_told, export_build, export_read, export_verify
from kumoi.cli.log_files import (
    HeldReceipt,
    Trust,
    directory_fetch,
    mirror_paths,
    receipt_entry,
    vkey_read,
)
from kumoi.cli.log_watch import Verifier, events_verified, file_write
from kumoi.cli.output import Column
from kumoi.cli.progress import progress
from kumoi.cli.session import Session, organization_option, pass_session
from kumoi.cli.text import duration_parse
from kumoi.client.errors import ConflictError
from kumoi.ledger.access_story import access_story
from kumoi.ledger.checkpoint import CHECKPOINT_PATH, checkpoint_open, checkpoint_peek
from kumoi.ledger.note import MAX_NOTE_BYTES, SignatureType
from kumoi.ledger.verify import Fetch, history_verify, log_verify
from kumoi.model.records import Receipt

WITNESS_COLUMNS = (
    Column("name", "NAME"),
    Column("size", "ENTRIES"),
    Column("cosigned_at", "COSIGNED"),
    Column("failure", "FAILURE"),
)
_vkey_help = "The log's verifier key, or @FILE. Get it from somebody you trust, not from the log."


witness_option = option(
    "--witness", "witnesses", multiple=True, help="Key of a witness, or @FILE; may be repeated."
)
quorum_option = option(
    "--quorum", type=click.IntRange(1), help="How many of them must have signed; all, unless said otherwise."
)


def trust_read(vkey: str, witnesses: tuple[str, ...], quorum: int | None) -> Trust:
    """What a verifier trusts. A usage error where keys are of the wrong kind, or fewer than the quorum."""
    key = vkey_read(vkey, SignatureType.ED25519, "--vkey")
    trusted = [vkey_read(witness, SignatureType.COSIGNATURE_V1, "--witness") for witness in witnesses]
    count = len({one.public_key for one in trusted})
    if quorum is not None and quorum > count:
        raise click.BadParameter(
            _("{quorum} of {count} witnesses cannot sign; name more with --witness").format(
                quorum=quorum, count=count
            ),
            param_hint="--quorum",
        )
    return Trust(key, tuple(trusted), count if quorum is None else quorum)


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
        key = vkey_read(vkey, SignatureType.ED25519, "--vkey")
        found = checkpoint_open(note, key).checkpoint
        if before is not None:
            history_verify(read, checkpoint_open(before, key).checkpoint, found)
    paths = [path for path in mirror_paths(found.size) if not (directory / path).exists()]
    with progress(_("mirror"), len(paths), quiet=session.out.json_output) as bar:
        for number, path in enumerate(paths, start=1):
            file_write(directory / path, read(path))
            bar.update(number, path)
    file_write(directory / CHECKPOINT_PATH, note)
    session.out.record({"directory": str(directory), "size": found.size, "files_fetched": len(paths) + 1})


@log.command("export")
@organization_option
@option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Write it to this file.")
@option("--limit", type=click.IntRange(1, EVENTS_MAX), help="Only the newest; else all.")
@pass_session
def log_export(session: Session, organization: str | None, output: Path, limit: int | None) -> None:
    """Save an organization's events with what proves them, in one file that is verified alone.

    Verify it with: kumoi log verify --export FILE --vkey KEY
    """
    found = list(session.client.events.organization(session.organization(organization), limit=limit))
    if not found:
        raise fail(Exit.USAGE, _("the organization has no events"), _("name another with --organization"))
    with progress(_("export"), len(found), quiet=session.out.json_output) as bar:

        def receipts() -> Iterator[Receipt]:
            for number, event in enumerate(found, start=1):
                # An event without a place in the log yet is in the next export.
                with suppress(ConflictError):
                    yield session.client.log.receipt(event.id)
                bar.update(number, event.id)

        export = export_build(session.public.log.read, found[0].organization, receipts())
    file_write(output, msgspec.json.encode(export))
    session.out.record({"path": str(output), "events": len(export.events)})


@log.command("watch")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@organization_option
@option("--vkey", required=True, help=_vkey_help)
@witness_option
@quorum_option
@option("--after", type=click.IntRange(min=0), metavar="INDEX", help="Begin behind this place in the log.")
@option("--count", type=click.IntRange(min=1), help="End after so many events.")
@option(
    "--interval",
    metavar="TIME",
    default="5s",
    show_default=True,
    help="How often the history is looked at while nothing happens.",
)
@pass_session
def log_watch(
    session: Session,
    directory: Path,
    organization: str | None,
    vkey: str,
    witnesses: tuple[str, ...],
    quorum: int | None,
    after: int | None,
    count: int | None,
    interval: str,
) -> None:
    """Print an organization's events as they are logged, each verified; end where the log was rewritten.

    DIRECTORY keeps the last checkpoint, so that a history that was changed meanwhile is noticed.
    """
    verifier = Verifier(session.public.log.read, trust_read(vkey, witnesses, quorum), directory)
    watched = events_verified(
        session.client,
        session.organization(organization),
        verifier,
        after=verifier.told() if after is None else after,
        interval_s=duration_parse(interval),
    )
    for found in islice(watched, count):
        session.out.row(found, EVENT_COLUMNS)
        verifier.told_keep(found)


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
@option(
    "--export",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Verify a file of kumoi log export alone, without plane and mirror.",
)
@option(
    "--access-key",
    "access_keys",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file of a key that you approve operator access with: check all access in --export by it.",
)
@witness_option
@quorum_option
@pass_session
def log_verify_command(
    session: Session,
    directory: Path | None,
    vkey: str,
    export: Path | None,
    receipts: tuple[Path, ...],
    older: tuple[Path, ...],
    access_keys: tuple[Path, ...],
    witnesses: tuple[str, ...],
    quorum: int | None,
) -> None:
    """Check every file of the log against its signed checkpoint, and receipts against the log."""
    trust = trust_read(vkey, witnesses, quorum)
    if export is not None:
        if directory or receipts or older:
            raise click.UsageError(_("--export is verified alone: leave out --dir and files of receipts"))
        _export_verify(session, export, trust, access_keys)
        return
    if access_keys:
        raise click.UsageError(_("--access-key is for --export"))
    fetch: Fetch = session.public.log.read if directory is None else directory_fetch(directory)
    read = [receipt_entry(path) for path in receipts]
    if directory is not None:
        _mirror_covers_check(fetch, read)
    report = log_verify(
        fetch,
        trust.key,
        witnesses=trust.witnesses,
        quorum=trust.quorum,
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


def _export_verify(session: Session, path: Path, trust: Trust, access_keys: tuple[Path, ...]) -> None:
    export = export_read(path)
    story = None
    opened = export_verify(export, trust.key, witnesses=trust.witnesses, quorum=trust.quorum)
    if access_keys:
        keys = [public_key_read(path) for path in access_keys]
        told = sorted(events_told(export), key=itemgetter("log_index"))
        story = access_story(told, opened.checkpoint.origin, export.organization, keys)
    session.out.record(
        {
            "verified": True,
            "origin": opened.checkpoint.origin,
            "size": opened.checkpoint.size,
            "root": opened.checkpoint.root.hex(),
            "cosignatures": [held.key.name for held in opened.cosignatures],
            "organization": export.organization,
            "events": len(export.events),
            **({} if story is None else {"operator_access": asdict(story)}),
        }
    )


def _checkpoint_before(directory: Path) -> bytes | None:
    path = directory / CHECKPOINT_PATH
    return _limited(path) if path.exists() else None


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_NOTE_BYTES + 1)
