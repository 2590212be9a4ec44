"""Checkpoints (C2SP tlog-checkpoint) and their cosignatures (C2SP tlog-cosignature).

A checkpoint is a signed note whose text is origin, tree size and root hash, a line each. The log signs it
under its origin's name; witnesses add cosignatures, which say when they saw it as the newest of its log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kumoi.ledger.encoding import base64_format, base64_parse, decimal_parse, text_shown, utf8_format
from kumoi.ledger.errors import FormatError, SignatureError
from kumoi.ledger.note import (
    Signature,
    SignatureType,
    Signer,
    VerifierKey,
    note_open,
    note_parse,
    note_sign,
    signature_make,
    signature_verify,
)
from kumoi.ledger.tree import EMPTY_ROOT, HASH_BYTES, size_check

CHECKPOINT_PATH: Final = "checkpoint"
MAX_ORIGIN_BYTES: Final = 255


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: which log, how many entries, which root."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        origin_bytes = utf8_format(self.origin, "a log's origin")
        if not 1 <= len(origin_bytes) <= MAX_ORIGIN_BYTES or min(origin_bytes) < 0x20:
            raise FormatError(
                f"a log's origin is one line of 1 to {MAX_ORIGIN_BYTES} bytes, not {text_shown(self.origin)}"
            )
        size_check(self.size)
        if len(self.root) != HASH_BYTES:
            raise FormatError(f"a root hash has {HASH_BYTES} bytes, not {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise FormatError("a log without entries has the root SHA-256 of nothing")


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's verified statement: at `time_s` (POSIX seconds) this was the newest state it had seen."""

    key: VerifierKey
    time_s: int


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A checkpoint that its log signed, and the trusted witnesses that cosigned it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def checkpoint_format(checkpoint: Checkpoint) -> str:
    """The text of the note: origin, size and root in base64, each with a newline."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64_format(checkpoint.root)}\n"


def checkpoint_parse(text: str) -> Checkpoint:
    """The checkpoint in a note's text. Extension lines are refused: no monitor could audit them."""
    lines = text.split("\n", 4)
    if len(lines) != 4 or lines[3]:
        raise FormatError(
            f"a checkpoint is three lines (origin, size, root) without extensions, not {text_shown(text)}"
        )
    return Checkpoint(
        lines[0],
        decimal_parse(lines[1], "a checkpoint's size"),
        base64_parse(lines[2], "a checkpoint's root", HASH_BYTES),
    )


def checkpoint_sign(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The signed checkpoint. The caller must have made sure that it never signed another history."""
    _key_check(signer.name, signer.signature_type, SignatureType.ED25519)
    if signer.name != checkpoint.origin:
        raise SignatureError(
            f"signing a checkpoint of {text_shown(checkpoint.origin)}: the key's name must be the log's"
            f" origin, not {text_shown(signer.name)}"
        )
    return note_sign(checkpoint_format(checkpoint), [signer])


def checkpoint_peek(data: bytes) -> Checkpoint:
    """The checkpoint in a signed note, unverified: to find out which log's key to open it with."""
    return checkpoint_parse(note_parse(data).text)


def checkpoint_open(
    data: bytes,
    key: VerifierKey,
    *,
    witnesses: Sequence[VerifierKey] = (),
    quorum: int = 0,
    origin: str | None = None,
) -> OpenedCheckpoint:
    """Verify a signed checkpoint: `key`'s signature and at least `quorum` of `witnesses`.

    Witnesses count once per public key, whatever their names. `origin` is what the first line must say;
    by default the key's name. Raises FormatError, BoundsError or SignatureError.
    """
    _key_check(key.name, key.signature_type, SignatureType.ED25519)
    for witness in witnesses:
        _key_check(witness.name, witness.signature_type, SignatureType.COSIGNATURE_V1)
    opened = note_open(data, [key, *witnesses])
    if all(verified.key != key for verified in opened.verified):
        raise SignatureError(f"the checkpoint is not signed by its log's key {text_shown(key.name)}")
    checkpoint = checkpoint_parse(opened.text)
    if checkpoint.origin != (key.name if origin is None else origin):
        raise SignatureError(
            f"the checkpoint is of the log {text_shown(checkpoint.origin)}, not of"
            f" {text_shown(key.name if origin is None else origin)}"
        )
    cosignatures = tuple(Cosignature(v.key, v.time_s) for v in opened.verified if v.time_s is not None)
    seen = len({cosignature.key.public_key for cosignature in cosignatures})
    if seen < quorum:
        raise SignatureError(
            f"the checkpoint of {text_shown(checkpoint.origin)} at size {checkpoint.size} carries"
            f" {seen} of the {quorum} cosignatures asked for; fetch a newer checkpoint or ask the witnesses"
        )
    return OpenedCheckpoint(checkpoint, cosignatures)


def cosignature_sign(checkpoint: Checkpoint, signer: Signer, time_s: int) -> Signature:
    """A witness's cosignature (`cosignature/v1`). The caller must have checked consistency and stored it."""
    _key_check(signer.name, signer.signature_type, SignatureType.COSIGNATURE_V1)
    return signature_make(checkpoint_format(checkpoint), signer, time_s)


def cosignature_verify(checkpoint: Checkpoint, signature: Signature, key: VerifierKey) -> Cosignature:
    """Check a witness's cosignature over `checkpoint`; raises SignatureError."""
    _key_check(key.name, key.signature_type, SignatureType.COSIGNATURE_V1)
    verified = signature_verify(checkpoint_format(checkpoint), signature, key)
    assert verified.time_s is not None
    return Cosignature(key, verified.time_s)


def _key_check(name: str, found: SignatureType, wanted: SignatureType) -> None:
    if found is not wanted:
        raise SignatureError(
            f"the key {text_shown(name)} is of type 0x{found:02x} where one of type 0x{wanted:02x} is needed:"
            " logs sign with 0x01, witnesses with 0x04"
        )
