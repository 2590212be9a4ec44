"""Tokens of SoftHSM for tests: one store for the whole run, as the module reads its settings once.

What changes a token from outside (another program that destroys its key) runs in a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from kumoi.store.keys.tokens import TokenRule

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"
SO_PIN = "5678"
TIMEOUT_S = 60
needs_softhsm = pytest.mark.skipif(not MODULE.exists(), reason="softhsm2 is not installed")

_KEY_MAKE = """
template = {A.SENSITIVE: not leaves, A.EXTRACTABLE: leaves}
session.generate_key(KeyType.AES, 256, store=True, label=label, template=template)
"""
_KEYS_CLEAR = "[key.destroy() for key in session.get_objects({A.CLASS: ObjectClass.SECRET_KEY})]"
_KEY_DESTROY = "session.get_key(object_class=ObjectClass.SECRET_KEY, label=label).destroy()"
_KEY_HIDE = "session.get_key(object_class=ObjectClass.SECRET_KEY, label=label)[A.LABEL] = label + '-away'"
_KEY_SHOW = "session.get_key(object_class=ObjectClass.SECRET_KEY, label=label + '-away')[A.LABEL] = label"
_PROGRAM = """
import sys
import pkcs11
from pkcs11 import Attribute as A, KeyType, ObjectClass
module, token, pin, label, other = sys.argv[1:6]
leaves = other == "leaves"
with pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin) as session:
    {step}
"""


@dataclass(slots=True)
class SoftToken:
    """A token with its PIN in a file."""

    directory: Path
    label: str
    pin: str = PIN

    @property
    def pin_file(self) -> Path:
        return self.directory / f"{self.label}.pin"

    def rule(self, name: str = "hsm", organizations: Sequence[str] = ("*",)) -> TokenRule:
        return TokenRule(name, MODULE, self.label, self.pin_file, tuple(organizations))

    def key_make(self, label: str = "key", *, leaves: bool = False) -> None:
        self._run(_KEY_MAKE, label, "leaves" if leaves else "")

    def clear(self) -> None:
        """As a new token: no key, and the right PIN in the file."""
        self.pin_file.write_text(self.pin + "\n")
        self.pin_file.chmod(0o600)
        self._run(_KEYS_CLEAR, "")

    def key_destroy(self, label: str = "key") -> None:
        self._run(_KEY_DESTROY, label)

    def key_hide(self, label: str = "key") -> None:
        """The key is not found under its label any more, until `key_show`."""
        self._run(_KEY_HIDE, label)

    def key_show(self, label: str = "key") -> None:
        self._run(_KEY_SHOW, label)

    def take_away(self) -> None:
        """The token is not there at all, until `put_back`."""
        (self.directory / "tokens").rename(self.directory / "elsewhere")
        (self.directory / "tokens").mkdir()

    def put_back(self) -> None:
        (self.directory / "tokens").rmdir()
        (self.directory / "elsewhere").rename(self.directory / "tokens")

    def _run(self, step: str, label: str, other: str = "") -> None:
        program = _PROGRAM.format(step=step.strip().replace("\n", "\n    "))
        command = [sys.executable, "-c", program, str(MODULE), self.label, self.pin, label, other]
        subprocess.run(command, check=True, timeout=TIMEOUT_S)


class SoftTokens:
    """A store of one token, which each test has for itself, made before the module is loaded."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "tokens").mkdir()
        config = directory / "softhsm2.conf"
        config.write_text(
            f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        os.environ["SOFTHSM2_CONF"] = str(config)
        self._token = self._token_make("acme")

    def take(self) -> SoftToken:
        """The token with a key `key` that nobody used."""
        self._token.clear()
        self._token.key_make()
        return self._token

    def _token_make(self, label: str) -> SoftToken:
        command = ["softhsm2-util", "--init-token", "--free", "--label", label]
        pins = ["--pin", PIN, "--so-pin", SO_PIN]
        subprocess.run([*command, *pins], check=True, capture_output=True, timeout=TIMEOUT_S)
        token = SoftToken(self.directory, label)
        token.pin_file.write_text(PIN + "\n")
        token.pin_file.chmod(0o600)
        return token
