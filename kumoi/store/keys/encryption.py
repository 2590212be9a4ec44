"""Key-encryption keys: what wraps the organizations' keys."""

from typing import Protocol

from kumoi.store.keys.errors import TokenFailure
from kumoi.store.keys.platform import PlatformKeys
from kumoi.store.keys.tokens import Tokens


class KeyEncryption(Protocol):
    """One key that wraps keys and never leaves where it is. Calls block, and may be made from any thread."""

    @property
    def name(self) -> str:
        """What rows call it; the same for as long as it is the same key."""

    def wrap(self, key: bytes, additional: bytes) -> bytes:
        """`key`, encrypted and authenticated together with `additional`. Raises KeyUnavailable."""

    def unwrap(self, wrapped: bytes, additional: bytes) -> bytes:
        """What `wrap` wrapped. Raises SealBroken, or KeyUnavailable where nobody answers."""


class KeyEncryptions:
    """Every key-encryption key of a plane by its name: the platform's own, and those in tenants' tokens."""

    def __init__(self, platform: PlatformKeys, tokens: Tokens | None = None) -> None:
        self.platform = platform
        self.tokens = tokens

    def find(self, name: str) -> KeyEncryption:
        """The key of this name. Raises KeyUnavailable."""
        if name.startswith(PlatformKeys.PREFIX):
            return self.platform.find(name)
        if self.tokens is None:
            raise TokenFailure(f"the key {name} is in a token, and this plane has none; set tokens_file")
        return self.tokens.find(name)
