"""What a tenant signs about operator access: short texts whose every byte follows from what they say.

A statement is its format's name, then one `name value` line for each field in a fixed order, each ended by
a line feed. The signature is Ed25519 (RFC 8032) over these bytes, so openssl checks it without Kumoi:
`openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in STATEMENT -sigfile SIGNATURE`.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kumoi.ledger.encoding import base64_parse
from kumoi.ledger.errors import FormatError, SignatureError
from kumoi.ledger.note import PUBLIC_KEY_BYTES

APPROVAL: Final = "kumoi-access-approval/v1"
RULE: Final = "kumoi-access-rule/v1"
KEY: Final = "kumoi-access-key/v1"
STATEMENT_BYTES_MAX: Final = 4_096
ANY_OPERATOR: Final = "any"

_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    APPROVAL: (
        "origin",
        "organization",
        "request",
        "requested-by",
        "resource",
        "sets",
        "reason-sha256",
        "duration-s",
        "answer-by",
    ),
    RULE: ("origin", "organization", "rule", "operator", "resource", "sets", "duration-s", "until"),
    KEY: ("origin", "organization", "name", "public-key"),
}
_VALUE = re.compile(r"[\x21-\x7e]{1,400}")
_NUMBER = re.compile("[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which access to what: the sets of actions, the resource's id, and for how many seconds at most."""

    resource: str
    sets: tuple[str, ...]
    duration_s: int


@dataclass(frozen=True, slots=True)
class Approval:
    """The tenant's yes to one request, of one operator, for one reason; worth nothing after `answer_by`.

    `answer_by` is RFC 3339 UTC.
    """

    origin: str
    organization: str
    request: str
    requested_by: str
    scope: Scope
    reason_sha256: str
    answer_by: str


@dataclass(frozen=True, slots=True)
class Rule:
    """The tenant's yes in advance: to what `operator` (an id, or `any`) asks within `scope` before `until`.

    `until` is RFC 3339 UTC. `name` is the tenant's and is never used again, so no rule is signed twice.
    """

    origin: str
    organization: str
    name: str
    operator: str
    scope: Scope
    until: str


@dataclass(frozen=True, slots=True)
class KeyAddition:
    """The tenant's yes to a further key of its own, signed with one that it has."""

    origin: str
    organization: str
    name: str
    public_key: bytes


Statement = Approval | Rule | KeyAddition


def reason_digest(reason: str) -> str:
    """What a statement says of a reason: SHA-256 of its UTF-8 text, in hexadecimal."""
    return sha256(reason.encode()).hexdigest()


def statement_format(statement: Statement) -> bytes:
    """The bytes to be signed. Raises FormatError for a value that a line cannot hold."""
    match statement:
        case Approval():
            kind, values = APPROVAL, _approval_values(statement)
        case Rule():
            kind, values = RULE, _rule_values(statement)
        case KeyAddition():
            text = base64.b64encode(statement.public_key).decode()
            kind, values = KEY, [statement.origin, statement.organization, statement.name, text]
    for name, value in zip(_FIELDS[kind], values, strict=True):
        if _VALUE.fullmatch(value) is None:
            raise FormatError(f"the {name} of a statement must be printable ASCII without spaces: {value!r}")
    lines = [kind, *(f"{name} {value}" for name, value in zip(_FIELDS[kind], values, strict=True))]
    return "".join(f"{line}\n" for line in lines).encode()


def statement_parse(raw: bytes) -> Statement:
    """The statement of these bytes. Raises FormatError unless `statement_format` makes exactly them."""
    if len(raw) > STATEMENT_BYTES_MAX:
        raise FormatError(f"a statement has at most {STATEMENT_BYTES_MAX} bytes, not {len(raw)}")
    try:
        kind, *lines = raw.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise FormatError("a statement is ASCII") from None
    fields = _FIELDS.get(kind)
    if fields is None:
        raise FormatError(f"a statement begins with {', '.join(_FIELDS)}, not {kind[:40]!r}")
    if len(lines) != len(fields) + 1 or lines[-1]:
        raise FormatError(f"{kind} has the lines {', '.join(fields)}, each once and in this order")
    values = {}
    for name, line in zip(fields, lines, strict=False):
        key, separator, value = line.partition(" ")
        if key != name or not separator or _VALUE.fullmatch(value) is None:
            raise FormatError(f"where {kind} has its {name} there is {line[:80]!r}")
        values[name] = value
    statement = _of_values(kind, values)
    if statement_format(statement) != raw:
        raise FormatError(f"the {kind} is not written the one way that it can be")
    return statement


def statement_verify(raw: bytes, signature: bytes, public_key: bytes) -> Statement:
    """The statement, if `public_key` (32 bytes) signed it. Raises SignatureError or FormatError."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, raw)
    except ValueError:
        raise FormatError(f"an Ed25519 public key has 32 bytes, not {len(public_key)}") from None
    except InvalidSignature:
        raise SignatureError("the signature is not one of this key over this statement") from None
    return statement_parse(raw)


def _approval_values(approval: Approval) -> list[str]:
    scope = approval.scope
    return [
        approval.origin,
        approval.organization,
        approval.request,
        approval.requested_by,
        scope.resource,
        _sets_format(scope.sets),
        approval.reason_sha256,
        str(scope.duration_s),
        approval.answer_by,
    ]


def _rule_values(rule: Rule) -> list[str]:
    scope = rule.scope
    sets = _sets_format(scope.sets)
    return [
        rule.origin,
        rule.organization,
        rule.name,
        rule.operator,
        scope.resource,
        sets,
        str(scope.duration_s),
        rule.until,
    ]


def _of_values(kind: str, values: Mapping[str, str]) -> Statement:
    if kind == KEY:
        public_key = base64_parse(values["public-key"], "the public-key of a statement", PUBLIC_KEY_BYTES)
        return KeyAddition(values["origin"], values["organization"], values["name"], public_key)
    if _NUMBER.fullmatch(values["duration-s"]) is None:
        raise FormatError(f"the duration-s of a statement is a number of seconds: {values['duration-s']!r}")
    scope = Scope(values["resource"], tuple(values["sets"].split(",")), int(values["duration-s"]))
    if kind == RULE:
        return Rule(
            values["origin"],
            values["organization"],
            values["rule"],
            values["operator"],
            scope,
            values["until"],
        )
    return Approval(
        values["origin"],
        values["organization"],
        values["request"],
        values["requested-by"],
        scope,
        values["reason-sha256"],
        values["answer-by"],
    )


def _sets_format(sets: Sequence[str]) -> str:
    """Sorted and without repeats, so that a set of sets has one text."""
    return ",".join(sorted(set(sets)))
