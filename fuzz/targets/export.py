"""Exports of events, which are verified alone."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from fuzz.material import EVENT, INDEX, LOG, SALT, WITNESS_KEYS, log_made, place_make
from kumoi.cli.log_export import Export, ExportedEvent, export_read, export_verify
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.tree import inclusion_prove

FILE = place_make() / "export.json"


def seeds() -> Iterator[bytes]:
    """An export of one event."""
    log = log_made()
    event = ExportedEvent(EVENT, SALT, INDEX, inclusion_prove(log, INDEX, log.size))
    yield msgspec.json.encode(Export("kumoi-log-export/v1", "org_1", log.checkpoint.decode(), (event,)))
    yield b'{"format":"\xff"}'


def check(data: bytes) -> None:
    """What verifies holds the one event that there is."""
    FILE.write_bytes(data)
    with suppress(LedgerError):
        export = export_read(FILE)
        export_verify(export, LOG.key, witnesses=WITNESS_KEYS, quorum=2)
        assert all((one.canonical, one.salt, one.index) == (EVENT, SALT, INDEX) for one in export.events)
