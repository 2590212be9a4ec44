"""What tenants sign about operator access."""

from collections.abc import Iterator
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fuzz.material import ORIGIN
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.statements import (
    Approval,
    KeyAddition,
    Rule,
    Scope,
    reason_digest,
    statement_format,
    statement_parse,
    statement_verify,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"\x0b" * 32)
PUBLIC_KEY = KEY.public_key().public_bytes_raw()
UNTIL = "2027-01-01T00:00:00.000000Z"
SCOPE = Scope("prj_1", ("files", "logs"), 3_600)
SIGNED = {
    statement_format(statement): KEY.sign(statement_format(statement))
    for statement in (
        Approval(ORIGIN, "org_1", "acc_1", "usr_1", SCOPE, reason_digest("a reason"), UNTIL),
        Rule(ORIGIN, "org_1", "nights", "any", SCOPE, UNTIL),
        KeyAddition(ORIGIN, "org_1", "second", PUBLIC_KEY),
    )
}


def seeds() -> Iterator[bytes]:
    """Every kind of statement, alone and behind its signature."""
    for text, signature in SIGNED.items():
        yield text
        yield signature + text


def check(data: bytes) -> None:
    """A statement has one form, and is what the tenant signed or nothing."""
    with suppress(LedgerError):
        assert statement_format(statement_parse(data)) == data
    signature, text = data[:64], data[64:]
    with suppress(LedgerError):
        statement_verify(text, signature, PUBLIC_KEY)
        assert SIGNED.get(text) == signature, "a statement was forged"
    for length in (0, 31, 33):
        with suppress(LedgerError):
            statement_verify(text, signature, bytes(length))
