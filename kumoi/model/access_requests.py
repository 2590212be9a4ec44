"""Operator access to what is a tenant's: asked for, approved by the tenant's key, used, recorded, ended."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kumoi.model.access import AccessSet, Action
from kumoi.model.ids import END, Id, Name

ACCESS_S_MIN = 60
ACCESS_S_MAX = 7 * 86_400
RULE_S_MAX = 400 * 86_400
SETS_MAX = len(AccessSet)
KEYS_MAX = 20
RULES_MAX = 100
REASON_MAX = 1_000

# The guard's schema has the same table as its groups `granted_...`; a test holds them together.
ACTIONS_OF_SETS: Mapping[str, frozenset[Action]] = {
    AccessSet.INSPECT: frozenset(
        {
            Action.PROJECT_LIST,
            Action.PROJECT_READ,
            Action.PROJECT_USAGE_READ,
            Action.ORGANIZATION_USAGE_READ,
            Action.JOB_LIST,
            Action.JOB_READ,
            Action.SERVICE_LIST,
            Action.SERVICE_READ,
            Action.FILE_LIST,
            Action.SECRET_LIST,
        }
    ),
    AccessSet.LOGS: frozenset({Action.JOB_LOG_READ}),
    AccessSet.FILES: frozenset({Action.FILE_READ}),
    AccessSet.EVENTS: frozenset({Action.ORGANIZATION_EVENT_LIST, Action.EVENT_READ}),
    AccessSet.STOP: frozenset({Action.JOB_CANCEL}),
}
"""Which actions each set lets an operator do."""

Reason = Annotated[str, Meta(min_length=10, max_length=REASON_MAX)]
Duration = Annotated[int, Meta(ge=ACCESS_S_MIN, le=ACCESS_S_MAX, description="seconds")]
Sets = Annotated[tuple[AccessSet, ...], Meta(min_length=1, max_length=SETS_MAX)]
PublicKey = Annotated[
    str, Meta(pattern=rf"^[A-Za-z0-9+/]{{43}}={END}", description="Ed25519, 32 bytes in base64")
]
Signature = Annotated[
    str, Meta(pattern=rf"^[A-Za-z0-9+/]{{86}}=={END}", description="Ed25519, 64 bytes in base64")
]


class AccessKind(StrEnum):
    """How a request comes to be approved."""

    ORDINARY = "ordinary"
    """By the tenant: its key's signature over this request, or over a rule made in advance."""
    EMERGENCY = "emergency"
    """Breaking the glass, as waiting for the tenant would do harm: a second operator confirms."""
    LEGAL_ORDER = "legal_order"
    """An exclusion from the tenant's approval that law demands (法令に基づく場合): confirmed in the same way,
    and an entry of the log like every other access."""


class AccessRequestCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for access to a resource of an organization: itself, or a project, job or service of it by id."""

    resource: Id
    sets: Sets
    reason: Reason
    duration_s: Duration = 3_600
    kind: AccessKind = AccessKind.ORDINARY


class AccessApprove(Struct, frozen=True, forbid_unknown_fields=True):
    """The tenant's signature over `statement`, made with the key `key`; it may grant less than was asked.

    The statement's form is in kumoi.ledger.statements. `sets` and `duration_s` stand in it.
    """

    key: Id
    signature: Signature
    sets: Sets | None = None
    duration_s: Duration | None = None


class AccessDeny(Struct, frozen=True, forbid_unknown_fields=True):
    """Why the tenant says no, for the operator who asked."""

    reason: Annotated[str, Meta(max_length=REASON_MAX)] = ""


class AccessExplain(Struct, frozen=True, forbid_unknown_fields=True):
    """What was done with the glass broken, and why it had to be."""

    explanation: Reason


class AccessRequest(Struct, frozen=True):
    """A request and what became of it.

    `statement` is what an approval signs: for a request that waits, the text for approving all of it; for an
    approved one, the text that was signed (that of the rule where it was approved in advance). `explain_by`
    and what follows are of broken glass only.
    """

    id: Id
    organization: Id
    kind: AccessKind
    state: str
    requested_by: Id
    resource: Id
    sets: tuple[AccessSet, ...]
    reason: str
    duration_s: int
    created_at: str
    answer_by: str
    approved_at: str | None
    expires_at: str | None
    decided_by: Id | None
    decision: str
    rule: Id | None
    key: Id | None
    statement: str
    signature: Signature | None
    explain_by: str | None
    explanation: str | None
    incident_at: str | None
    version: int


class AccessUse(Struct, frozen=True):
    """One answer that an operator got through a request: what was read or done, and the bytes that left.

    `sha256` is of the answer's body. An answer that is streamed has two: when it began, and when it ended.
    """

    id: Id
    request: Id
    at: str
    action: str
    resource: str
    call: str
    phase: str
    status: int
    size_bytes: int
    sha256: str
    event: Id


class AccessKeyCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A public key of the tenant. Every key but the first is signed for with one that is active."""

    name: Name
    public_key: PublicKey
    signed_with: Id | None = None
    signature: Signature | None = None


class AccessKey(Struct, frozen=True):
    """A key that approvals may be signed with; its private half never leaves the tenant."""

    id: Id
    organization: Id
    name: Name
    public_key: PublicKey
    state: str
    created_at: str
    version: int


class AccessRuleCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """Approve in advance what fits: asked by `operator` (any, or one id), within resource, sets and time.

    `until` stands in the signed statement in UTC with microseconds, as `2027-01-31T00:00:00.000000Z`.
    """

    name: Name
    resource: Id
    sets: Sets
    duration_s: Duration
    until: Annotated[str, Meta(max_length=40, description="RFC 3339")]
    key: Id
    signature: Signature
    operator: Annotated[str, Meta(pattern=rf"^(any|usr_[0-9a-v]{{26}}){END}")] = "any"


class AccessRule(Struct, frozen=True):
    """A rule that the tenant signed."""

    id: Id
    organization: Id
    name: Name
    operator: str
    resource: Id
    sets: tuple[AccessSet, ...]
    duration_s: int
    until: str
    key: Id
    statement: str
    signature: Signature
    state: str
    created_at: str
    version: int
