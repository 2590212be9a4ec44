"""Identifiers: a kind's prefix, an underscore, and a UUIDv7 in base32hex.

base32hex keeps the order of the bytes (RFC 4648 section 7), so identifiers sort by their time of creation
and serve as keyset cursors.
"""

import re
from enum import StrEnum
from typing import Annotated

import msgspec


class IdKind(StrEnum):
    """The prefixes in use, one per resource."""

    ORGANIZATION = "org"
    PROJECT = "prj"
    USER = "usr"
    SERVICE_ACCOUNT = "sa"
    ROLE_BINDING = "rb"
    TOKEN = "tok"  # noqa: S105 - a prefix, not a credential
    SITE = "site"
    POOL = "pool"
    HOST = "host"
    MACHINE = "mac"
    DEVICE = "dev"
    JOB = "job"
    TASK = "task"
    ATTEMPT = "att"
    SECRET = "sec"  # noqa: S105 - a prefix, not a credential
    EVENT = "evt"
    PLAN = "plan"
    RESERVATION = "rsv"
    CAPACITY_PLAN = "cap"
    SERVICE = "svc"
    REPLICA = "rep"
    SCALING = "scl"
    NOTICE = "ntc"
    NOTICE_TARGET = "ntt"
    NOTICE_SENDING = "nts"
    ACCESS_REQUEST = "acc"
    ACCESS_KEY = "ack"
    ACCESS_RULE = "acr"
    ACCESS_USE = "acu"


_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_BODY = "[0-9a-v]{26}"
_ID = re.compile(rf"(?P<kind>[a-z]+)_(?P<body>{_BODY})")
_REFERENCE = re.compile("[a-z0-9_-]{1,63}")
# msgspec searches with `re`, whose `$` also matches before a last line break; JSON Schema's does not.
END = r"$(?!\n)"
NAME_PATTERN = rf"^[a-z0-9]([a-z0-9-]{{0,61}}[a-z0-9])?{END}"

Name = Annotated[
    str, msgspec.Meta(pattern=NAME_PATTERN, description="lower-case letters, digits, hyphens; 1..63")
]
Id = Annotated[
    str, msgspec.Meta(pattern=rf"^[a-z]+_{_BODY}{END}", description="identifier with its kind's prefix")
]


def id_format(kind: IdKind, raw: bytes) -> str:
    """The identifier of `kind` for 16 bytes of UUIDv7."""
    if len(raw) != 16:
        raise ValueError(f"an identifier is made of 16 bytes, got {len(raw)}")
    number = int.from_bytes(raw, "big") << 2
    return f"{kind}_" + "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def id_is(kind: IdKind, text: str) -> bool:
    """Whether `text` is a well-formed identifier of `kind`."""
    match = _ID.fullmatch(text)
    return match is not None and match["kind"] == kind


def is_reference(text: str) -> bool:
    """Whether `text` could be a name or an identifier; no other text is worth a look-up."""
    return _REFERENCE.fullmatch(text) is not None
