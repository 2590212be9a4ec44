"""Secrets at rest: envelope encryption with AES-256-GCM.

Every secret has a data key of its own; the key-encryption key (a file, mode 600) wraps the data keys.
Organization, project, name and key version are authenticated with each, so that no row can be moved to
another tenant or rolled back to another key.
"""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12


class SecretUnreadable(Exception):
    """The secret does not decrypt: another key, or a changed row."""


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """What the store keeps of a secret."""

    wrapped_key: bytes
    ciphertext: bytes
    key_version: int


@dataclass(frozen=True, slots=True)
class SecretName:
    """Whose secret it is; authenticated with its ciphertext."""

    organization_id: str
    project_id: str
    name: str

    def additional(self, key_version: int) -> bytes:
        """The additional authenticated data."""
        parts = ("kumoi-secret/v1", self.organization_id, self.project_id, self.name, str(key_version))
        return "\n".join(parts).encode()


class Vault:
    """Seals and opens secrets under one key-encryption key."""

    key_version = 1

    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)

    def seal(self, owner: SecretName, value: bytes) -> SealedSecret:
        """Encrypt `value` under a fresh data key."""
        additional = owner.additional(self.key_version)
        data_key = AESGCM.generate_key(KEY_BYTES * 8)
        return SealedSecret(
            _encrypt(self._key, data_key, additional),
            _encrypt(AESGCM(data_key), value, additional),
            self.key_version,
        )

    def open(self, owner: SecretName, sealed: SealedSecret) -> bytes:
        """Decrypt; raises SecretUnreadable."""
        additional = owner.additional(sealed.key_version)
        try:
            data_key = _decrypt(self._key, sealed.wrapped_key, additional)
            return _decrypt(AESGCM(data_key), sealed.ciphertext, additional)
        except (InvalidTag, ValueError):
            raise SecretUnreadable(
                f"the secret {owner.name} of {owner.project_id} does not decrypt with key version "
                f"{sealed.key_version}; restore the key file that it was written with"
            ) from None


def key_file_ensure(path: Path) -> bytes:
    """The 32-byte key in `path` (mode 600), made at first use: after a crash all of it is there, or nothing.

    Raises ValueError for a file of another size.
    """
    if not path.exists():
        _key_file_make(path)
    return key_file_read(path)


def key_file_read(path: Path) -> bytes:
    """The 32-byte key in `path`. Raises ValueError where it is lost or of another size."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"{path} is lost, and no other key will do; restore it from the backup of this region"
        ) from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} holds {len(key)} bytes, a key has {KEY_BYTES}; restore it")
    return key


def _key_file_make(path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
        file.write(os.urandom(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
        # Unlike a rename, a link never replaces the key that another process made meanwhile.
        with suppress(FileExistsError):
            os.link(file.name, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _encrypt(cipher: AESGCM, value: bytes, additional: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, value, additional)


def _decrypt(cipher: AESGCM, sealed: bytes, additional: bytes) -> bytes:
    return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], additional)
