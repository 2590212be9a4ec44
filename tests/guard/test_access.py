"""What a tenant's grant lets an operator do: its sets, on its resource and below, and nothing else."""

from itertools import product

import pytest

from kumoi.guard.decide import Guard
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

PROVIDER, TENANT, STRANGER = "org_provider", "org_a", "org_b"
# By hand: which actions each set has, each with the kind of resource that it is about.
SETS: dict[AccessSet, dict[Action, ResourceKind]] = {
    AccessSet.INSPECT: {
        Action.PROJECT_LIST: ResourceKind.ORGANIZATION,
        Action.ORGANIZATION_USAGE_READ: ResourceKind.ORGANIZATION,
        Action.PROJECT_READ: ResourceKind.PROJECT,
        Action.PROJECT_USAGE_READ: ResourceKind.PROJECT,
        Action.JOB_LIST: ResourceKind.PROJECT,
        Action.JOB_READ: ResourceKind.JOB,
        Action.SERVICE_LIST: ResourceKind.PROJECT,
        Action.SERVICE_READ: ResourceKind.SERVICE,
        Action.FILE_LIST: ResourceKind.PROJECT,
        Action.SECRET_LIST: ResourceKind.PROJECT,
    },
    AccessSet.LOGS: {Action.JOB_LOG_READ: ResourceKind.JOB},
    AccessSet.FILES: {Action.FILE_READ: ResourceKind.FILE},
    AccessSet.EVENTS: {
        Action.ORGANIZATION_EVENT_LIST: ResourceKind.ORGANIZATION,
        Action.EVENT_READ: ResourceKind.EVENT,
    },
    AccessSet.STOP: {Action.JOB_CANCEL: ResourceKind.JOB},
}
GRANTED = {action: (given, kind) for given, actions in SETS.items() for action, kind in actions.items()}
OPERATOR = Actor(
    "usr_o",
    PrincipalKind.USER,
    PROVIDER,
    (Grant(Role.PLATFORM_OPERATOR, ScopeKind.PLATFORM, PLATFORM),),
    "tok_o",
)


def target(kind: ResourceKind, organization: str = TENANT, number: int = 1) -> Target:
    """A resource in an organization's project `number`; a project or organization is that itself."""
    project = f"{organization}/{number}"
    own = {ResourceKind.ORGANIZATION: organization, ResourceKind.PROJECT: project}
    return Target(kind, own.get(kind, f"{project}/{kind}"), organization, project, "usr_x")


def grant(of: Target, *sets: AccessSet) -> AccessGrant:
    return AccessGrant("acc_1", TENANT, of.kind, of.id, frozenset(sets))


def below(resource: Target, asked: Target) -> bool:
    """Whether `asked` is the resource of a grant or lies below it."""
    if resource.kind == ResourceKind.ORGANIZATION:
        return asked.organization_id == resource.id
    if resource.kind == ResourceKind.PROJECT:
        return asked.project_id == resource.id and asked.kind != ResourceKind.ORGANIZATION
    return (asked.kind, asked.id) == (resource.kind, resource.id)


@pytest.mark.parametrize("action", list(Action))
def test_a_grant_gives_its_sets_on_its_resource_and_nothing_else(guard: Guard, action: Action) -> None:
    given, kind = GRANTED.get(action, (None, None))
    kinds = [kind] if kind is not None else [kind for kind in ResourceKind if kind != ResourceKind.PLATFORM]
    resources = [
        target(one, number=number)
        for one in (
            ResourceKind.ORGANIZATION,
            ResourceKind.PROJECT,
            ResourceKind.JOB,
            ResourceKind.SERVICE,
        )
        for number in (1, 2)
    ]
    for resource, one_set in product(resources, AccessSet):
        for asked in (target(one, organization) for one in kinds for organization in (TENANT, STRANGER)):
            without = guard.decide(OPERATOR, action, asked).allowed
            allowed = guard.decide(OPERATOR, action, asked, grant(resource, one_set)).allowed
            expected = one_set == given and below(resource, asked)
            assert allowed == (without or expected), (resource, one_set, asked)
            assert not (without and given), "what tenants grant is no operator's without"


def test_a_grant_is_of_no_use_to_others(guard: Guard) -> None:
    everything = grant(target(ResourceKind.ORGANIZATION), *AccessSet)
    auditor = (Grant(Role.AUDITOR, ScopeKind.PLATFORM, PLATFORM),)
    for organization, grants in ((STRANGER, OPERATOR.grants), (PROVIDER, auditor), (PROVIDER, ())):
        actor = Actor("usr_x", PrincipalKind.USER, organization, grants, "tok_x")
        for action, (_, kind) in GRANTED.items():
            assert not guard.decide(actor, action, target(kind), everything).allowed


def test_a_token_of_less_than_all_limits_a_grant_too(guard: Guard) -> None:
    everything = grant(target(ResourceKind.ORGANIZATION), *AccessSet)
    reader = Actor(
        "usr_o", PrincipalKind.USER, PROVIDER, OPERATOR.grants, "tok_r", frozenset({TokenScope.READ})
    )
    for action, (_, kind) in GRANTED.items():
        allowed = guard.decide(reader, action, target(kind), everything).allowed
        assert allowed == (action != Action.JOB_CANCEL)


@pytest.mark.parametrize("kind", [ResourceKind.PLATFORM, ResourceKind.SECRET, ResourceKind.TOKEN])
def test_no_access_is_granted_to_other_kinds(guard: Guard, kind: ResourceKind) -> None:
    wrong = AccessGrant("acc_1", TENANT, kind, "x", frozenset(AccessSet))
    decision = guard.decide(OPERATOR, Action.JOB_LOG_READ, target(ResourceKind.JOB), wrong)
    assert not decision.allowed
    assert "cannot be decided" in decision.reason
