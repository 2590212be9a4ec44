"""A tenant's approver: the private half of its key, which signs statements as people do with openssl."""

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kumoi.ledger.statements import KeyAddition, Rule, Scope, Statement, statement_format


class Approver:
    """Signs with one Ed25519 key. `id` is what the plane calls the key, once it is registered."""

    def __init__(self, origin: str, organization: str) -> None:
        self.origin = origin
        self.organization = organization
        self.key = Ed25519PrivateKey.generate()
        self.id = ""

    @property
    def public(self) -> str:
        """The public key, base64."""
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def sign(self, statement: Statement | bytes | str) -> str:
        """The signature over a statement, base64."""
        if isinstance(statement, str):
            statement = statement.encode()
        raw = statement if isinstance(statement, bytes) else statement_format(statement)
        return base64.b64encode(self.key.sign(raw)).decode()

    def approval(self, request: dict[str, Any], **changed: Any) -> dict[str, Any]:
        """The body that approves a request as its own statement has it."""
        return {"key": self.id, "signature": self.sign(request["statement"])} | changed

    def addition(self, name: str, other: "Approver") -> dict[str, Any]:
        """The body that adds another's key, signed with this one."""
        raw = other.key.public_key().public_bytes_raw()
        statement = KeyAddition(self.origin, self.organization, name, raw)
        signature = self.sign(statement)
        return {"name": name, "public_key": other.public, "signed_with": self.id, "signature": signature}

    def rule(
        self,
        name: str,
        resource: str,
        sets: tuple[str, ...],
        until: str,
        *,
        duration_s: int = 3_600,
        operator: str = "any",
    ) -> dict[str, Any]:
        """The body of a signed rule. `until` is UTC with microseconds, as statements have it."""
        scope = Scope(resource, sets, duration_s)
        made = Rule(self.origin, self.organization, name, operator, scope, until)
        return {
            "name": name,
            "resource": resource,
            "sets": sets,
            "duration_s": duration_s,
            "until": until,
            "key": self.id,
            "signature": self.sign(made),
            "operator": operator,
        }
