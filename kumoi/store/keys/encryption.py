"""Key-encryption keys: what wraps the organizations' keys."""

from collections.abc import Callable
from typing import Protocol

from kumoi.store.keys.errors import KeyUnavailable
from kumoi.store.keys.platform import PlatformKeys


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

    def __init__(
        self, platform: PlatformKeys, token_find: Callable[[str], KeyEncryption] | None = None
    ) -> None:
        self.platform = platform
        self._token_find = token_find

    def find(self, name: str) -> KeyEncryption:
        """The key of this name. Raises KeyUnavailable."""
        if name.startswith(PlatformKeys.PREFIX):
            return self.platform.find(name)
        if self._token_find is None:
            raise KeyUnavailable(f"the key {name} is in a token, and this plane has none; set tokens_file")
        return self._token_find(name)
