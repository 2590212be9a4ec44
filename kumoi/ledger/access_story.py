"""What a tenant's events say about operator access, checked against the tenant's own keys.

The log proves that events are as they were written. This checks that they are as they must be: nothing was
used that the tenant's key did not approve, nothing wider, longer or later; broken glass had two operators.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from kumoi.ledger.encoding import base64_parse
from kumoi.ledger.errors import FormatError, MismatchError, SignatureError
from kumoi.ledger.note import ED25519_BYTES
from kumoi.ledger.statements import (
    ANY_OPERATOR,
    Approval,
    KeyAddition,
    Rule,
    Scope,
    reason_digest,
    statement_verify,
)
from kumoi.model.access_requests import ACTIONS_OF_SETS, AccessKind
from kumoi.model.time import US_PER_S, time_parse

GRACE_US: Final = US_PER_S
"""What was under way when an access ended may be recorded so much later."""
S = TypeVar("S", Approval, Rule, KeyAddition)
_CLOSERS = ("access_request_revoke", "access_request_end", "access_request_expire")


@dataclass(frozen=True, slots=True)
class AccessStory:
    """What happened: requests by how they were approved, and how many answers operators got.

    `broken_glass` names the requests that no tenant approved; `unexplained` those of them without a word yet.
    """

    requests: int
    approved: int
    approved_by_rule: int
    uses: int
    broken_glass: tuple[str, ...]
    unexplained: tuple[str, ...]


@dataclass(slots=True)
class _Request:
    asked: Mapping[str, Any]
    scope: Scope | None = None
    until_us: int = 0
    closed_us: int | None = None
    by_rule: bool = False
    glass: bool = False
    explained: bool = False


@dataclass(slots=True)
class _Reader:
    origin: str
    organization: str
    keys: Sequence[bytes]
    requests: dict[str, _Request] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    uses: int = 0

    def read(self, event: Mapping[str, Any]) -> None:
        """Take in the next event. Raises MismatchError where it is not as it must be."""
        if event.get("outcome") != "done":
            return
        match event["action"]:
            case "access_request_create":
                self.requests[event["resource"]] = _Request(event["detail"])
            case "access_key_create":
                self._key_add(event["detail"])
            case "access_rule_create":
                self.rules[event["resource"]] = self._signed(event["detail"], Rule)
            case "access_rule_revoke":
                self.rules.pop(event["resource"], None)
            case "access_request_approve":
                self._approve(event)
            case "access_request_confirm":
                self._confirm(event)
            case "access_request_explain":
                self._request(event["resource"]).explained = True
            case "access_use":
                self._use(event)
            case action if action in _CLOSERS:
                self._request(event["resource"]).closed_us = time_parse(event["at"])

    def _key_add(self, detail: Mapping[str, Any]) -> None:
        """A further key counts if a trusted one signed for it; the first is trusted by whoever names it."""
        if "statement" in detail:
            self._signed(detail, KeyAddition)

    def _approve(self, event: Mapping[str, Any]) -> None:
        request = self._request(event["resource"])
        asked, detail = request.asked, event["detail"]
        at_us = time_parse(event["at"])
        if "rule" in detail:
            rule = self._signed(detail, Rule)
            if self.rules.get(detail["rule"]) != rule or not _rule_covers(rule, asked, at_us):
                raise MismatchError(f"{event['resource']} was approved by a rule that does not cover it")
            request.by_rule = True
            request.scope = Scope(asked["resource"], tuple(asked["sets"]), asked["duration_s"])
        else:
            approval = self._signed(detail, Approval)
            if not _answers(approval, event["resource"], asked):
                raise MismatchError(f"the approval of {event['resource']} is of something else")
            request.scope = approval.scope
        request.until_us = at_us + request.scope.duration_s * US_PER_S

    def _confirm(self, event: Mapping[str, Any]) -> None:
        request = self._request(event["resource"])
        asked = request.asked
        if asked["kind"] == AccessKind.ORDINARY or event["actor"] == asked["requested_by"]:
            raise MismatchError(f"{event['resource']} was confirmed by nobody who could")
        request.glass = True
        request.scope = Scope(asked["resource"], tuple(asked["sets"]), asked["duration_s"])
        request.until_us = time_parse(event["at"]) + asked["duration_s"] * US_PER_S

    def _use(self, event: Mapping[str, Any]) -> None:
        detail = event["detail"]
        request = self._request(detail["request"])
        at_us = time_parse(event["at"])
        if request.scope is None or event["actor"] != request.asked["requested_by"]:
            raise MismatchError(f"{event['actor']} used {detail['request']}, which was not approved for it")
        closed_us = request.until_us if request.closed_us is None else request.closed_us
        if detail["phase"] != "end" and at_us > min(closed_us, request.until_us) + GRACE_US:
            raise MismatchError(f"{detail['request']} was used at {event['at']}, after its end")
        allowed = {action for one in request.scope.sets for action in ACTIONS_OF_SETS.get(one, ())}
        reached = (detail["resource"], detail["project"], self.organization)
        if detail["action"] not in allowed or request.scope.resource not in reached:
            raise MismatchError(f"{detail['request']} was used for more than it grants, at {event['at']}")
        self.uses += 1

    def _request(self, request_id: str) -> _Request:
        if request_id not in self.requests:
            raise MismatchError(f"nothing tells how {request_id} was asked for; export all events")
        return self.requests[request_id]

    def _signed(self, detail: Mapping[str, Any], kind: type[S]) -> S:
        """The statement of this kind about this organization, if one of the tenant's keys signed it."""
        raw = detail["statement"].encode()
        signature = base64_parse(detail["signature"], "a signature", ED25519_BYTES)
        for key in self.keys:
            try:
                statement = statement_verify(raw, signature, key)
            except SignatureError:
                continue
            at = statement.origin, statement.organization
            if not isinstance(statement, kind) or at != (self.origin, self.organization):
                raise MismatchError("a signed statement is of another kind, region or organization")
            return statement
        raise SignatureError("an approval of operator access is signed by none of the keys that you named")


def access_story(
    events: Iterable[Mapping[str, Any]], origin: str, organization: str, keys: Sequence[bytes]
) -> AccessStory:
    """Check all events of an organization, in the order of the log; `keys` are its Ed25519 keys of 32 bytes.

    Raises SignatureError for an approval that none of the keys signed, MismatchError for access that was
    wider, longer or later than what was signed, FormatError for events that say less than they must.
    """
    reader = _Reader(origin, organization, keys)
    for event in events:
        try:
            reader.read(event)
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"an event about access cannot be understood: {error!r}") from error
    requests = reader.requests
    glass = tuple(name for name, request in requests.items() if request.glass)
    approved = [one for one in requests.values() if one.scope is not None and not one.glass]
    return AccessStory(
        requests=len(requests),
        approved=len(approved),
        approved_by_rule=sum(one.by_rule for one in approved),
        uses=reader.uses,
        broken_glass=glass,
        unexplained=tuple(name for name in glass if not requests[name].explained),
    )


def _answers(approval: Approval, request_id: str, asked: Mapping[str, Any]) -> bool:
    scope = approval.scope
    return (
        approval.request == request_id
        and approval.requested_by == asked["requested_by"]
        and approval.reason_sha256 == reason_digest(asked["reason"])
        and scope.resource == asked["resource"]
        and set(scope.sets) <= set(asked["sets"])
        and scope.duration_s <= asked["duration_s"]
    )


def _rule_covers(rule: Rule, asked: Mapping[str, Any], at_us: int) -> bool:
    scope = rule.scope
    return (
        rule.operator in (ANY_OPERATOR, asked["requested_by"])
        and scope.resource in (rule.organization, asked["project"], asked["resource"])
        and set(asked["sets"]) <= set(scope.sets)
        and asked["duration_s"] <= scope.duration_s
        and at_us < time_parse(rule.until)
    )
