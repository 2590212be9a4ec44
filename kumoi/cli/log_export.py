"""A tenant's events with what proves them, in one file that is verified without plane or mirror.

The file is JSON: the signed checkpoint as text, and for each event its canonical bytes, its salt and the
inclusion proof of its commitment under that checkpoint (RFC 9162 section 2.1.3.2).
"""

import base64
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from kumoi.ledger.checkpoint import CHECKPOINT_PATH, OpenedCheckpoint, checkpoint_open, checkpoint_peek
from kumoi.ledger.errors import FormatError, MismatchError
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import VerifierKey
from kumoi.ledger.receipt import receipt_parse
from kumoi.ledger.tree import MAX_PROOF_HASHES, inclusion_prove, inclusion_verify, leaf_hash
from kumoi.ledger.verify import Fetch, TileFetcher
from kumoi.model.errors import UNDECODABLE
from kumoi.model.records import Receipt

FORMAT: Final = "kumoi-log-export/v1"
EVENTS_MAX: Final = 1_000_000
EXPORT_BYTES_MAX: Final = 4 << 30
TILES_KEPT: Final = 4_096


class ExportedEvent(Struct, frozen=True, forbid_unknown_fields=True):
    """An event as it is proven: its canonical bytes, salt and place, and the hashes that lead to the root."""

    canonical: bytes
    salt: bytes
    index: Annotated[int, Meta(ge=0)]
    proof: Annotated[tuple[bytes, ...], Meta(max_length=MAX_PROOF_HASHES)]


class Export(Struct, frozen=True, forbid_unknown_fields=True):
    """Events of an organization, all under one checkpoint; the newest first."""

    format: Literal["kumoi-log-export/v1"]
    organization: str
    checkpoint: str
    events: Annotated[tuple[ExportedEvent, ...], Meta(max_length=EVENTS_MAX)]


def export_build(fetch: Fetch, organization: str, receipts: Iterable[Receipt]) -> Export:
    """Prove every receipt's event anew, all under the log's newest checkpoint, from its public tiles.

    An event that the checkpoint does not cover yet is left out: it is in the next export.
    """
    note = fetch(CHECKPOINT_PATH)
    size = checkpoint_peek(note).size
    tiles = TileFetcher(lru_cache(TILES_KEPT)(fetch))
    events = []
    for receipt in receipts:
        index = receipt_parse(receipt.proof.encode()).index
        if index < size:
            canonical, salt = base64.b64decode(receipt.canonical), base64.b64decode(receipt.salt)
            events.append(ExportedEvent(canonical, salt, index, inclusion_prove(tiles, index, size)))
    return Export(FORMAT, organization, note.decode(), tuple(events))


def export_read(path: Path) -> Export:
    """The export in a file. Raises FormatError for what is none; nothing is verified yet."""
    with path.open("rb") as file:
        raw = file.read(EXPORT_BYTES_MAX + 1)
    try:
        return msgspec.json.decode(raw, type=Export)
    except UNDECODABLE as error:
        raise FormatError(f"{path} is no export of kumoi log export: {error}") from error


def export_verify(
    export: Export, key: VerifierKey, *, witnesses: Sequence[VerifierKey] = (), quorum: int = 0
) -> OpenedCheckpoint:
    """Check that every event is in the log of `key`, seen by at least `quorum` of `witnesses`.

    Raises SignatureError for the checkpoint, ProofError or BoundsError for an event that it does not cover,
    MismatchError for one of another organization.
    """
    opened = checkpoint_open(export.checkpoint.encode(), key, witnesses=witnesses, quorum=quorum)
    state = opened.checkpoint
    for event, told in zip(export.events, events_told(export), strict=True):
        if told.get("organization") != export.organization:
            raise MismatchError(f"the event at {event.index} is not one of {export.organization}")
        entry = event_commit(event.salt, event.canonical)
        inclusion_verify(leaf_hash(entry), event.index, state.size, event.proof, state.root)
    return opened


def events_told(export: Export) -> Iterator[dict[str, Any]]:
    """What the proven bytes of each event say. Raises FormatError where they say nothing."""
    for event in export.events:
        try:
            yield msgspec.json.decode(event.canonical, type=dict[str, Any]) | {"log_index": event.index}
        except UNDECODABLE as error:
            raise FormatError(f"the event at {event.index} is not JSON: {error}") from error
