"""Signed notes and verifier keys."""

from collections.abc import Iterator
from contextlib import suppress

from fuzz.material import LOG, WITNESS_KEYS, WITNESSES, log_made
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.note import (
    note_format,
    note_open,
    note_parse,
    signatures_format,
    signatures_parse,
    vkey_format,
    vkey_parse,
)


def seeds() -> Iterator[bytes]:
    """A checkpoint, its signature lines, and keys."""
    note = log_made().checkpoint
    yield note
    yield note.partition(b"\n\n")[2]
    yield vkey_format(LOG.key).encode()
    yield vkey_format(WITNESSES[0].key).encode()


def check(data: bytes) -> None:
    """Whatever is parsed is written as it was read."""
    with suppress(LedgerError):
        assert note_format(note_parse(data)) == data
    with suppress(LedgerError):
        assert signatures_format(signatures_parse(data)).encode() == data
    with suppress(LedgerError):
        note_open(data, [LOG.key, *WITNESS_KEYS])
    text = data.decode("utf-8", "surrogateescape")
    with suppress(LedgerError):
        assert vkey_format(vkey_parse(text)) == text
