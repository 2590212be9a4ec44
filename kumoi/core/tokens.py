"""The form of API tokens: `kumoi_`, 43 characters of secret, 6 of checksum.

The prefix lets scanners find leaked tokens; the checksum lets them, and the plane, tell a token from noise
without a look-up.
"""

import base64
import hashlib
import re

PREFIX = "kumoi_"
SECRET_BYTES = 32
_FORM = re.compile(r"kumoi_([A-Za-z0-9_-]{43})([0-9a-f]{6})")


def token_format(secret: bytes) -> str:
    """The token for 32 random bytes."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a token is made of {SECRET_BYTES} random bytes, got {len(secret)}")
    body = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    return f"{PREFIX}{body}{_checksum(body)}"


def token_hash(token: str) -> bytes | None:
    """SHA-256 of a well-formed token, which is what the store keeps; None if it is not one.

    A plain hash suffices: the secret has 256 random bits, so there is nothing to guess.
    """
    match = _FORM.fullmatch(token)
    if match is None or _checksum(match[1]) != match[2]:
        return None
    return hashlib.sha256(token.encode()).digest()


def _checksum(body: str) -> str:
    return hashlib.sha256(f"{PREFIX}{body}".encode()).hexdigest()[:6]
