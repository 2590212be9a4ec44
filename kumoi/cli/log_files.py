"""The log's files as people keep them: keys, receipts and mirrors."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.ledger.errors import FormatError, MismatchError
from kumoi.ledger.event import MAX_EVENT_BYTES, event_commit
from kumoi.ledger.note import SignatureType, VerifierKey, vkey_parse
from kumoi.ledger.receipt import MAX_RECEIPT_BYTES, Receipt, receipt_parse
from kumoi.ledger.tiles import ENTRIES, MAX_BUNDLE_BYTES, Level, level_count, tile_path
from kumoi.ledger.tree import TILE_HEIGHT, TILE_WIDTH
from kumoi.ledger.verify import Fetch
from kumoi.model import records
from kumoi.model.errors import UNDECODABLE

RECEIPT_FILE_BYTES_MAX: Final = 2 * (MAX_RECEIPT_BYTES + MAX_EVENT_BYTES)
VKEY_CHARACTERS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class HeldReceipt:
    """A receipt, the log entry that it proves, and the event as the proven bytes tell it."""

    receipt: Receipt
    entry: bytes
    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trust:
    """The log's key, the witnesses', and how many of them must have signed."""

    key: VerifierKey
    witnesses: tuple[VerifierKey, ...] = ()
    quorum: int = 0


def vkey_read(given: str, kind: SignatureType, option: str) -> VerifierKey:
    """The key in an argument, or in the file named behind @. A usage error where it is none of this kind."""
    text = given
    if given.startswith("@"):
        with Path(given[1:]).open(encoding="utf-8") as file:
            text = file.read(VKEY_CHARACTERS_MAX).strip()
    try:
        key = vkey_parse(text)
    except FormatError as error:
        raise click.BadParameter(str(error), param_hint=option) from error
    if key.signature_type is not kind:
        is_log = key.signature_type is SignatureType.ED25519
        wrong = _("{name} is the key of a log") if is_log else _("{name} is the key of a witness")
        raise click.BadParameter(wrong.format(name=key.name), param_hint=option)
    return key


def receipt_entry(path: Path) -> HeldReceipt:
    """The receipt in a file of `kumoi log receipt`.

    What it shows of the event must be what its canonical bytes say, since only those are proven. Raises
    MismatchError otherwise, and FormatError for what is no receipt.
    """
    with path.open("rb") as file:
        raw = file.read(RECEIPT_FILE_BYTES_MAX + 1)
    try:
        return receipt_held(msgspec.json.decode(raw, type=records.Receipt), str(path))
    except UNDECODABLE as error:
        raise FormatError(f"{path} is no receipt of kumoi log receipt: {error}") from error


def receipt_held(held: records.Receipt, where: str) -> HeldReceipt:
    """The receipt as it is proven. Raises MismatchError where it shows another event than it proves."""
    try:
        canonical = base64.b64decode(held.canonical, validate=True)
        salt = base64.b64decode(held.salt, validate=True)
        event: dict[str, Any] = msgspec.json.decode(canonical, type=dict[str, Any])
    except (*UNDECODABLE, binascii.Error) as error:
        raise FormatError(f"{where} is none: {error}") from error
    receipt = receipt_parse(held.proof.encode())
    shown = {**msgspec.to_builtins(held.event), "log_index": receipt.index}
    if shown != {**event, "log_index": held.event.log_index}:
        raise MismatchError(f"{where} shows another event than the one that its proof is for: it was altered")
    return HeldReceipt(receipt, event_commit(salt, canonical), {**event, "log_index": receipt.index})


def directory_fetch(directory: Path) -> Fetch:
    """Reads a mirror's files."""

    def fetch(path: str) -> bytes:
        try:
            with (directory / path).open("rb") as file:
                return file.read(MAX_BUNDLE_BYTES + 1)
        except FileNotFoundError as error:
            raise fail(
                Exit.VERIFICATION_FAILED,
                _("the mirror lacks {path}").format(path=path),
                _("fetch it again: kumoi log mirror {directory}").format(directory=directory),
            ) from error

    return fetch


def mirror_paths(size: int) -> Iterator[str]:
    """Every tile and entry bundle of a log of `size` entries."""
    yield from _level_paths(ENTRIES, size)
    for level in range(level_count(size)):
        yield from _level_paths(level, size >> TILE_HEIGHT * level)


def _level_paths(level: Level, width: int) -> Iterator[str]:
    full, partial = divmod(width, TILE_WIDTH)
    for n in range(full):
        yield tile_path(level, n)
    if partial:
        yield tile_path(level, full, partial)
