"""Signed notes (C2SP signed-note): text that ends in a newline, a blank line, signature lines.

A signature line is `— <key name> base64(key id || blob)`. The blob's form depends on the key's signature
type: an Ed25519 signature over the text (0x01), or a timestamped witness cosignature (0x04, C2SP
tlog-cosignature).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kumoi.ledger.encoding import (
    MAX_INTEGER,
    base64_format,
    base64_parse,
    text_shown,
    utf8_format,
    utf8_parse,
)
from kumoi.ledger.errors import BoundsError, FormatError, SignatureError

MAX_NOTE_BYTES: Final = 512 << 10
MAX_SIGNATURES: Final = 64
MAX_NAME_BYTES: Final = 255
KEY_ID_BYTES: Final = 4
PUBLIC_KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
ED25519_BYTES: Final = 64
TIME_BYTES: Final = 8

_DASH = "\u2014 "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class SignatureType(IntEnum):
    """The signature types this room knows, by their identifier byte."""

    ED25519 = 0x01
    COSIGNATURE_V1 = 0x04


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, the name it signs under, and what kind of signature it makes."""

    name: str
    public_key: bytes
    signature_type: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        name_check(self.name)
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise FormatError(
                f"the key of {text_shown(self.name)} must have {PUBLIC_KEY_BYTES} bytes,"
                f" not {len(self.public_key)}"
            )

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || type || public key)[:4]."""
        typed = bytes([self.signature_type]) + self.public_key
        return sha256(self.name.encode() + b"\n" + typed).digest()[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True, eq=False)
class Signer:
    """A private key: the 32-byte seed of Ed25519 (RFC 8032), never shown."""

    name: str
    seed: bytes = field(repr=False)
    signature_type: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        name_check(self.name)
        if len(self.seed) != SEED_BYTES:
            raise FormatError(f"the seed of {text_shown(self.name)} must have {SEED_BYTES} bytes")

    @property
    def key(self) -> VerifierKey:
        """The key that verifies what this signer signs."""
        public_key = Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()
        return VerifierKey(self.name, public_key, self.signature_type)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line. `blob` is what follows the key id: opaque until its key is known."""

    name: str
    key_id: bytes
    blob: bytes

    def __post_init__(self) -> None:
        name_check(self.name)
        if len(self.key_id) != KEY_ID_BYTES or not self.blob:
            raise FormatError(f"the signature of {text_shown(self.name)} is too short")


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signatures that come with it, none of them verified."""

    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that a trusted key made. `time_s` is its POSIX time, None for types without one."""

    key: VerifierKey
    time_s: int | None


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A text that at least one trusted key signed."""

    text: str
    verified: tuple[Verified, ...]
    unverified: tuple[Signature, ...]


def name_check(name: str) -> None:
    """Raise FormatError unless `name` may name a key: no spaces, no plus, 1..255 bytes."""
    size = len(utf8_format(name, "a key's name"))
    if not 1 <= size <= MAX_NAME_BYTES or "+" in name or _CONTROL.search(name) or name.split() != [name]:
        raise FormatError(
            f"a key's name has 1 to {MAX_NAME_BYTES} bytes, no spaces, control characters or plus signs,"
            f" not {text_shown(name)}"
        )


def vkey_format(key: VerifierKey) -> str:
    """`name+hex(key id)+base64(type || public key)`."""
    typed = bytes([key.signature_type]) + key.public_key
    return f"{key.name}+{key.key_id.hex()}+{base64_format(typed)}"


def vkey_parse(text: str) -> VerifierKey:
    """The key in `text`, the inverse of `vkey_format`; a key id that does not fit the key is refused."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise FormatError(f"{text_shown(text)} is not a verifier key: expected name+key id+base64")
    name, key_id, encoded = parts
    typed = base64_parse(encoded, f"the key of {text_shown(name)}")
    if typed[:1] not in {bytes([known]) for known in SignatureType}:
        raise FormatError(
            f"the key of {text_shown(name)} is of type 0x{typed[:1].hex()}; supported are Ed25519 (0x01) and"
            " timestamped Ed25519 cosignatures (0x04)"
        )
    key = VerifierKey(name, typed[1:], SignatureType(typed[0]))
    if key.key_id.hex() != key_id:
        raise FormatError(
            f"the verifier key of {text_shown(name)} says key id {text_shown(key_id)} but its key has"
            f" {key.key_id.hex()}: copy it again from its owner"
        )
    return key


def note_format(note: Note) -> bytes:
    """The note as it is published."""
    if not note.signatures:
        raise FormatError("a note without signatures cannot be published")
    if not note.text.endswith("\n"):
        raise FormatError("a note's text must end in a newline")
    data = utf8_format(note.text + "\n" + signatures_format(note.signatures), "a note")
    note_parse(data)
    return data


def note_parse(data: bytes) -> Note:
    """Split a note. Nothing is verified: trust the text only after `note_open`."""
    if len(data) > MAX_NOTE_BYTES:
        raise BoundsError(f"a note has at most {MAX_NOTE_BYTES} bytes, not {len(data)}")
    content = utf8_parse(data, "a note")
    if _CONTROL.search(content):
        raise FormatError("a note holds no control characters other than newlines")
    end = content.rfind("\n\n")
    if end < 0:
        raise FormatError("a note has a blank line between its text and its signatures")
    return Note(content[: end + 1], _signatures_split(content[end + 2 :]))


def signatures_format(signatures: Iterable[Signature]) -> str:
    """Signature lines, each ending in a newline."""
    return "".join(f"{_DASH}{s.name} {base64_format(s.key_id + s.blob)}\n" for s in signatures)


def signatures_parse(data: bytes) -> tuple[Signature, ...]:
    """Signature lines alone, as a witness answers them (C2SP tlog-witness)."""
    if len(data) > MAX_NOTE_BYTES:
        raise BoundsError(f"signature lines have at most {MAX_NOTE_BYTES} bytes, not {len(data)}")
    return _signatures_split(utf8_parse(data, "signature lines"))


def _signatures_split(content: str) -> tuple[Signature, ...]:
    lines = content.split("\n", MAX_SIGNATURES + 1)
    if len(lines) > MAX_SIGNATURES + 1:
        raise BoundsError(f"a note has at most {MAX_SIGNATURES} signatures")
    if len(lines) < 2 or lines.pop():
        raise FormatError("a note ends in one or more signature lines, each with a newline")
    return tuple(_signature_parse(line) for line in lines)


def _signature_parse(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH):
        raise FormatError(f"a signature line starts with an em dash and a space, not {text_shown(line)}")
    raw = base64_parse(encoded, f"the signature of {text_shown(name)}")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def signature_make(text: str, signer: Signer, time_s: int | None = None) -> Signature:
    """Sign a note's text. `time_s` (POSIX seconds) belongs to cosignatures, and to them only."""
    body = utf8_format(text, "the text of a note")
    if (time_s is not None) != (signer.signature_type is SignatureType.COSIGNATURE_V1):
        raise SignatureError(
            f"signing as {text_shown(signer.name)}: a cosignature, and only it, takes a time"
        )
    if time_s is not None and not 0 <= time_s <= MAX_INTEGER:
        raise BoundsError(f"a cosignature's time is from 0 to {MAX_INTEGER} seconds, not {time_s}")
    message = body if time_s is None else _cosignature_message(time_s, body)
    prefix = b"" if time_s is None else time_s.to_bytes(TIME_BYTES, "big")
    blob = prefix + Ed25519PrivateKey.from_private_bytes(signer.seed).sign(message)
    return Signature(signer.name, signer.key.key_id, blob)


def signature_verify(text: str, signature: Signature, key: VerifierKey) -> Verified:
    """Check that `key` made `signature` over a note's text; raises SignatureError."""
    message, raw, time_s = utf8_format(text, "the text of a note"), signature.blob, None
    if key.signature_type is SignatureType.COSIGNATURE_V1:
        time_s, raw = int.from_bytes(raw[:TIME_BYTES], "big"), raw[TIME_BYTES:]
        message = _cosignature_message(time_s, message)
    try:
        if (signature.name, signature.key_id) != (key.name, key.key_id) or (time_s or 0) > MAX_INTEGER:
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(raw, message)
    except InvalidSignature as error:
        raise SignatureError(
            f"the signature under the name {text_shown(signature.name)} does not verify with key"
            f" {key.key_id.hex()}: text or signature was altered, or this is another key's"
        ) from error
    return Verified(key, time_s)


def _cosignature_message(time_s: int, body: bytes) -> bytes:
    return b"cosignature/v1\ntime %d\n%b" % (time_s, body)


def note_sign(text: str, signers: Sequence[Signer]) -> bytes:
    """A note over `text` (which ends in a newline) with the signatures of `signers`, in their order."""
    return note_format(Note(text, tuple(signature_make(text, signer) for signer in signers)))


def note_extend(data: bytes, signatures: Iterable[Signature]) -> bytes:
    """The note with `signatures` added; one by the same key is replaced. Nothing is verified."""
    note = note_parse(data)
    kept = {(s.name, s.key_id): s for s in note.signatures}
    kept.update({(s.name, s.key_id): s for s in signatures})
    return note_format(Note(note.text, tuple(kept.values())))


def note_open(data: bytes, keys: Iterable[VerifierKey]) -> OpenedNote:
    """The text of a note that at least one of `keys` signed.

    Signatures of other keys are ignored, as the specification demands; a wrong signature under a trusted
    key's name and id refuses the note. Raises FormatError, BoundsError or SignatureError.
    """
    note = note_parse(data)
    trusted: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if trusted.setdefault((key.name, key.key_id), key) != key:
            raise SignatureError(f"two trusted keys share the name {text_shown(key.name)} and one key id")
    verified, unverified = [], []
    for signature in note.signatures:
        known = trusted.get((signature.name, signature.key_id))
        if known is None:
            unverified.append(signature)
        else:
            verified.append(signature_verify(note.text, signature, known))
    if not verified:
        names = ", ".join(text_shown(s.name) for s in note.signatures[:4])
        raise SignatureError(
            f"none of the note's signatures ({names}) is by a trusted key;"
            " is the verifier key the current one?"
        )
    return OpenedNote(note.text, tuple(verified), tuple(unverified))
