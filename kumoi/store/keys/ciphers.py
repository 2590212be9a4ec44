"""AES-256-GCM (NIST SP 800-38D) with a random nonce of 96 bits before the ciphertext.

Nonces are random: a key seals 2**32 things at most (section 8.3). A data key seals one, an organization key
wraps one data key for each thing sealed, and is rotated long before.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kumoi.store.keys.errors import SealBroken
from kumoi.store.keys.names import Sealed, SealedName

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES
FORMAT_BYTE = b"\x01"
HEAD_BYTES = len(FORMAT_BYTE) + WRAPPED_BYTES
"""Before the content: what changes when its data key is wrapped anew."""
_CONTENT_AT = HEAD_BYTES + NONCE_BYTES


def cipher_of(key: bytes) -> AESGCM:
    """The cipher of a key. Raises SealBroken where `key` is no key of 256 bits."""
    if len(key) != KEY_BYTES:
        raise SealBroken(f"a key has {KEY_BYTES} bytes, this one has {len(key)}")
    return AESGCM(key)


def encrypt(cipher: AESGCM, value: bytes, additional: bytes) -> bytes:
    """Nonce, ciphertext and tag."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, value, additional)


def decrypt(cipher: AESGCM, sealed: bytes, additional: bytes) -> bytes:
    """The value. Raises SealBroken."""
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], additional)
    except (InvalidTag, ValueError):
        raise SealBroken("the tag does not fit: a changed or moved row, or another key") from None


def seal(key: AESGCM, key_version: int, name: SealedName, value: bytes) -> Sealed:
    """`value` under a fresh data key, and that under `key`: format byte, wrapped data key, content."""
    random = os.urandom(KEY_BYTES + 2 * NONCE_BYTES)
    data_key = random[:KEY_BYTES]
    outer, inner = random[KEY_BYTES:-NONCE_BYTES], random[-NONCE_BYTES:]
    wrapped = key.encrypt(outer, data_key, name.data_key(key_version))
    content = AESGCM(data_key).encrypt(inner, value, name.content())
    return Sealed(b"".join((FORMAT_BYTE, outer, wrapped, inner, content)), key_version)


def unseal(key: AESGCM, name: SealedName, sealed: Sealed) -> bytes:
    """What `seal` sealed. Raises SealBroken."""
    blob = sealed.blob
    if blob[:1] != FORMAT_BYTE or len(blob) < _CONTENT_AT + TAG_BYTES:
        raise SealBroken(f"what is sealed as {name.kind} has no known format")
    try:
        data_key = _data_key_open(key, name, sealed)
        return AESGCM(data_key).decrypt(blob[HEAD_BYTES:_CONTENT_AT], blob[_CONTENT_AT:], name.content())
    except InvalidTag:
        owner = "/".join((name.organization_id, *name.owner))
        raise SealBroken(
            f"the {name.kind} of {owner} does not open with key version {sealed.key_version}: "
            "a changed or moved row, or another key"
        ) from None


def rewrap(old: AESGCM, new: AESGCM, new_version: int, name: SealedName, sealed: Sealed) -> Sealed:
    """The same content, its data key under another organization key. Raises SealBroken."""
    try:
        data_key = _data_key_open(old, name, sealed)
    except InvalidTag:
        raise SealBroken(f"the data key of what is sealed as {name.kind} does not open") from None
    wrapped = encrypt(new, data_key, name.data_key(new_version))
    return Sealed(FORMAT_BYTE + wrapped + sealed.blob[HEAD_BYTES:], new_version)


def _data_key_open(key: AESGCM, name: SealedName, sealed: Sealed) -> bytes:
    wrapped = sealed.blob[len(FORMAT_BYTE) : HEAD_BYTES]
    additional = name.data_key(sealed.key_version)
    return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], additional)
