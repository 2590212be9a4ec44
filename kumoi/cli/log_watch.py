"""Follow an organization's events and trust nobody: each is proven, and the history may only grow."""

import queue
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kumoi.cli.log_files import Trust, receipt_held
from kumoi.ledger.checkpoint import (
    CHECKPOINT_PATH,
    Checkpoint,
    checkpoint_open,
)
from kumoi.ledger.errors import LedgerError, MismatchError
from kumoi.ledger.note import MAX_NOTE_BYTES
from kumoi.ledger.receipt import receipt_verify
from kumoi.ledger.verify import Fetch, history_verify
from kumoi.model.records import Event, Receipt

if TYPE_CHECKING:
    from kumoi.client import Kumoi

RECEIPT_WAIT_S: Final = 120.0
"""An event may wait so long for witnesses."""
WAITING_MAX: Final = 1_000


def file_write(path: Path, data: bytes) -> None:
    """Write a file at once, so that what is interrupted leaves no half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a log must show: signed and cosigned as the `trust` says, and grown out of what is kept.

    `directory` holds the last verified checkpoint, and one that was refused, as evidence.
    """

    fetch: Fetch
    trust: Trust
    directory: Path

    def newest_check(self) -> None:
        """Check the log's newest checkpoint. Raises LedgerError where it does not contain the last one."""
        self._grown_check(self.fetch(CHECKPOINT_PATH))

    def event_check(self, event_id: str, receipt: Receipt) -> Event:
        """The event, proven by its receipt. Raises LedgerError where anything about it is not."""
        held = receipt_held(receipt, f"the receipt of {event_id}")
        if receipt.event.id != event_id:
            raise MismatchError(f"the plane proves {receipt.event.id} where {event_id} was to be proven")
        trust = self.trust
        receipt_verify(held.receipt, held.entry, trust.key, witnesses=trust.witnesses, quorum=trust.quorum)
        self._grown_check(held.receipt.checkpoint)
        return receipt.event

    def told(self) -> int | None:
        """The index of the last event that was told; None before the first."""
        place = self.directory / "index"
        return int(place.read_text()) if place.exists() else None

    def told_keep(self, event: Event) -> None:
        """Remember that the event was told. A crash before this tells it once more."""
        file_write(self.directory / "index", str(event.log_index).encode())

    def _grown_check(self, note: bytes) -> None:
        new = self._open(note)
        kept = self.directory / "checkpoint"
        if kept.exists():
            with kept.open("rb") as file:
                old = checkpoint_open(file.read(MAX_NOTE_BYTES + 1), self.trust.key).checkpoint
            try:
                history_verify(self.fetch, old, new)
            except LedgerError:
                file_write(self.directory / "checkpoint.refused", note)
                raise
        file_write(kept, note)

    def _open(self, note: bytes) -> Checkpoint:
        trust = self.trust
        return checkpoint_open(note, trust.key, witnesses=trust.witnesses, quorum=trust.quorum).checkpoint


def events_verified(
    client: "Kumoi", organization: str, verifier: Verifier, *, after: int | None, interval_s: float
) -> Iterator[Event]:
    """Events of an organization behind the index `after` as they are logged, each verified, for ever.

    Without `after` from now on. While nothing happens the newest checkpoint is looked at every `interval_s`.
    """
    verifier.newest_check()
    seen: queue.Queue[Event | Exception] = queue.Queue(WAITING_MAX)
    threading.Thread(target=_follow, args=(client, organization, after, seen), daemon=True).start()
    while True:
        try:
            found = seen.get(timeout=interval_s)
        except queue.Empty:
            verifier.newest_check()
            continue
        if isinstance(found, Exception):
            raise found
        yield verifier.event_check(found.id, client.log.receipt(found.id, timeout_s=RECEIPT_WAIT_S))


def _follow(
    client: "Kumoi", organization: str, after: int | None, seen: "queue.Queue[Event | Exception]"
) -> None:
    """Put events into `seen`, and what ended them."""
    try:
        for event in client.events.watch(organization, after=after):
            seen.put(event)
    except Exception as error:
        seen.put(error)
