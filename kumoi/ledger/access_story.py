"""What a tenant's events say about operator access, checked against the tenant's own keys.

The log proves that events are as they were written. This checks that they are as they must be: nothing was
used that the tenant's key did not approve, nothing wider, longer or later; broken glass had two operators.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from kumoi.ledger.encoding import base64_parse
from kumoi.ledger.errors import FormatError, MismatchError, SignatureError
from kumoi.ledger.note import ED25519_BYTES, PUBLIC_KEY_BYTES
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
CUT_US: Final = 5 * US_PER_S
"""So much later at the latest the end of a stream is recorded, which was cut off then."""
S = TypeVar("S", Approval, Rule, KeyAddition)
_ENDS = {
    "access_request_deny": ("requested",),
    "access_request_lapse": ("requested",),
    "access_request_end": ("requested", "approved"),
    "access_request_revoke": ("approved",),
    "access_request_expire": ("approved",),
}
"""What ends a request, and in which of its states."""


@dataclass(frozen=True, slots=True)
class AccessStory:
    """What happened: requests by how they were approved, and how many answers operators got.

    `broken_glass` names the requests that no tenant approved; `unexplained` those of them without a word yet.
    `unfinished` streams have a beginning and no end: what they sent is not known.
    """

    requests: int
    approved: int
    approved_by_rule: int
    uses: int
    unfinished: int
    broken_glass: tuple[str, ...]
    unexplained: tuple[str, ...]


@dataclass(slots=True)
class _Request:
    asked: Mapping[str, Any]
    state: str = "requested"
    scope: Scope | None = None
    until_us: int = 0
    by_rule: bool = False
    glass: bool = False
    explained: bool = False
    streams: Counter[str] = field(default_factory=Counter)

    def approve(self, scope: Scope, at_us: int, latest_us: int | None = None) -> None:
        """From `at_us` on, and to `latest_us` at the most."""
        self.state, self.scope = "approved", scope
        self.until_us = at_us + scope.duration_s * US_PER_S
        if latest_us is not None:
            self.until_us = min(self.until_us, latest_us)

    def end(self, at_us: int) -> None:
        """At `at_us`, if it had not ended before."""
        self.state = "ended"
        self.until_us = min(self.until_us, at_us)


@dataclass(slots=True)
class _Reader:
    origin: str
    organization: str
    keys: set[bytes]
    key_ids: dict[str, bytes] = field(default_factory=dict)
    requests: dict[str, _Request] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    rule_names: set[str] = field(default_factory=set)
    uses: int = 0

    def read(self, event: Mapping[str, Any]) -> None:
        """Take in the next event. Raises MismatchError where it is not as it must be."""
        action, resource, detail = event["action"], event["resource"], event["detail"]
        if event["outcome"] == "refused" and action != "access_use":
            return
        if action.startswith("access_") and event["outcome"] != "done":
            raise MismatchError(f"{action} at {event['at']} has no outcome that there is")
        match action:
            case "access_request_create":
                if resource in self.requests:
                    raise MismatchError(f"{resource} was asked for twice")
                self.requests[resource] = _Request(detail)
            case "access_key_create":
                self._key_add(resource, detail)
            case "access_key_retire":
                self.keys.discard(self.key_ids.get(resource, b""))
            case "access_rule_create":
                self._rule_add(resource, detail)
            case "access_rule_revoke":
                self.rules.pop(resource, None)
            case "access_request_approve":
                self._approve(event)
            case "access_request_confirm":
                self._confirm(event)
            case "access_request_explain":
                self._request(resource).explained = True
            case "access_use":
                self._use(event)
            case ending if ending in _ENDS:
                self._request(resource, *_ENDS[ending]).end(time_parse(event["at"]))

    def _key_add(self, key_id: str, detail: Mapping[str, Any]) -> None:
        """The first key is trusted by whoever names it, a further one because a trusted one signed for it."""
        public_key = base64_parse(detail["public_key"], "a key", PUBLIC_KEY_BYTES)
        if self.key_ids:
            addition = self._signed(detail, KeyAddition)
            if addition.public_key != public_key:
                raise MismatchError(f"{key_id} is not the key that was signed for")
            self.keys.add(public_key)
        self.key_ids[key_id] = public_key

    def _rule_add(self, rule_id: str, detail: Mapping[str, Any]) -> None:
        rule = self._signed(detail, Rule)
        if rule.name in self.rule_names:
            raise MismatchError(f"the rule {rule.name} was presented twice")
        self.rule_names.add(rule.name)
        self.rules[rule_id] = rule

    def _approve(self, event: Mapping[str, Any]) -> None:
        request = self._request(event["resource"], "requested")
        asked, detail, at_us = request.asked, event["detail"], time_parse(event["at"])
        if "rule" in detail:
            rule = self._signed(detail, Rule)
            if self.rules.get(detail["rule"]) != rule or not _rule_covers(rule, asked, at_us):
                raise MismatchError(f"{event['resource']} was approved by a rule that does not cover it")
            request.by_rule = True
            request.approve(_scope(asked), at_us, time_parse(rule.until))
            return
        approval = self._signed(detail, Approval)
        if not _answers(approval, event["resource"], asked) or at_us > time_parse(approval.answer_by):
            raise MismatchError(f"the approval of {event['resource']} is of something else, or too late")
        request.approve(approval.scope, at_us)

    def _confirm(self, event: Mapping[str, Any]) -> None:
        request = self._request(event["resource"], "requested")
        asked = request.asked
        if asked["kind"] == AccessKind.ORDINARY or event["actor"] == asked["requested_by"]:
            raise MismatchError(f"{event['resource']} was confirmed by nobody who could")
        request.glass = True
        request.approve(_scope(asked), time_parse(event["at"]))

    def _use(self, event: Mapping[str, Any]) -> None:
        detail, at_us = event["detail"], time_parse(event["at"])
        request = self._request(detail["request"])
        if request.scope is None or event["actor"] != request.asked["requested_by"]:
            raise MismatchError(f"{event['actor']} used {detail['request']}, which was not approved for it")
        phase, call = detail["phase"], detail["call"]
        grace_us = CUT_US if phase == "end" else GRACE_US
        if at_us > request.until_us + grace_us:
            raise MismatchError(f"{detail['request']} was used at {event['at']}, after its end")
        if phase == "end" and not request.streams[call]:
            raise MismatchError(f"a stream of {detail['request']} ended that never began")
        request.streams[call] += {"begin": 1, "end": -1, "whole": 0}[phase]
        allowed = {action for one in request.scope.sets for action in ACTIONS_OF_SETS.get(one, ())}
        reached = (detail["resource"], detail["project"], self.organization)
        if detail["action"] not in allowed or request.scope.resource not in reached:
            raise MismatchError(f"{detail['request']} was used for more than it grants, at {event['at']}")
        self.uses += 1

    def _request(self, request_id: str, *states: str) -> _Request:
        """The request; in one of these states, where some are named."""
        request = self.requests.get(request_id)
        if request is None:
            raise MismatchError(f"nothing tells how {request_id} was asked for; export all events")
        if states and request.state not in states:
            raise MismatchError(f"{request_id} is {request.state}, and was decided about once more")
        return request

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
        raise SignatureError(
            "it is signed by none of the keys that you named, nor by one that these signed for, or by a "
            "retired one; name the organization's first key too"
        )


def access_story(
    events: Iterable[Mapping[str, Any]], origin: str, organization: str, keys: Sequence[bytes]
) -> AccessStory:
    """Check all events of an organization, in the order of the log; `keys` are its Ed25519 keys of 32 bytes.

    Raises SignatureError for an approval that none of the keys signed, MismatchError for access that was
    wider, longer or later than what was signed, FormatError for events that say less than they must.
    """
    reader = _Reader(origin, organization, set(keys))
    for event in events:
        try:
            reader.read(event)
        except SignatureError as error:
            raise SignatureError(f"{event['action']} of {event['resource']}: {error}") from error
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
        unfinished=sum(one.streams.total() for one in requests.values()),
        broken_glass=glass,
        unexplained=tuple(name for name in glass if not requests[name].explained),
    )


def _scope(asked: Mapping[str, Any]) -> Scope:
    return Scope(asked["resource"], tuple(asked["sets"]), asked["duration_s"])


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
