"""A tenant's events about operator access, true and with every kind of lie in them."""

import base64
import copy
from collections.abc import Callable
from typing import Any

import pytest
from approver import Approver

from kumoi.ledger.access_story import access_story
from kumoi.ledger.errors import LedgerError
from kumoi.ledger.statements import Approval, Scope, reason_digest, statement_format
from kumoi.model.time import time_format

ORIGIN, TENANT = "kumoi.local/region-1", "org_1"
REASON = "to find out why jobs fail"
T0_US = 1_800_000_000_000_000
APPROVER = Approver(ORIGIN, TENANT)
KEYS = [base64.b64decode(APPROVER.public)]
Events = list[dict[str, Any]]


def event(at_s: float, actor: str, action: str, of: str, /, **detail: Any) -> dict[str, Any]:
    at = time_format(T0_US + int(at_s * 1_000_000))
    told = {"action": action, "actor": actor, "at": at, "resource": of, "outcome": "done"}
    return told | {"detail": detail}


def asked(request: str, at_s: float = 0, kind: str = "ordinary") -> dict[str, Any]:
    return event(
        at_s,
        "usr_op",
        "access_request_create",
        request,
        kind=kind,
        resource="job_1",
        project="prj_1",
        sets=["inspect", "logs"],
        reason=REASON,
        duration_s=600,
        requested_by="usr_op",
    )


def approval(request: str, **changed: Any) -> dict[str, Any]:
    scope = Scope("job_1", changed.pop("sets", ("logs",)), changed.pop("duration_s", 600))
    answer_by = time_format(T0_US + 100_000_000)
    made = Approval(ORIGIN, TENANT, request, "usr_op", scope, reason_digest(REASON), answer_by)
    raw = statement_format(made)
    detail = {"statement": raw.decode(), "signature": APPROVER.sign(raw), "key": "ack_1"}
    return event(10, "usr_admin", "access_request_approve", request, **detail | changed)


def used(request: str, at_s: float, **changed: Any) -> dict[str, Any]:
    detail = {
        "request": request,
        "action": "job_log_read",
        "resource": "job_1",
        "project": "prj_1",
        "call": "GET /x",
    }
    return event(at_s, "usr_op", "access_use", f"acu_{at_s}", **{"phase": "whole"} | detail | changed)


def story() -> Events:
    """Approved and used, by a rule too, revoked; broken glass, explained and not."""
    until = time_format(T0_US + 500_000_000)
    rule = APPROVER.rule("nights", "prj_1", ("logs", "inspect"), until)
    signed = {"statement": rule_text(rule), "signature": rule["signature"], "key": "ack_1"}
    return [
        event(-9, "usr_admin", "access_key_create", "ack_1", name="first", public_key=APPROVER.public),
        event(-8, "usr_admin", "project_create", "prj_1", name="x"),
        asked("acc_1"),
        approval("acc_1"),
        used("acc_1", 20),
        used("acc_1", 25, phase="begin"),
        event(30, "usr_admin", "access_request_revoke", "acc_1"),
        used("acc_1", 30.5, phase="end"),
        event(40, "usr_admin", "access_rule_create", "acr_1", **signed),
        asked("acc_2", 50),
        event(50, "acr_1", "access_request_approve", "acc_2", rule="acr_1", **signed),
        used("acc_2", 60, action="job_read"),
        event(61, "plane", "access_request_expire", "acc_2"),
        asked("acc_3", 70, "emergency"),
        event(71, "usr_second", "access_request_confirm", "acc_3"),
        used("acc_3", 72),
        event(80, "usr_op", "access_request_explain", "acc_3", explanation="the disk was full"),
        asked("acc_4", 90, "legal_order"),
        event(91, "usr_second", "access_request_confirm", "acc_4"),
    ]


def rule_text(rule: dict[str, Any]) -> str:
    lines = ["kumoi-access-rule/v1", f"origin {ORIGIN}", f"organization {TENANT}", f"rule {rule['name']}"]
    lines += [f"operator {rule['operator']}", f"resource {rule['resource']}", "sets inspect,logs"]
    lines += [f"duration-s {rule['duration_s']}", f"until {rule['until']}"]
    return "".join(f"{line}\n" for line in lines)


def test_a_true_story_is_told() -> None:
    told = access_story(story(), ORIGIN, TENANT, KEYS)
    assert (told.requests, told.approved, told.approved_by_rule, told.uses) == (4, 2, 1, 5)
    assert told.unfinished == 0
    assert (told.broken_glass, told.unexplained) == (("acc_3", "acc_4"), ("acc_4",))


def put(at: int, made: Callable[[], dict[str, Any]]) -> Callable[[Events], None]:
    return lambda events: events.insert(at, made())


def change(at: int, **detail: Any) -> Callable[[Events], None]:
    return lambda events: events[at]["detail"].update(detail)


def drop(at: int) -> Callable[[Events], None]:
    def apply(events: Events) -> None:
        del events[at]

    return apply


def again(at: int, of: int, /, **changed: Any) -> Callable[[Events], None]:
    """Say at `at` once more what was said at `of`."""
    return lambda events: events.insert(at, copy.deepcopy(events[of]) | changed)


def late(at_s: float) -> str:
    return time_format(T0_US + int(at_s * 1_000_000))


STRANGER = Approver(ORIGIN, TENANT)
LIES: dict[str, Callable[[Events], None]] = {
    "used before the approval": lambda events: events.insert(3, events.pop(4)),
    "used without any request": put(5, lambda: used("acc_9", 21)),
    "used after the revocation": put(8, lambda: used("acc_1", 32)),
    "used after its time": put(6, lambda: used("acc_1", 700)),
    "used by another operator": lambda events: events[4].update(actor="usr_other"),
    "used for an action outside the set": put(5, lambda: used("acc_1", 21, action="file_read")),
    "used for what was asked and not granted": put(5, lambda: used("acc_1", 21, action="job_read")),
    "used on another resource": put(5, lambda: used("acc_1", 21, resource="job_2")),
    "approved by a stranger's key": lambda events: events[3]["detail"].update(
        signature=STRANGER.sign(events[3]["detail"]["statement"])
    ),
    "approved for longer than was signed": lambda events: events[3]["detail"].update(
        statement=events[3]["detail"]["statement"].replace("duration-s 600", "duration-s 6000")
    ),
    "approved for another request": lambda events: events[3].update(detail=approval("acc_2")["detail"]),
    "approved for more than was asked": lambda events: events[3].update(
        detail=approval("acc_1", sets=("files", "logs"))["detail"]
    ),
    "approved for longer than was asked": lambda events: events[3].update(
        detail=approval("acc_1", duration_s=6_000)["detail"]
    ),
    "asked for another reason": change(2, reason="another reason than was signed"),
    "asked by another operator": change(2, requested_by="usr_other"),
    "the request is left out": drop(2),
    "the approval is left out": drop(3),
    "the rule is left out": drop(8),
    "the rule was revoked before": put(9, lambda: event(45, "usr_admin", "access_rule_revoke", "acr_1")),
    "the rule is for another operator": change(9, requested_by="usr_other"),
    "the rule is for less time": change(9, duration_s=4_000),
    "the rule is of another project": change(9, project="prj_2", resource="job_2"),
    "the glass was broken by one": lambda events: events[14].update(actor="usr_op"),
    "an ordinary request was confirmed": change(13, kind="ordinary"),
    "asked for once more after the revocation": again(7, 2),
    "approved once more after the revocation": again(7, 3, at=late(90)),
    "approved twice": again(4, 3, at=late(15)),
    "approved too late": lambda events: events[3].update(at=late(101)),
    "approved after a denial": put(3, lambda: event(5, "usr_admin", "access_request_deny", "acc_1")),
    "approved after it was withdrawn": put(3, lambda: event(5, "usr_op", "access_request_end", "acc_1")),
    "approved after it lapsed": put(3, lambda: event(5, "plane", "access_request_lapse", "acc_1")),
    "approved by a retired key": put(3, lambda: event(5, "usr_admin", "access_key_retire", "ack_1")),
    "the rule was presented again": again(9, 8, resource="acr_2"),
    "used after the end of the rule": lambda events: events.insert(
        events.index(next(one for one in events if one["action"] == "access_request_expire")),
        used("acc_2", 502),
    ),
    "a stream ended that never began": put(5, lambda: used("acc_1", 21, phase="end")),
    "a stream ended long after the revocation": lambda events: events[7].update(at=late(40)),
    "a use says that it was refused": lambda events: events[4].update(outcome="refused"),
    "a use has another outcome": lambda events: events[4].update(outcome="perhaps"),
    "the glass is confirmed once more": again(15, 14, at=late(600)),
    "a phase is none": change(4, phase="middle"),
    "a further key is not signed for": put(
        1,
        lambda: event(-8.5, "usr_admin", "access_key_create", "ack_2", name="x", public_key=STRANGER.public),
    ),
    "an event says too little": lambda events: events[3]["detail"].pop("signature"),
    "a time is none": lambda events: events[4].update(at="yesterday"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_every_lie_is_caught(lie: Callable[[Events], None]) -> None:
    events = copy.deepcopy(story())
    lie(events)
    with pytest.raises(LedgerError):
        access_story(events, ORIGIN, TENANT, KEYS)


def test_the_story_of_another_region_or_organization_is_another() -> None:
    for origin, organization in (("kumoi.local/region-2", TENANT), (ORIGIN, "org_2")):
        with pytest.raises(LedgerError):
            access_story(story(), origin, organization, KEYS)
    with pytest.raises(LedgerError):
        access_story(story(), ORIGIN, TENANT, [base64.b64decode(STRANGER.public)])
