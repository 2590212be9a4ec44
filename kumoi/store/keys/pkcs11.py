"""Keys in a PKCS#11 token (OASIS PKCS #11 v2.40 and later): AES-256-GCM inside it, with CKM_AES_GCM."""

import os
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    MultipleObjectsReturned,
    NoSuchKey,
    NoSuchToken,
    PinIncorrect,
    PinLocked,
    PKCS11Error,
)

from kumoi.store.keys.ciphers import KEY_BYTES, NONCE_BYTES
from kumoi.store.keys.errors import KeyUnavailable
from kumoi.store.keys.tokens import PinRefused, TokenRule

TAG_BITS = 128


def session_open(rule: TokenRule, pin: str) -> "Pkcs11Session":
    """Load the module, find the token and log in. Raises KeyUnavailable or PinRefused."""
    try:
        token = pkcs11.lib(str(rule.module)).get_token(token_label=rule.label)
        return Pkcs11Session(rule, token.open(user_pin=pin))
    except (PinIncorrect, PinLocked) as error:
        raise PinRefused(f"the token {rule.name} refused the PIN ({type(error).__name__})") from error
    except NoSuchToken as error:
        raise KeyUnavailable(f"there is no token {rule.label} ({rule.name})") from error
    except (PKCS11Error, RuntimeError, OSError) as error:
        raise KeyUnavailable(f"the token {rule.name} cannot be opened: {type(error).__name__}") from error


class Pkcs11Session:
    """A logged-in session, used by one thread."""

    def __init__(self, rule: TokenRule, session: Any) -> None:
        self._rule = rule
        self._session = session
        self._keys: dict[str, Any] = {}

    def check(self, label: str) -> None:
        """Refuse a key that is missing, no AES key of 256 bits, or that could leave the token."""
        try:
            key = self._key(label)
            is_aes_256 = key.key_type == KeyType.AES and key[Attribute.VALUE_LEN] == KEY_BYTES
            stays = key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
        except PKCS11Error as error:
            raise self._failed(label, error) from error
        if not is_aes_256:
            raise KeyUnavailable(f"the key {label} in {self._rule.name} is no AES key of 256 bits")
        if not stays:
            raise KeyUnavailable(
                f"the key {label} in {self._rule.name} could leave the token; make one that is sensitive and "
                "not extractable"
            )

    def wrap(self, label: str, key: bytes, additional: bytes) -> bytes:
        """Nonce, ciphertext and tag, made in the token."""
        nonce = os.urandom(NONCE_BYTES)
        parameters = GCMParams(nonce, additional, TAG_BITS)
        try:
            kek = self._key(label)
            sealed = kek.encrypt(key, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
        except PKCS11Error as error:
            raise self._failed(label, error) from error
        return nonce + bytes(sealed)

    def unwrap(self, label: str, wrapped: bytes, additional: bytes) -> bytes:
        """What `wrap` wrapped."""
        parameters = GCMParams(wrapped[:NONCE_BYTES], additional, TAG_BITS)
        try:
            kek = self._key(label)
            opened = kek.decrypt(
                wrapped[NONCE_BYTES:], mechanism=Mechanism.AES_GCM, mechanism_param=parameters
            )
        except PKCS11Error as error:
            raise self._failed(label, error) from error
        return bytes(opened)

    def close(self) -> None:
        """Log out. What a broken token answers to that does not matter."""
        self._keys.clear()
        try:
            self._session.close()
        except PKCS11Error:
            return

    def _key(self, label: str) -> Any:
        if label not in self._keys:
            self._keys[label] = self._session.get_key(object_class=ObjectClass.SECRET_KEY, label=label)
        return self._keys[label]

    def _failed(self, label: str, error: PKCS11Error) -> KeyUnavailable:
        name = self._rule.name
        match error:
            case NoSuchKey():
                return KeyUnavailable(f"the token {name} has no key {label}")
            case MultipleObjectsReturned():
                return KeyUnavailable(f"the token {name} has several keys {label}; keep one of that label")
        return KeyUnavailable(f"the key {label} in {name} does not serve: {type(error).__name__}")
