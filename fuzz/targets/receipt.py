"""Receipts (tlog-proof), and the files in which the command line keeps them."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from fuzz.material import EVENT, INDEX, LOG, ORIGIN, SALT, WITNESS_KEYS, encoded, place_make, receipt_made
from kumoi.cli.log_files import receipt_entry
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.event import event_commit
from kumoi.ledger.receipt import receipt_format, receipt_parse, receipt_verify

FILE = place_make() / "receipt.json"


def seeds() -> Iterator[bytes]:
    """A receipt, and a receipt's file."""
    yield receipt_made()
    event = msgspec.json.decode(EVENT, type=dict[str, object]) | {"log_index": INDEX}
    yield msgspec.json.encode(
        {
            "event": event,
            "canonical": encoded(EVENT),
            "salt": encoded(SALT),
            "proof": receipt_made().decode(),
            "origin": ORIGIN,
        }
    )
    yield b'{"canonical":"\xff"}'


def check(data: bytes) -> None:
    """What is parsed is written as it was read, and proves its one entry only."""
    with suppress(LedgerError):
        receipt = receipt_parse(data)
        assert receipt_format(receipt) == data
        for entry in (event_commit(SALT, EVENT), b"another"):
            with suppress(LedgerError):
                receipt_verify(receipt, entry, LOG.key, witnesses=WITNESS_KEYS, quorum=2)
                assert (entry, receipt.index) == (event_commit(SALT, EVENT), INDEX)
    FILE.write_bytes(data)
    with suppress(LedgerError):
        receipt_entry(FILE)
