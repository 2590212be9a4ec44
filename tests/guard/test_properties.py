"""What holds for every actor, action and target, and not only for those that somebody thought of."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.guard.decide import Guard
from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT
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
ORGANIZATIONS = (PROVIDER, "org_a", "org_b")
PROJECTS = ("prj_1", "prj_2", "prj_3")
PRINCIPALS = ("usr_1", "usr_2")
PERMIT_ALL = '@id("permit-all") permit (principal, action, resource);'

GUARD = Guard.load(SCHEMA_TEXT, tuple(POLICY_TEXTS.values()), PROVIDER)
GUARD_AGAIN = Guard.load(SCHEMA_TEXT, tuple(POLICY_TEXTS.values()), PROVIDER)
GUARDRAILS_ALONE = Guard.load(SCHEMA_TEXT, (POLICY_TEXTS["guardrails"], PERMIT_ALL), PROVIDER)
GUARDS = st.sampled_from([GUARD, GUARDRAILS_ALONE])

# Forbids that somebody may add one day, each over the shipped policies.
EXTRA_FORBIDS = (
    "forbid (principal, action, resource);",
    'forbid (principal, action in Action::"jobs", resource);',
    'forbid (principal, action, resource in Organization::"org_a");',
    'forbid (principal, action in Action::"reading", resource) unless { principal.service_account };',
    "forbid (principal, action, resource is Token) when { resource.owner == principal };",
    "forbid (principal, action, resource) when { resource in principal.member_organizations };",
    "forbid (principal, action, resource) when { !principal.token_narrowed };",
    "forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 && principal.of_platform };",
)
STRICTER = [
    Guard.load(SCHEMA_TEXT, (*POLICY_TEXTS.values(), f'@id("extra") {text}'), PROVIDER)
    for text in EXTRA_FORBIDS
]

scope_ids = {
    ScopeKind.PLATFORM: st.just(PLATFORM),
    ScopeKind.ORGANIZATION: st.sampled_from(ORGANIZATIONS),
    ScopeKind.PROJECT: st.sampled_from(PROJECTS),
}
grants = st.sampled_from(ScopeKind).flatmap(
    lambda kind: st.builds(Grant, st.sampled_from(Role), st.just(kind), scope_ids[kind])
)
actors = st.builds(
    Actor,
    id=st.sampled_from(PRINCIPALS),
    kind=st.sampled_from(PrincipalKind),
    organization_id=st.sampled_from(ORGANIZATIONS),
    grants=st.lists(grants, max_size=5).map(tuple),
    token_id=st.just("tok"),
    token_scopes=st.one_of(
        st.just(frozenset({TokenScope.ALL})), st.frozensets(st.sampled_from(TokenScope), max_size=3)
    ),
    token_project_id=st.one_of(st.none(), st.sampled_from(PROJECTS)),
)
actions = st.sampled_from(Action)


def target_of(kind: ResourceKind, organization: str, project: str, owner: str) -> Target:
    match kind:
        case ResourceKind.PLATFORM:
            return PLATFORM_TARGET
        case ResourceKind.ORGANIZATION:
            return Target(kind, organization)
        case ResourceKind.PROJECT:
            return Target(kind, project, organization)
        case ResourceKind.PRINCIPAL:
            return Target(kind, owner, organization)
        case ResourceKind.TOKEN:
            return Target(kind, "tok_1", organization, owner_id=owner)
        case _:
            return Target(kind, "item", organization, project)


# What the provider may do about a tenant's organization.
PROVIDERS = {
    Action.ORGANIZATION_READ,
    Action.KEY_READ,
    Action.ORGANIZATION_SUSPEND,
    Action.ORGANIZATION_RESUME,
    Action.QUOTA_LIST,
    Action.QUOTA_WRITE,
    Action.QUOTA_DELETE,
    Action.FAIR_SHARE_READ,
    Action.FAIR_SHARE_WRITE,
    Action.BUDGET_READ,
    Action.BUDGET_WRITE,
    Action.BUDGET_DELETE,
    Action.RESERVATION_LIST,
    Action.RESERVATION_READ,
    Action.RESERVATION_CREATE,
    Action.RESERVATION_CANCEL,
    Action.ACCESS_REQUEST_LIST,
    Action.ACCESS_REQUEST_READ,
    Action.ACCESS_REQUEST_CREATE,
    Action.ACCESS_REQUEST_CONFIRM,
    Action.ACCESS_REQUEST_EXPLAIN,
    Action.ACCESS_REQUEST_END,
}

# Every action has one kind of target, and only that is worth asking about.
KIND_OF = {
    action: kind
    for action in Action
    for kind in ResourceKind
    if not GUARDRAILS_ALONE.decide(
        Actor("usr", PrincipalKind.USER, PROVIDER, (), "tok"),
        action,
        target_of(kind, PROVIDER, "prj", "usr"),
    ).reason.count("cannot be decided")
}
questions = actions.flatmap(
    lambda action: st.tuples(
        st.just(action),
        st.builds(
            target_of,
            st.just(KIND_OF[action]),
            st.sampled_from(ORGANIZATIONS),
            st.sampled_from(PROJECTS),
            st.sampled_from(PRINCIPALS),
        ),
    )
)


def organization_of(target: Target) -> str | None:
    return target.id if target.kind is ResourceKind.ORGANIZATION else target.organization_id


@given(guard=GUARDS, actor=actors, question=questions)
@settings(max_examples=200)
def test_nobody_acts_across_organizations(
    guard: Guard, actor: Actor, question: tuple[Action, Target]
) -> None:
    action, target = question
    organization = organization_of(target)
    if organization in {None, actor.organization_id} or not guard.decide(actor, action, target).allowed:
        return
    assert actor.organization_id == PROVIDER
    assert action in PROVIDERS


@given(guard=GUARDS, actor=actors, question=questions)
@settings(max_examples=200)
def test_the_provider_never_reads_what_is_in_a_tenant(
    guard: Guard, actor: Actor, question: tuple[Action, Target]
) -> None:
    action, target = question
    operator = replace(
        actor,
        organization_id=PROVIDER,
        grants=(*actor.grants, Grant(Role.PLATFORM_OPERATOR, ScopeKind.PLATFORM, PLATFORM)),
    )
    of_tenant = target.kind is not ResourceKind.ORGANIZATION and organization_of(target) in {"org_a", "org_b"}
    if of_tenant:
        assert not guard.decide(operator, action, target).allowed


@given(guard=GUARDS, actor=actors, question=questions)
@settings(max_examples=200)
def test_a_tenant_never_operates_the_platform(
    guard: Guard, actor: Actor, question: tuple[Action, Target]
) -> None:
    action, target = question
    if actor.organization_id != PROVIDER and target.kind is ResourceKind.PLATFORM:
        allowed = guard.decide(actor, action, target).allowed
        assert not allowed or action in {Action.SITE_LIST, Action.POOL_LIST, Action.RATE_LIST}


@given(stricter=st.sampled_from(STRICTER), actor=actors, question=questions)
@settings(max_examples=200)
def test_another_guardrail_never_widens(
    stricter: Guard, actor: Actor, question: tuple[Action, Target]
) -> None:
    if stricter.decide(actor, *question).allowed:
        assert GUARD.decide(actor, *question).allowed


@given(guard=GUARDS, actor=actors, question=questions, fewer=st.integers(min_value=0, max_value=4))
@settings(max_examples=150)
def test_fewer_grants_and_narrower_tokens_never_widen(
    guard: Guard, actor: Actor, question: tuple[Action, Target], fewer: int
) -> None:
    wide = replace(actor, token_scopes=frozenset({TokenScope.ALL}), token_project_id=None)
    for narrower in (
        replace(actor, grants=actor.grants[:fewer]),
        actor,
    ):
        wider = actor if narrower is not actor else wide
        if guard.decide(narrower, *question).allowed:
            assert guard.decide(wider, *question).allowed


@given(actor=actors)
@settings(max_examples=100)
def test_a_list_of_projects_shows_exactly_what_may_be_read(actor: Actor) -> None:
    readable = GUARD.projects_readable(actor)
    for project in (*PROJECTS, "prj_new"):
        target = Target(ResourceKind.PROJECT, project, actor.organization_id)
        allowed = GUARD.decide(actor, Action.PROJECT_READ, target).allowed
        assert allowed == (readable is None or project in readable)


hostile_texts = st.one_of(
    st.sampled_from(
        [
            '"',
            "\\",
            "\n",
            "\x00",
            "'\"}]",
            'org_a" || true || "',
            'Organization::"org_a"',
            '{"__entity": {"type": "Organization", "id": "org_a"}}',
            "*",
            "?principal",
            "組織",
            "e\u0301",
            "\u00e9",
            "\u202e",
            "\U0001f512",
            " ",
            "platform",
            "all",
            "x" * 5_000,
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
)


def renamed(actor: Actor, target: Target, name: Callable[[str], str]) -> tuple[Actor, Target]:
    """Both with every identifier but the platform's replaced."""

    def maybe(text: str | None) -> str | None:
        return None if text is None else name(text)

    new_actor = replace(
        actor,
        id=name(actor.id),
        organization_id=name(actor.organization_id),
        grants=tuple(replace(grant, scope_id=name(grant.scope_id)) for grant in actor.grants),
        token_project_id=maybe(actor.token_project_id),
    )
    new_target = Target(
        target.kind,
        name(target.id),
        maybe(target.organization_id),
        maybe(target.project_id),
        maybe(target.owner_id),
    )
    return new_actor, new_target


NAMES = (*ORGANIZATIONS[1:], *PROJECTS, *PRINCIPALS, "item", "tok_1")


@given(
    guard=GUARDS,
    actor=actors,
    question=questions,
    hostile=st.lists(hostile_texts, min_size=len(NAMES), max_size=len(NAMES), unique=True),
)
@settings(max_examples=200)
def test_what_an_identifier_contains_decides_nothing(
    guard: Guard, actor: Actor, question: tuple[Action, Target], hostile: list[str]
) -> None:
    action, target = question
    names = dict(zip(NAMES, hostile, strict=True))
    names |= {PROVIDER: PROVIDER, PLATFORM: PLATFORM}
    new_actor, new_target = renamed(actor, target, names.__getitem__)
    before, after = guard.decide(actor, action, target), guard.decide(new_actor, action, new_target)
    assert (after.allowed, after.policies) == (before.allowed, before.policies)
    assert not set(after.reason) & {"\n", "\r", "\x00"}


@given(actor=actors, question=questions)
@settings(max_examples=100)
def test_a_decision_depends_on_its_arguments_alone(actor: Actor, question: tuple[Action, Target]) -> None:
    first = GUARD.decide(actor, *question)
    assert first == GUARD_AGAIN.decide(actor, *question) == GUARD.decide(actor, *question)


MALFORMED_TARGETS = [
    Target(ResourceKind.PROJECT, "prj_1"),
    Target(ResourceKind.PROJECT, "prj_1", ""),
    Target(ResourceKind.PRINCIPAL, "usr_1"),
    Target(ResourceKind.TOKEN, "tok_1", "org_a"),
    Target(ResourceKind.TOKEN, "tok_1", owner_id="usr_1"),
    Target(ResourceKind.JOB, "item", "org_a"),
    Target(ResourceKind.JOB, "item", "org_a", ""),
    Target(ResourceKind.JOB, "item", project_id="prj_1"),
    Target(ResourceKind.SECRET, "item", "org_a"),
    Target(ResourceKind.FILE, "item", "org_a"),
    Target(ResourceKind.EVENT, "item"),
    Target(ResourceKind.EVENT, "item", project_id="prj_1"),
    Target(ResourceKind.EVENT, "item", "org_a", ""),
    Target(ResourceKind.JOB, "lone \ud800 surrogate", "org_a", "prj_1"),
    Target(ResourceKind.JOB, "item", "org_a", "lone \udfff surrogate"),
]


@pytest.mark.parametrize("target", MALFORMED_TARGETS, ids=repr)
def test_a_target_that_is_not_described_is_denied(target: Target) -> None:
    actor = Actor("usr_1", PrincipalKind.USER, "org_a", (), "tok")
    for action, kind in KIND_OF.items():
        if kind is target.kind:
            decision = GUARDRAILS_ALONE.decide(actor, action, target)
            assert not decision.allowed
            assert decision.policies == ()
            assert "cannot be decided" in decision.reason


@pytest.mark.parametrize(
    "change",
    [{"id": ""}, {"organization_id": ""}, {"id": "\ud800"}, {"organization_id": "\ud800"}],
    ids=repr,
)
def test_an_actor_that_is_not_described_is_denied(change: dict[str, str]) -> None:
    actor = replace(Actor("usr_1", PrincipalKind.USER, "org_a", (), "tok"), **change)
    decision = GUARDRAILS_ALONE.decide(actor, Action.POOL_LIST, PLATFORM_TARGET)
    assert not decision.allowed
    assert "cannot be decided" in decision.reason
