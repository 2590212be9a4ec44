"""Guardrails hold whatever roles say: here a policy permits everything, and stray grants abound."""

from dataclasses import replace

import pytest

from kumoi.guard.decide import Guard
from kumoi.model.access import (
    PLATFORM,
    PLATFORM_TARGET,
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
EVERYBODYS = {Action.SITE_LIST, Action.POOL_LIST, Action.RATE_LIST}

OPERATOR = Actor("usr_operator", PrincipalKind.USER, PROVIDER, (), "tok")
TENANT = Actor("usr_a", PrincipalKind.USER, "org_a", (), "tok")
PROGRAM = Actor("sa_a", PrincipalKind.SERVICE_ACCOUNT, "org_a", (), "tok")
READER = replace(TENANT, token_scopes=frozenset({TokenScope.READ}))
NARROWED = replace(TENANT, token_project_id="prj_1")

ORG_A = Target(ResourceKind.ORGANIZATION, "org_a")
ORG_B = Target(ResourceKind.ORGANIZATION, "org_b")
ORG_PROVIDER = Target(ResourceKind.ORGANIZATION, PROVIDER)
PROJECT_1 = Target(ResourceKind.PROJECT, "prj_1", "org_a")
PROJECT_2 = Target(ResourceKind.PROJECT, "prj_2", "org_a")
JOB_A = Target(ResourceKind.JOB, "job_a", "org_a", "prj_1")
JOB_B = Target(ResourceKind.JOB, "job_b", "org_b", "prj_9")
EVENT_A = Target(ResourceKind.EVENT, "evt_a", "org_a", "prj_1")
EVENT_PROVIDER = Target(ResourceKind.EVENT, "evt_p", PROVIDER)
OWN_TOKEN = Target(ResourceKind.TOKEN, "tok_1", "org_a", owner_id="sa_a")
TOKEN_OF_ANOTHER = Target(ResourceKind.TOKEN, "tok_2", "org_a", owner_id="usr_a")
ITSELF = Target(ResourceKind.PRINCIPAL, "usr_a", "org_a")

BOUNDARY = "guardrail-organization-boundary"
PROVIDER_OFF = "guardrail-provider-off-tenant-content"
TENANT_OFF = "guardrail-tenant-off-platform"
STAYS_ACTIVE = "guardrail-platform-stays-active"
NEVER_ADMINISTERS = "guardrail-service-account-never-administers"
OWN_TOKENS_ONLY = "guardrail-service-account-own-tokens-only"
TOKEN_SCOPE = "guardrail-token-scope"
TOKEN_PROJECT = "guardrail-token-project"

# Who, what, to what: the guardrails that forbid it, all of them and no other.
CASES: list[tuple[Actor, Action, Target, set[str]]] = [
    (TENANT, Action.JOB_READ, JOB_A, set()),
    (TENANT, Action.JOB_READ, JOB_B, {BOUNDARY}),
    (TENANT, Action.ORGANIZATION_READ, ORG_A, set()),
    (TENANT, Action.ORGANIZATION_READ, ORG_B, {BOUNDARY}),
    (TENANT, Action.EVENT_READ, EVENT_PROVIDER, {BOUNDARY}),
    (OPERATOR, Action.ORGANIZATION_READ, ORG_A, set()),
    (OPERATOR, Action.ORGANIZATION_SUSPEND, ORG_A, set()),
    (OPERATOR, Action.ORGANIZATION_SUSPEND, ORG_PROVIDER, {STAYS_ACTIVE}),
    (OPERATOR, Action.ORGANIZATION_RESUME, ORG_PROVIDER, set()),
    (OPERATOR, Action.EVENT_READ, EVENT_PROVIDER, set()),
    (OPERATOR, Action.EVENT_READ, EVENT_A, {BOUNDARY, PROVIDER_OFF}),
    (OPERATOR, Action.JOB_READ, JOB_A, {BOUNDARY, PROVIDER_OFF}),
    (OPERATOR, Action.PRINCIPAL_LIST, ORG_A, {BOUNDARY, PROVIDER_OFF}),
    (OPERATOR, Action.ORGANIZATION_USAGE_READ, ORG_A, {BOUNDARY, PROVIDER_OFF}),
    (OPERATOR, Action.TOKEN_REVOKE, TOKEN_OF_ANOTHER, {BOUNDARY, PROVIDER_OFF}),
    (OPERATOR, Action.HOST_DRAIN, PLATFORM_TARGET, set()),
    (TENANT, Action.POOL_LIST, PLATFORM_TARGET, set()),
    (TENANT, Action.HOST_DRAIN, PLATFORM_TARGET, {TENANT_OFF}),
    (TENANT, Action.HOST_LIST, PLATFORM_TARGET, {TENANT_OFF}),
    (TENANT, Action.PLATFORM_EVENT_LIST, PLATFORM_TARGET, {TENANT_OFF}),
    (TENANT, Action.ORGANIZATION_RESUME, ORG_A, {TENANT_OFF}),
    (TENANT, Action.ORGANIZATION_SUSPEND, ORG_A, {TENANT_OFF, STAYS_ACTIVE}),
    (TENANT, Action.ORGANIZATION_SUSPEND, ORG_B, {TENANT_OFF, BOUNDARY}),
    (PROGRAM, Action.SECRET_WRITE, Target(ResourceKind.SECRET, "s", "org_a", "prj_1"), set()),
    (PROGRAM, Action.PROJECT_CREATE, ORG_A, {NEVER_ADMINISTERS}),
    (PROGRAM, Action.ROLE_BINDING_CREATE, ORG_A, {NEVER_ADMINISTERS}),
    (PROGRAM, Action.PRINCIPAL_DISABLE, ITSELF, {NEVER_ADMINISTERS}),
    (PROGRAM, Action.TOKEN_REVOKE, OWN_TOKEN, set()),
    (PROGRAM, Action.TOKEN_REVOKE, TOKEN_OF_ANOTHER, {OWN_TOKENS_ONLY}),
    (PROGRAM, Action.TOKEN_CREATE, ITSELF, {OWN_TOKENS_ONLY}),
    (PROGRAM, Action.TOKEN_LIST, ITSELF, set()),
    (READER, Action.JOB_LOG_READ, JOB_A, set()),
    (READER, Action.JOB_CANCEL, JOB_A, {TOKEN_SCOPE}),
    (READER, Action.TOKEN_CREATE, ITSELF, {TOKEN_SCOPE}),
    (replace(TENANT, token_scopes=frozenset()), Action.SELF_READ, ITSELF, {TOKEN_SCOPE}),
    (NARROWED, Action.JOB_READ, JOB_A, set()),
    (NARROWED, Action.JOB_CREATE, PROJECT_1, set()),
    (NARROWED, Action.EVENT_READ, EVENT_A, set()),
    (NARROWED, Action.SELF_READ, ITSELF, set()),
    (NARROWED, Action.JOB_CREATE, PROJECT_2, {TOKEN_PROJECT}),
    (NARROWED, Action.PROJECT_LIST, ORG_A, {TOKEN_PROJECT}),
    (NARROWED, Action.TOKEN_CREATE, ITSELF, {TOKEN_PROJECT}),
    (replace(TENANT, token_project_id=""), Action.JOB_READ, JOB_A, {TOKEN_PROJECT}),
]


@pytest.mark.parametrize(("actor", "action", "target", "expected"), CASES)
def test_only_guardrails_stop_who_may_do_everything(
    guardrails_alone: Guard, actor: Actor, action: Action, target: Target, expected: set[str]
) -> None:
    decision = guardrails_alone.decide(actor, action, target)
    assert decision.allowed == (not expected)
    assert set(decision.policies) == (expected or {"permit-all"})


STRAY_IN_A = (
    Grant(Role.ORGANIZATION_ADMIN, ScopeKind.ORGANIZATION, "org_a"),
    Grant(Role.AUDITOR, ScopeKind.ORGANIZATION, "org_a"),
    Grant(Role.MEMBER, ScopeKind.PROJECT, "prj_1"),
)


@pytest.mark.parametrize(
    ("action", "target"),
    [
        (Action.PROJECT_LIST, ORG_A),
        (Action.ORGANIZATION_EVENT_LIST, ORG_A),
        (Action.JOB_LOG_READ, JOB_A),
        (Action.FILE_READ, Target(ResourceKind.FILE, "f", "org_a", "prj_1")),
        (Action.SECRET_LIST, PROJECT_1),
        (Action.EVENT_READ, EVENT_A),
    ],
)
def test_an_operator_with_stray_grants_of_a_tenant_gets_nothing_of_it(
    guard: Guard, action: Action, target: Target
) -> None:
    operates = Grant(Role.PLATFORM_OPERATOR, ScopeKind.PLATFORM, PLATFORM)
    operator = replace(OPERATOR, grants=(operates, *STRAY_IN_A))
    assert guard.decide(replace(TENANT, grants=STRAY_IN_A), action, target).allowed
    decision = guard.decide(operator, action, target)
    assert not decision.allowed
    assert PROVIDER_OFF in decision.policies


@pytest.mark.parametrize("role", [Role.PLATFORM_OPERATOR, Role.AUDITOR])
def test_a_tenant_with_a_stray_grant_of_the_platform_gets_nothing_of_it(guard: Guard, role: Role) -> None:
    stray = replace(TENANT, grants=(Grant(role, ScopeKind.PLATFORM, PLATFORM),))
    for action in Action:
        for target in (PLATFORM_TARGET, ORG_A, ORG_B, ORG_PROVIDER, EVENT_PROVIDER, EVENT_A):
            allowed = guard.decide(stray, action, target).allowed
            assert allowed == (action in EVERYBODYS and target is PLATFORM_TARGET)


def test_a_stray_grant_in_another_organization_gives_nothing_there(guard: Guard) -> None:
    grants = (
        Grant(Role.ORGANIZATION_ADMIN, ScopeKind.ORGANIZATION, "org_b"),
        Grant(Role.MEMBER, ScopeKind.PROJECT, "prj_9"),
    )
    decision = guard.decide(replace(TENANT, grants=grants), Action.JOB_READ, JOB_B)
    assert decision.policies == (BOUNDARY,)


def test_a_project_role_lists_only_its_projects(guard: Guard) -> None:
    member = replace(
        TENANT,
        grants=(
            Grant(Role.MEMBER, ScopeKind.PROJECT, "prj_1"),
            Grant(Role.VIEWER, ScopeKind.PROJECT, "prj_2"),
            Grant(Role.AUDITOR, ScopeKind.PROJECT, "prj_3"),
        ),
    )
    assert guard.decide(member, Action.PROJECT_LIST, ORG_A).allowed
    assert guard.projects_readable(member) == {"prj_1", "prj_2"}
    assert guard.projects_readable(replace(member, token_project_id="prj_2")) == {"prj_2"}


def test_an_organization_role_lists_every_project(guard: Guard) -> None:
    viewer = replace(TENANT, grants=(Grant(Role.VIEWER, ScopeKind.ORGANIZATION, "org_a"),))
    assert guard.projects_readable(viewer) is None
    assert guard.projects_readable(replace(viewer, token_project_id="prj_2")) == {"prj_2"}
    assert guard.projects_readable(TENANT) == frozenset()
    assert guard.projects_readable(replace(viewer, token_scopes=frozenset())) == frozenset()
