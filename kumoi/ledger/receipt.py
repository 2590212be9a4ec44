"""Receipts (C2SP tlog-proof): one file that proves offline that an entry is in the log."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kumoi.ledger.checkpoint import OpenedCheckpoint, checkpoint_open, checkpoint_peek
from kumoi.ledger.encoding import base64_format, base64_parse, decimal_parse, text_shown, utf8_parse
from kumoi.ledger.errors import BoundsError, FormatError
from kumoi.ledger.note import MAX_NOTE_BYTES, VerifierKey
from kumoi.ledger.tree import (
    HASH_BYTES,
    MAX_PROOF_HASHES,
    HashReader,
    inclusion_prove,
    inclusion_verify,
    leaf_hash,
    size_check,
)

RECEIPT_HEADER: Final = "c2sp.org/tlog-proof@v1"
RECEIPT_SUFFIX: Final = ".tlog-proof"
MAX_EXTRA_BYTES: Final = 64 << 10
MAX_RECEIPT_BYTES: Final = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES


@dataclass(frozen=True, slots=True)
class Receipt:
    """An entry's position, its inclusion proof and the signed checkpoint the proof leads to.

    `checkpoint` is the signed note byte for byte. `extra` is opaque and vouched for by nobody.
    """

    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        size_check(self.index, "a receipt's index")
        if len(self.proof) > MAX_PROOF_HASHES:
            raise BoundsError(f"a receipt has at most {MAX_PROOF_HASHES} hashes, not {len(self.proof)}")
        if any(len(value) != HASH_BYTES for value in self.proof):
            raise FormatError(f"each hash of a receipt has {HASH_BYTES} bytes")
        if len(self.checkpoint) > MAX_NOTE_BYTES:
            raise BoundsError(f"a receipt's checkpoint has at most {MAX_NOTE_BYTES} bytes")
        if self.extra is not None and not 1 <= len(self.extra) <= MAX_EXTRA_BYTES:
            raise BoundsError(
                f"a receipt's extra data has 1 to {MAX_EXTRA_BYTES} bytes, not {len(self.extra)}"
            )


def receipt_build(reader: HashReader, index: int, checkpoint: bytes, extra: bytes | None = None) -> Receipt:
    """The receipt of entry `index` under a signed checkpoint, proved from the log's own tiles."""
    size = checkpoint_peek(checkpoint).size
    return Receipt(index, inclusion_prove(reader, index, size), checkpoint, extra)


def receipt_format(receipt: Receipt) -> bytes:
    """The receipt as a file."""
    lines = [RECEIPT_HEADER]
    if receipt.extra is not None:
        lines.append(f"extra {base64_format(receipt.extra)}")
    lines.append(f"index {receipt.index}")
    lines += [base64_format(value) for value in receipt.proof]
    return "".join(f"{line}\n" for line in [*lines, ""]).encode() + receipt.checkpoint


def receipt_parse(data: bytes) -> Receipt:
    """The receipt in a file. Nothing is verified before `receipt_verify`."""
    if len(data) > MAX_RECEIPT_BYTES:
        raise BoundsError(f"a receipt has at most {MAX_RECEIPT_BYTES} bytes, not {len(data)}")
    head, blank, checkpoint = data.partition(b"\n\n")
    if not blank:
        raise FormatError("a receipt has a blank line between its proof and its checkpoint")
    lines = utf8_parse(head, "a receipt").split("\n", MAX_PROOF_HASHES + 3)
    if lines.pop(0) != RECEIPT_HEADER:
        raise FormatError(f"a receipt starts with the line {RECEIPT_HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = base64_parse(lines.pop(0).removeprefix("extra "), "a receipt's extra data")
    if not lines or not lines[0].startswith("index "):
        raise FormatError(f"a receipt's index line is missing, found {text_shown(''.join(lines[:1]))}")
    index = decimal_parse(lines.pop(0).removeprefix("index "), "a receipt's index")
    proof = tuple(base64_parse(line, "a receipt's hash", HASH_BYTES) for line in lines)
    return Receipt(index, proof, checkpoint, extra)


def receipt_verify(
    receipt: Receipt,
    entry: bytes,
    key: VerifierKey,
    *,
    witnesses: Sequence[VerifierKey] = (),
    quorum: int = 0,
) -> OpenedCheckpoint:
    """Check that `entry` is in the log of `key`, seen by at least `quorum` of `witnesses`.

    For an event, `entry` is its commitment (`event_commit`). Raises SignatureError if the checkpoint is not
    the log's, BoundsError or ProofError if the entry is not at the receipt's index of that checkpoint.
    """
    opened = checkpoint_open(receipt.checkpoint, key, witnesses=witnesses, quorum=quorum)
    state = opened.checkpoint
    inclusion_verify(leaf_hash(entry), receipt.index, state.size, receipt.proof, state.root)
    return opened
