"""What is loaded: the packaged policies are complete and valid, and unusable ones are refused."""

import json
import re

import pytest
from cedarpy import is_authorized, policies_to_json_str, validate_policies

from kumoi.guard.decide import Guard, PolicyInvalid
from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT
from kumoi.model.access import Action, Actor, PrincipalKind, ResourceKind, Target

PROVIDER = "org_provider"
PERMIT_ALL = '@id("permit-all") permit (principal, action, resource);'
ACTOR = Actor("usr_a", PrincipalKind.USER, "org_a", (), "tok")
JOB = Target(ResourceKind.JOB, "job_a", "org_a", "prj_1")


def policies_of(layer: str) -> list[dict[str, object]]:
    parsed = json.loads(policies_to_json_str(POLICY_TEXTS[layer]))
    return list(parsed["staticPolicies"].values())


def test_the_packaged_policies_fit_the_schema() -> None:
    for layer, text in POLICY_TEXTS.items():
        assert validate_policies(text, SCHEMA_TEXT).validation_passed, layer


@pytest.mark.parametrize(("layer", "effect"), [("guardrails", "forbid"), ("roles", "permit")])
def test_guardrails_only_forbid_and_roles_only_permit(layer: str, effect: str) -> None:
    assert {policy["effect"] for policy in policies_of(layer)} == {effect}


def test_the_ids_of_guardrails_can_be_told_in_a_log() -> None:
    def ids(layer: str) -> list[str]:
        return [policy["annotations"]["id"] for policy in policies_of(layer)]  # type: ignore[index]

    assert all(name.startswith("guardrail-") for name in ids("guardrails"))
    assert not any(name.startswith("guardrail-") for name in ids("roles"))


def declared() -> dict[str, list[str]]:
    """Action -> its groups, as the schema's text has them; only actions that apply to something."""
    found = re.findall(r"^action ([\w, ]+)\s+in \[([^]]*)\]\s+appliesTo", SCHEMA_TEXT, re.MULTILINE)
    return {name: groups.split(", ") for names, groups in found for name in names.strip().split(", ")}


def test_the_schema_declares_every_action_and_no_other() -> None:
    assert set(declared()) == {action.value for action in Action}


def test_the_group_of_reading_is_what_is_named_as_reading() -> None:
    reading = {name for name, groups in declared().items() if "reading" in groups}
    assert reading == {action.value for action in Action if action.value.endswith(("_list", "_read"))}


def test_every_action_inside_an_organization_is_in_its_group() -> None:
    by_groups = {"jobs", "services", "files", "secrets", "tokens", "tenant"}
    inside = {name for name, groups in declared().items() if by_groups & set(groups)}
    outside = set(declared()) - inside
    operating = {name for name, groups in declared().items() if "operating" in groups}
    ours = {"allotting", "accessing"}
    allotted = {name for name, groups in declared().items() if ours & set(groups)}
    public = {"self_read", "site_list", "pool_list", "rate_list", "organization_read", "key_read"}
    assert outside - operating == public | (allotted - operating)
    assert not inside & allotted
    assert not inside & operating


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ("permit (principal, action, resource);", "has no @id"),
        ("@id permit (principal, action, resource);", "has no @id"),
        (PERMIT_ALL + PERMIT_ALL, "these name several: permit-all"),
        ('@id("x") permit (principal == ?principal, action, resource);', "template"),
        ('@id("x") permit (principal, action, resource', "cannot be read"),
        ('@id("x") forbid (principal, action, resource) when { resource.color == "red" };', "x: .*color"),
        ('@id("x") forbid (principal, action, resource) when { resource.owner == principal };', "x: .*owner"),
        ('@id("x") forbid (principal, action == Action::"job_raed", resource);', "x: .*job_raed"),
        ('@id("x") forbid (principal, action, resource is Jobs);', "x: .*Jobs"),
        ('@id("x") forbid (principal, action, resource) when { principal.token_scopes };', "x: "),
        ('@id("x") forbid (principal, action, resource) when { context.mfa };', "x: .*mfa"),
    ],
)
def test_a_policy_that_cannot_be_relied_on_is_refused(policy: str, complaint: str) -> None:
    with pytest.raises(PolicyInvalid, match=complaint):
        Guard.load(SCHEMA_TEXT, (*POLICY_TEXTS.values(), policy), PROVIDER)


def test_an_id_is_unique_across_texts() -> None:
    with pytest.raises(PolicyInvalid, match="permit-all"):
        Guard.load(SCHEMA_TEXT, (PERMIT_ALL, PERMIT_ALL), PROVIDER)


def test_a_text_cannot_reach_into_the_next() -> None:
    with pytest.raises(PolicyInvalid, match="policy text 1 cannot be read"):
        Guard.load(SCHEMA_TEXT, ('@id("x") permit (principal, action,', "resource);"), PROVIDER)


@pytest.mark.parametrize(
    ("part", "replacement", "complaint"),
    [
        ("entity Platform;", "entity Platform", "cannot be read"),
        ("  of_platform: Bool,\n", "", "schema's Actor"),
        ("  of_platform: Bool,\n", "  of_platform: Bool,\n  location: String,\n", "schema's Actor"),
        ("entity Job in [Project, Organization];", "entity Job in [Organization];", "schema's Job"),
        ("entity Token in [Organization] { owner: Actor };", "entity Token;", "schema's Token"),
        (
            "entity File in [Project, Organization];",
            "entity File in [Project] { size: Long };",
            "schema's File",
        ),
        ("action job_cancel in", "action job_stop in", "does not declare the actions job_cancel"),
    ],
)
def test_a_schema_that_does_not_fit_the_program_is_refused(
    part: str, replacement: str, complaint: str
) -> None:
    assert SCHEMA_TEXT.count(part) == 1
    with pytest.raises(PolicyInvalid, match=complaint):
        Guard.load(SCHEMA_TEXT.replace(part, replacement), (PERMIT_ALL,), PROVIDER)


def test_without_any_policy_nothing_is_allowed() -> None:
    guard = Guard.load(SCHEMA_TEXT, (), PROVIDER)
    decision = guard.decide(ACTOR, Action.JOB_READ, JOB)
    assert not decision.allowed
    assert decision.policies == ()
    assert decision.reason == "job_read on Job 'job_a' by 'usr_a' is permitted by no role"


def test_a_forbid_that_errs_denies_though_cedar_says_allow() -> None:
    # Valid by every type, and yet it overflows: what Cedar skips must not let a request through.
    errs = (
        '@id("errs") forbid (principal, action, resource) '
        "when { 9223372036854775807 + 1 > 0 && principal.of_platform };"
    )
    guard = Guard.load(SCHEMA_TEXT, (PERMIT_ALL, errs), PROVIDER)
    decision = guard.decide(ACTOR, Action.JOB_READ, JOB)
    assert not decision.allowed
    assert "overflow" in decision.reason
    assert decision.policies == ()

    request = {
        "principal": {"type": "Actor", "id": "a"},
        "action": {"type": "Action", "id": "b"},
        "resource": {"type": "Job", "id": "c"},
    }
    assert is_authorized(request, PERMIT_ALL + errs, "[]").allowed, "the trap that this test is about"


def test_a_decision_names_every_policy_that_decided() -> None:
    both = '@id("a") permit (principal, action, resource); @id("b") permit (principal, action, resource);'
    forbids = '@id("d") forbid (principal, action, resource); @id("c") forbid (principal, action, resource);'
    allowed = Guard.load(SCHEMA_TEXT, (both,), PROVIDER).decide(ACTOR, Action.JOB_READ, JOB)
    assert allowed.policies == ("a", "b")
    assert allowed.reason == "job_read on Job 'job_a' by 'usr_a' is permitted by a, b"
    denied = Guard.load(SCHEMA_TEXT, (both, forbids), PROVIDER).decide(ACTOR, Action.JOB_READ, JOB)
    assert denied.policies == ("c", "d")
    assert denied.reason == "job_read on Job 'job_a' by 'usr_a' is forbidden by c, d"
