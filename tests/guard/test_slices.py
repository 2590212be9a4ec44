"""A guard that evaluates slices decides as one that evaluates every policy, word for word."""

import json
from itertools import product

from cedarpy import PolicySet, policies_to_json_str
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.guard.decide import Guard
from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT
from kumoi.model.access import (
    PLATFORM,
    AccessGrant,
    AccessSet,
    Action,
    Actor,
    Grant,
    PrincipalKind,
    ResourceKind,
    Role,
    ScopeKind,
    Target,
    TokenScope,
)

PROVIDER = "org_provider"
# Every form that a scope can have, conditions that err, and both for actions that have little in common.
STRANGE = """
@id("in-list") permit (principal, action in [Action::"jobs", Action::"pool_list"], resource);
@id("one-action") forbid (principal, action == Action::"job_cancel", resource)
when { principal.service_account };
@id("one-actor") permit (principal == Actor::"usr_1", action in Action::"reading", resource);
@id("typed") permit (principal is Actor in Role::"viewer", action, resource);
@id("errs-for-members") forbid (principal in Role::"member", action in Action::"tenant", resource)
when { 9223372036854775807 + 1 > 0 && principal.token_narrowed };
@id("errs-for-readers") permit (principal, action in Action::"reading", resource)
when { 9223372036854775807 * 2 > 0 && principal.of_platform };
@id("resource-in") forbid (principal in Role::"auditor", action, resource in Project::"prj_1");
"""
TEXTS = {
    "shipped": tuple(POLICY_TEXTS.values()),
    "strange": (POLICY_TEXTS["guardrails"], STRANGE),
    "all": (*POLICY_TEXTS.values(), STRANGE),
}


def pair(texts: tuple[str, ...]) -> tuple[Guard, Guard]:
    """The guard, and one that evaluates every policy as it was written."""
    sliced, whole = (Guard.load(SCHEMA_TEXT, texts, PROVIDER) for _ in range(2))
    everything = PolicySet.from_str("\n".join(texts))
    whole._slices.of = lambda roles, action: everything  # type: ignore[method-assign]
    return sliced, whole


PAIRS = {name: pair(texts) for name, texts in TEXTS.items()}
GRANTS = [
    Grant(role, kind, scope)
    for role in Role
    for kind, scope in (
        (ScopeKind.PLATFORM, PLATFORM),
        (ScopeKind.ORGANIZATION, "org_a"),
        (ScopeKind.PROJECT, "prj_1"),
    )
]
ACCESS = AccessGrant("acc_1", "org_a", ResourceKind.PROJECT, "prj_1", frozenset(AccessSet))


def target_of(kind: ResourceKind, organization: str, project: str, owner: str) -> Target:
    ids = {
        ResourceKind.PLATFORM: PLATFORM,
        ResourceKind.ORGANIZATION: organization,
        ResourceKind.PROJECT: project,
        ResourceKind.PRINCIPAL: owner,
    }
    return Target(kind, ids.get(kind, "item"), organization, project, owner)


def kinds_of(action: Action) -> list[ResourceKind]:
    """What `action` is about; about anything else it cannot be decided."""
    nobody = Actor("usr_1", PrincipalKind.USER, PROVIDER, (), "tok")
    return [
        kind
        for kind in ResourceKind
        if "cannot be decided"
        not in PAIRS["shipped"][1].decide(nobody, action, target_of(kind, PROVIDER, "prj_1", "usr_1")).reason
    ]


KINDS = {action: kinds_of(action) for action in Action}


def test_every_action_of_every_role_is_decided_alike() -> None:
    sliced, whole = PAIRS["shipped"]
    permitted = set()
    holdings = [(), *(tuple(one for one in GRANTS if one.role is role) for role in Role), tuple(GRANTS)]
    for grants, of, action in product(holdings, ("org_a", PROVIDER), Action):
        actor = Actor("usr_1", PrincipalKind.USER, of, grants, "tok")
        for kind, organization in product(KINDS[action], ("org_a", PROVIDER)):
            target = target_of(kind, organization, "prj_1", "usr_1")
            decision = sliced.decide(actor, action, target)
            assert decision == whole.decide(actor, action, target)
            permitted |= {action} if decision.allowed else set()
    assert permitted == set(Action), "or what is permitted to nobody was compared only as it is denied"


actors = st.builds(
    Actor,
    id=st.sampled_from(["usr_1", "usr_2"]),
    kind=st.sampled_from(PrincipalKind),
    organization_id=st.sampled_from(["org_a", PROVIDER]),
    grants=st.lists(st.sampled_from(GRANTS), max_size=4).map(tuple),
    token_id=st.just("tok"),
    token_scopes=st.sampled_from([frozenset({scope}) for scope in TokenScope]),
    token_project_id=st.sampled_from([None, "prj_1", "prj_2"]),
)
questions = st.sampled_from(Action).flatmap(
    lambda action: st.tuples(
        st.just(action),
        st.builds(
            target_of,
            st.sampled_from([*KINDS[action], *ResourceKind]),
            st.sampled_from(["org_a", PROVIDER]),
            st.sampled_from(["prj_1", "prj_2", ""]),
            st.sampled_from(["usr_1", "usr_2"]),
        ),
        st.sampled_from([None, ACCESS]),
    )
)


@given(name=st.sampled_from(sorted(PAIRS)), actor=actors, question=questions)
@settings(max_examples=400)
def test_every_question_is_decided_alike(
    name: str, actor: Actor, question: tuple[Action, Target, AccessGrant | None]
) -> None:
    sliced, whole = PAIRS[name]
    assert sliced.decide(actor, *question) == whole.decide(actor, *question)


def slice_of(texts: tuple[str, ...], roles: set[Role], action: Action) -> set[str]:
    """The `@id`s of the policies in a slice."""
    slices = Guard.load(SCHEMA_TEXT, texts, PROVIDER)._slices
    parsed = json.loads(policies_to_json_str(str(slices.of(roles, action))))
    return {policy["annotations"]["id"] for policy in parsed["staticPolicies"].values()}


def test_a_slice_holds_what_can_apply_and_little_else() -> None:
    guardrails = {"organization-boundary", "access-is-for-operators", "token-scope", "token-project"}
    everybodys = {f"guardrail-{name}" for name in guardrails}
    assert slice_of(TEXTS["shipped"], {Role.MEMBER}, Action.JOB_READ) == everybodys | {
        "guardrail-provider-off-tenant-content",
        "member-works-in-projects",
    }
    assert slice_of(TEXTS["shipped"], set(), Action.POOL_LIST) == everybodys | {
        "everyone-lists-sites-pools-and-rates"
    }


def test_what_may_apply_stays_in() -> None:
    always = {"one-actor", "typed", "resource-in"}
    texts = (STRANGE,)
    assert slice_of(texts, {Role.AUDITOR}, Action.JOB_READ) == always | {"in-list", "errs-for-readers"}
    assert slice_of(texts, {Role.AUDITOR, Role.MEMBER}, Action.JOB_CANCEL) == always - {"one-actor"} | {
        "in-list",
        "one-action",
        "errs-for-members",
    }
