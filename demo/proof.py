"""The log, verified offline from a copy on disk, and a tampered copy that is caught."""

import base64
import shutil
from collections.abc import Sequence
from pathlib import Path

from kumoi.client.clients import Kumoi
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.receipt import Receipt, receipt_parse
from kumoi.ledger.verify import LogReport, log_verify

RECEIPTS = 12
LENGTH_BYTES = 2


def log_copy(client: Kumoi, place: Path, vkey: str) -> LogReport:
    """Download the log while verifying it; every file is kept below `place`."""

    def fetch(path: str) -> bytes:
        data = client.log.read(path)
        file = place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return data

    return log_verify(fetch, vkey_parse(vkey))


def receipts_fetch(client: Kumoi, events: Sequence[str]) -> list[tuple[Receipt, bytes]]:
    """Receipts of events, each with the entry that the tenant computes from its own event text and salt."""
    proved = []
    for event in events:
        receipt = client.log.receipt(event, timeout_s=10.0)
        canonical = base64.b64decode(receipt.canonical)
        entry = event_commit(base64.b64decode(receipt.salt), canonical)
        proved.append((receipt_parse(receipt.proof.encode()), entry))
    return proved


def log_verify_offline(place: Path, vkey: str, receipts: Sequence[tuple[Receipt, bytes]]) -> LogReport:
    """Verify the copy and the receipts without the plane."""
    return log_verify(lambda path: (place / path).read_bytes(), vkey_parse(vkey), receipts=receipts)


def tampering_caught(place: Path, vkey: str) -> str:
    """Flip one bit of the first entry in a copy of the copy; returns what the verifier says to that."""
    forged = place.with_name(place.name + "-forged")
    shutil.copytree(place, forged)
    entries = sorted((forged / "tile" / "entries").rglob("*"))
    victim = next(path for path in entries if path.is_file())
    data = bytearray(victim.read_bytes())
    data[LENGTH_BYTES] ^= 1
    victim.write_bytes(data)
    try:
        log_verify_offline(forged, vkey, [])
    except LedgerError as error:
        return str(error)
    raise SystemExit("a tampered copy of the log was not noticed")
