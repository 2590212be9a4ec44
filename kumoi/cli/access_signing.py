"""Signing what approves operator access: with a private key in a file, or with a signature made elsewhere."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from kumoi.cli.command import option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.ledger.errors import SignatureError
from kumoi.ledger.statements import Statement, statement_format, statement_verify
from kumoi.model.access_requests import AccessKey

PEM_BYTES_MAX = 16_384
C = TypeVar("C", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Signing:
    """How to sign: a private key's file, or a file with the 64 bytes of a signature over the statement."""

    private_key: Path | None
    signature: Path | None


def signing_options(command: C) -> C:
    """The flags that say how to sign."""
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    command = option("--sign-key", type=path, help="PEM file of the Ed25519 private key.")(command)
    return option("--signature", type=path, help="File with a signature that was made elsewhere.")(command)


def signed(statement: Statement, signing: Signing, keys: list[AccessKey]) -> tuple[str, str]:
    """Id of the key that signed, and the signature in base64; it is verified before it is sent.

    Fails where neither flag is given, with the statement to sign, and where no active key fits.
    """
    raw = statement_format(statement)
    if signing.private_key is not None:
        signature = private_key_read(signing.private_key).sign(raw)
    elif signing.signature is not None:
        signature = _limited(signing.signature)
    else:
        raise fail(
            Exit.USAGE,
            _("nothing signs this; use --sign-key or --signature"),
            _("the statement to sign is printed by --print-statement"),
        )
    for key in keys:
        if key.state == "active" and _verifies(raw, signature, base64.b64decode(key.public_key)):
            return key.id, base64.b64encode(signature).decode()
    raise fail(
        Exit.USAGE,
        _("the signature is of none of the organization's active keys"),
        _("kumoi access key list shows them"),
    )


def private_key_read(path: Path) -> Ed25519PrivateKey:
    """The Ed25519 key in a PEM file without a password."""
    try:
        key = load_pem_private_key(_limited(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise click.BadParameter(
            _("{path} is no PEM file of an Ed25519 private key without a password").format(path=path)
        )
    return key


def public_key_read(path: Path) -> bytes:
    """The 32 bytes of the Ed25519 public key in a PEM file; that of a private key's file too."""
    raw = _limited(path)
    try:
        key = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        key = private_key_read(path).public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise click.BadParameter(_("{path} is no PEM file of an Ed25519 public key").format(path=path))
    return key.public_bytes_raw()


def key_pair_write(path: Path) -> Path:
    """Make a key: the private half in `path` (mode 600, never overwritten), the public half beside it."""
    key = Ed25519PrivateKey.generate()
    public = path.with_suffix(".pub.pem")
    private_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public_pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # Both names are taken before anything is written, so that neither half is ever left alone.
    public.touch(0o644, exist_ok=False)
    path.touch(0o600, exist_ok=False)
    path.write_bytes(private_pem)
    public.write_bytes(public_pem)
    return public


def _verifies(raw: bytes, signature: bytes, public_key: bytes) -> bool:
    try:
        statement_verify(raw, signature, public_key)
    except SignatureError:
        return False
    return True


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(PEM_BYTES_MAX)
