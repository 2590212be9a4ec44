"""Keys in a PKCS#11 token (OASIS PKCS #11 v2.40 and later): AES-256-GCM inside it, with CKM_AES_GCM."""

import os
from typing import Any

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    AttributeTypeInvalid,
    MultipleObjectsReturned,
    NoSuchKey,
    NoSuchToken,
    PinIncorrect,
    PinLocked,
    PKCS11Error,
)

from kumoi.store.keys.ciphers import KEY_BYTES, NONCE_BYTES
from kumoi.store.keys.errors import TokenFailure
from kumoi.store.keys.tokens import PinRefused, TokenRule

TAG_BITS = 128


def session_open(rule: TokenRule, pin: str) -> "Pkcs11Session":
    """Load the module, find the token and log in. Raises TokenFailure or PinRefused.

    A library may know only what was there when it was started: one whose token is not there, or does not
    serve, is started anew, unless other tokens are asked through it at the same time.
    """
    try:
        return _session_open(rule, pin)
    except PinRefused:
        raise
    except TokenFailure:
        if not rule.is_alone:
            raise
    try:
        pkcs11.lib(str(rule.module)).reinitialize()
    except (PKCS11Error, RuntimeError, OSError) as error:
        raise TokenFailure(f"the token {rule.name} cannot be opened: {type(error).__name__}") from error
    return _session_open(rule, pin)


def _session_open(rule: TokenRule, pin: str) -> "Pkcs11Session":
    try:
        token = pkcs11.lib(str(rule.module)).get_token(token_label=rule.label)
        return Pkcs11Session(rule, token.open(user_pin=pin))
    except (PinIncorrect, PinLocked) as error:
        raise PinRefused(f"the token {rule.name} refused the PIN ({type(error).__name__})") from error
    except NoSuchToken as error:
        raise TokenFailure(f"there is no token {rule.label} ({rule.name})") from error
    except (PKCS11Error, RuntimeError, OSError) as error:
        raise TokenFailure(f"the token {rule.name} cannot be opened: {type(error).__name__}") from error


class Pkcs11Session:
    """A logged-in session, used by one thread."""

    def __init__(self, rule: TokenRule, session: Any) -> None:
        self._rule = rule
        self._session = session
        self._keys: dict[str, Any] = {}

    def check(self, label: str) -> None:
        """Refuse a label of no key, of several, of no AES key of 256 bits, of one that could leave."""
        try:
            key = self._key(label)
            is_aes_256 = key.key_type == KeyType.AES and key[Attribute.VALUE_LEN] == KEY_BYTES
            is_fit = is_aes_256 and key[Attribute.SENSITIVE] and not key[Attribute.EXTRACTABLE]
        except (NoSuchKey, MultipleObjectsReturned, AttributeTypeInvalid):
            is_fit = False
        except PKCS11Error as error:
            raise self._failed(label, error) from error
        if not is_fit:
            # One answer for whatever it is: in a token of several organizations, labels are their own affair.
            raise TokenFailure(
                f"the token {self._rule.name} has not exactly one key {label} that is an AES key of 256 "
                "bits, sensitive and not extractable"
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

    def _failed(self, label: str, error: PKCS11Error) -> TokenFailure:
        name = self._rule.name
        match error:
            case NoSuchKey():
                return TokenFailure(f"the token {name} has no key {label}")
            case MultipleObjectsReturned():
                return TokenFailure(f"the token {name} has several keys {label}; keep one of that label")
        return TokenFailure(f"the key {label} in {name} does not serve: {type(error).__name__}")
