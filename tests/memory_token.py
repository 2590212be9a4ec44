"""A token in memory, for tests that are about something else."""

import os
from pathlib import Path

from kumoi.store.keys.ciphers import cipher_of, decrypt, encrypt
from kumoi.store.keys.tokens import TokenRule, Tokens

NAME = "memory"


class MemorySession:
    """Keys of any label, all the same one."""

    def __init__(self, key: bytes) -> None:
        self._cipher = cipher_of(key)

    def check(self, label: str) -> None:
        """Every key is as it should be."""

    def wrap(self, label: str, key: bytes, additional: bytes) -> bytes:
        return encrypt(self._cipher, key, additional)

    def unwrap(self, label: str, wrapped: bytes, additional: bytes) -> bytes:
        return decrypt(self._cipher, wrapped, additional)

    def close(self) -> None:
        """Nothing is open."""


def memory_tokens(directory: Path) -> Tokens:
    """One token, which everybody may use; its PIN lies in `directory`."""
    pin_file = directory / "memory.pin"
    pin_file.write_text("0")
    key = os.urandom(32)
    rule = TokenRule(NAME, Path("none"), "memory", pin_file, ("*",))
    return Tokens([rule], lambda _rule, _pin: MemorySession(key))
