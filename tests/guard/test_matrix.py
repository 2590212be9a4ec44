"""Who may do what, written by hand: every action, every role, every place.

The tables say what the guard must answer. Nothing in them is computed from the policies.
"""

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
TENANT = "org_a"
STRANGER = "org_b"

# O  platform operator              P  auditor of the platform        (both of the provider's organization)
# A  organization admin             U  auditor of the organization
# M  member of the organization     m  member of its first project
# V  viewer of the organization     v  viewer of its first project
# S  service account, organization  s  service account, first project
# N  no role at all
#
# self    the actor itself or its own token
# here    the actor's organization, or its first project and what is in that
# beside  the second project of the actor's organization, and what is in that
# abroad  another organization, or what is in that
# global  the platform
#
# A dot: nobody may. A dash: there is no such target.
MATRIX = """
action                   target        self         here        beside  abroad  global
self_read                Principal     OPAUMmVvSsN  .           -       .       -

organization_list        Platform      -            -           -       -       OP
organization_create      Platform      -            -           -       -       O
organization_read        Organization  -            OPAU        -       OP      -
organization_suspend     Organization  -            .           -       O       -
organization_resume      Organization  -            O           -       O       -

principal_list           Organization  -            OAU         -       .       -
principal_create         Organization  -            OA          -       .       -
principal_disable        Principal     OA           OA          -       .       -
principal_enable         Principal     OA           OA          -       .       -

role_binding_list        Organization  -            OAU         -       .       -
role_binding_create      Organization  -            OA          -       .       -
role_binding_delete      Organization  -            OA          -       .       -

project_list             Organization  -            AUMmVvSs    -       .       -
project_create           Organization  -            A           -       .       -
project_read             Project       -            AUMmVvSs    AUMVS   .       -
project_archive          Project       -            A           A       .       -
project_restore          Project       -            A           A       .       -

token_list               Principal     OPAUMmVvSsN  OAU         -       .       -
token_create             Principal     OPAUMmVvSsN  OA          -       .       -
token_revoke             Token         OPAUMmVvSsN  OA          -       .       -

site_list                Platform      -            -           -       -       OPAUMmVvSsN
site_create              Platform      -            -           -       -       O
pool_list                Platform      -            -           -       -       OPAUMmVvSsN
pool_create              Platform      -            -           -       -       O
pool_pause               Platform      -            -           -       -       O
pool_resume              Platform      -            -           -       -       O
pool_autoscale_read      Platform      -            -           -       -       OP
pool_autoscale_write     Platform      -            -           -       -       O
pool_autoscale_delete    Platform      -            -           -       -       O
machine_list             Platform      -            -           -       -       OP
machine_read             Platform      -            -           -       -       OP
host_list                Platform      -            -           -       -       OP
host_read                Platform      -            -           -       -       OP
host_drain               Platform      -            -           -       -       O
host_resume              Platform      -            -           -       -       O
host_dedicate            Platform      -            -           -       -       O
host_declare_lost        Platform      -            -           -       -       O

capacity_read            Platform      -            -           -       -       OP
capacity_plan_list       Platform      -            -           -       -       OP
capacity_plan_create     Platform      -            -           -       -       O
capacity_plan_delete     Platform      -            -           -       -       O
device_model_list        Platform      -            -           -       -       OP
device_model_write       Platform      -            -           -       -       O
plan_list                Platform      -            -           -       -       OP
plan_read                Platform      -            -           -       -       OP

quota_list               Organization  -            OPAU        -       OP      -
quota_write              Organization  -            O           -       O       -
quota_delete             Organization  -            O           -       O       -
fair_share_read          Organization  -            OPAU        -       OP      -
fair_share_write         Organization  -            O           -       O       -
rate_list                Platform      -            -           -       -       OPAUMmVvSsN
rate_write               Platform      -            -           -       -       O
budget_read              Organization  -            OPAU        -       OP      -
budget_write             Organization  -            O           -       O       -
budget_delete            Organization  -            O           -       O       -
reservation_list         Organization  -            OPAUMmVvSs  -       OP      -
reservation_read         Organization  -            OPAUMmVvSs  -       OP      -
reservation_create       Organization  -            O           -       O       -
reservation_cancel       Organization  -            O           -       O       -

job_list                 Project       -            AUMmVvSs    AUMVS   .       -
job_create               Project       -            AMmSs       AMS     .       -
job_read                 Job           -            AUMmVvSs    AUMVS   .       -
job_cancel               Job           -            AMmSs       AMS     .       -
job_log_read             Job           -            AMmVvSs     AMVS    .       -

service_list             Project       -            AUMmVvSs    AUMVS   .       -
service_create           Project       -            AMmSs       AMS     .       -
service_read             Service       -            AUMmVvSs    AUMVS   .       -
service_update           Service       -            AMmSs       AMS     .       -
service_delete           Service       -            AMmSs       AMS     .       -

secret_list              Project       -            AMmVvSs     AMVS    .       -
secret_write             Secret        -            AMm         AM      .       -
secret_delete            Secret        -            AMm         AM      .       -

file_list                Project       -            AMmVvSs     AMVS    .       -
file_read                File          -            AMmVvSs     AMVS    .       -
file_write               File          -            AMmSs       AMS     .       -
file_delete              File          -            AMmSs       AMS     .       -

project_usage_read       Project       -            AUMmVv      AUMV    .       -
organization_usage_read  Organization  -            AU          -       .       -
platform_usage_read      Platform      -            -           -       -       OP

notice_list              Organization  -            OPAU        -       .       -
key_read                 Organization  -            OPAU        -       OP      -
key_attach               Organization  -            A           -       .       -
key_withdraw             Organization  -            A           -       .       -
key_restore              Organization  -            A           -       .       -
key_rotate               Organization  -            OA          -       .       -
platform_key_read        Platform      -            -           -       -       OP
platform_key_rotate      Platform      -            -           -       -       O

notice_target_list       Organization  -            OPAU        -       .       -
notice_target_create     Organization  -            OA          -       .       -
notice_target_delete     Organization  -            OA          -       .       -
notice_target_test       Organization  -            OA          -       .       -

organization_event_list  Organization  -            AU          -       .       -
platform_event_list      Platform      -            -           -       -       OP
event_read               Event         -            OPAU        -       .       -

access_request_list      Organization  -            OPAU        -       OP      -
access_request_read      Organization  -            OPAU        -       OP      -
access_request_create    Organization  -            O           -       O       -
access_request_confirm   Organization  -            O           -       O       -
access_request_explain   Organization  -            O           -       O       -
access_request_end       Organization  -            O           -       O       -
access_request_approve   Organization  -            A           -       .       -
access_request_deny      Organization  -            A           -       .       -
access_request_revoke    Organization  -            A           -       .       -
access_use_list          Organization  -            AU          -       .       -
access_key_list          Organization  -            AU          -       .       -
access_key_create        Organization  -            A           -       .       -
access_key_retire        Organization  -            A           -       .       -
access_rule_list         Organization  -            AU          -       .       -
access_rule_create       Organization  -            A           -       .       -
access_rule_revoke       Organization  -            A           -       .       -
"""

# What a service account never does, whatever its roles say.
ADMINISTERING = {
    "organization_create",
    "organization_suspend",
    "organization_resume",
    "principal_create",
    "principal_disable",
    "principal_enable",
    "role_binding_create",
    "role_binding_delete",
    "notice_target_create",
    "notice_target_delete",
    "notice_target_test",
    "key_attach",
    "key_withdraw",
    "key_restore",
    "key_rotate",
    "platform_key_rotate",
    "project_create",
    "project_archive",
    "project_restore",
    "access_request_create",
    "access_request_confirm",
    "access_request_approve",
    "access_request_deny",
    "access_request_revoke",
    "access_key_create",
    "access_key_retire",
    "access_rule_create",
    "access_rule_revoke",
}
# What a token that is narrowed to a project still reaches outside it.
NARROWED_REACHES = {"self_read", "pool_list", "site_list"}

GRANTS: dict[str, tuple[Grant, ...]] = {
    "O": (Grant(Role.PLATFORM_OPERATOR, ScopeKind.PLATFORM, PLATFORM),),
    "P": (Grant(Role.AUDITOR, ScopeKind.PLATFORM, PLATFORM),),
    "A": (Grant(Role.ORGANIZATION_ADMIN, ScopeKind.ORGANIZATION, TENANT),),
    "U": (Grant(Role.AUDITOR, ScopeKind.ORGANIZATION, TENANT),),
    "M": (Grant(Role.MEMBER, ScopeKind.ORGANIZATION, TENANT),),
    "m": (Grant(Role.MEMBER, ScopeKind.PROJECT, f"{TENANT}/1"),),
    "V": (Grant(Role.VIEWER, ScopeKind.ORGANIZATION, TENANT),),
    "v": (Grant(Role.VIEWER, ScopeKind.PROJECT, f"{TENANT}/1"),),
    "S": (Grant(Role.SERVICE_ACCOUNT, ScopeKind.ORGANIZATION, TENANT),),
    "s": (Grant(Role.SERVICE_ACCOUNT, ScopeKind.PROJECT, f"{TENANT}/1"),),
    "N": (),
}
OF_PROVIDER = "OP"
PLACES = ("self", "here", "beside", "abroad", "global")


def matrix_rows() -> dict[str, tuple[str, dict[str, str]]]:
    """Action -> (kind of target, place -> letters), of the places that there are."""
    rows = {}
    for line in MATRIX.strip().splitlines()[1:]:
        if line:
            action, kind, *cells = line.split()
            assert len(cells) == len(PLACES), line
            assert action not in rows, f"{action} has two rows"
            cells_by_place = {place: cell for place, cell in zip(PLACES, cells, strict=True) if cell != "-"}
            rows[action] = kind, {place: cell.strip(".") for place, cell in cells_by_place.items()}
    return rows


ROWS = matrix_rows()
ACTIONS = pytest.mark.parametrize("action", list(Action))


def actor_of(letter: str, kind: PrincipalKind | None = None) -> Actor:
    """The actor of the letter; S and s are service accounts, unless `kind` says what everybody is."""
    natural = PrincipalKind.SERVICE_ACCOUNT if letter in "Ss" else PrincipalKind.USER
    organization = PROVIDER if letter in OF_PROVIDER else TENANT
    return Actor(f"principal_{letter}", kind or natural, organization, GRANTS[letter], f"token_{letter}")


def target_at(kind: ResourceKind, place: str, actor: Actor) -> Target:
    """What stands at `place`, seen by the actor."""
    if place == "global":
        return PLATFORM_TARGET
    organization = STRANGER if place == "abroad" else actor.organization_id
    project = f"{organization}/2" if place == "beside" else f"{organization}/1"
    owner = actor.id if place == "self" else "principal_other"
    match kind:
        case ResourceKind.ORGANIZATION:
            return Target(kind, organization)
        case ResourceKind.PROJECT:
            return Target(kind, project, organization)
        case ResourceKind.PRINCIPAL:
            return Target(kind, owner, organization)
        case ResourceKind.TOKEN:
            return Target(kind, "token_of_somebody", organization, owner_id=owner)
        case ResourceKind.EVENT:
            return Target(kind, "event", organization)
        case _:
            return Target(kind, "item", organization, project)


def letters_allowed(guard: Guard, action: Action, place: str, actors: dict[str, Actor]) -> str:
    """The letters of the actors that the guard allows `action` at `place`, in the order of the legend."""
    kind = ResourceKind(ROWS[action][0])
    return "".join(
        letter
        for letter, actor in actors.items()
        if guard.decide(actor, action, target_at(kind, place, actor)).allowed
    )


def test_the_matrix_has_every_action() -> None:
    assert set(ROWS) == {action.value for action in Action}


@ACTIONS
def test_roles_have_exactly_the_actions_of_the_matrix(guard: Guard, action: Action) -> None:
    actors = {letter: actor_of(letter) for letter in GRANTS}
    # Everybody is a person here but S and s, whose roles hold nothing that a service account may not do.
    _, expected = ROWS[action]
    assert {place: letters_allowed(guard, action, place, actors) for place in expected} == expected


@ACTIONS
def test_a_service_account_has_its_roles_but_never_administers(guard: Guard, action: Action) -> None:
    actors = {letter: actor_of(letter, PrincipalKind.SERVICE_ACCOUNT) for letter in GRANTS}
    _, expected = ROWS[action]
    for place, letters in expected.items():
        of_others = action in {"token_create", "token_revoke"} and place != "self"
        wanted = "" if action in ADMINISTERING or of_others else letters
        assert letters_allowed(guard, action, place, actors) == wanted, place


@ACTIONS
def test_a_target_of_the_wrong_kind_is_never_acted_on(guard: Guard, action: Action) -> None:
    for letter in "OA":
        actor = actor_of(letter)
        for kind in set(ResourceKind) - {ResourceKind(ROWS[action][0])}:
            place = "global" if kind is ResourceKind.PLATFORM else "self"
            decision = guard.decide(actor, action, target_at(kind, place, actor))
            assert not decision.allowed
            assert "cannot be decided" in decision.reason


SCOPE_ACTIONS = {
    TokenScope.READ: {action.value for action in Action if action.value.endswith(("_list", "_read"))},
    TokenScope.JOBS: {
        "self_read",
        "project_list",
        "project_read",
        "pool_list",
        "site_list",
        "job_list",
        "job_create",
        "job_read",
        "job_cancel",
        "job_log_read",
    },
    TokenScope.SERVICES: {
        "self_read",
        "project_list",
        "project_read",
        "pool_list",
        "site_list",
        "service_list",
        "service_create",
        "service_read",
        "service_update",
        "service_delete",
    },
    TokenScope.FILES: {
        "self_read",
        "project_list",
        "project_read",
        "file_list",
        "file_read",
        "file_write",
        "file_delete",
    },
    TokenScope.ALL: {action.value for action in Action},
}


@pytest.mark.parametrize(
    "scopes",
    [
        set(),
        *({scope} for scope in TokenScope),
        {TokenScope.JOBS, TokenScope.FILES},
        {TokenScope.READ, TokenScope.FILES},
        {TokenScope.READ, TokenScope.ALL},
    ],
    ids=lambda scopes: "+".join(sorted(scopes)) or "none",
)
def test_a_token_allows_what_its_scopes_and_the_roles_both_allow(
    guard: Guard, scopes: set[TokenScope]
) -> None:
    actors = {letter: replace(actor_of(letter), token_scopes=frozenset(scopes)) for letter in GRANTS}
    for action in Action:
        in_scope = any(action in SCOPE_ACTIONS[scope] for scope in scopes)
        for place, letters in ROWS[action][1].items():
            wanted = letters if in_scope else ""
            assert letters_allowed(guard, action, place, actors) == wanted, (action, place)


@ACTIONS
def test_a_narrowed_token_reaches_its_project_only(guard: Guard, action: Action) -> None:
    actors = {
        letter: replace(actor, token_project_id=f"{actor.organization_id}/1")
        for letter, actor in ((letter, actor_of(letter)) for letter in GRANTS)
    }
    kind, expected = ROWS[action]
    in_project = kind in {"Project", "Job", "Service", "Secret", "File"}
    for place, letters in expected.items():
        reached = action in NARROWED_REACHES or (in_project and place == "here")
        assert letters_allowed(guard, action, place, actors) == (letters if reached else ""), place


@ACTIONS
def test_a_token_narrowed_to_a_project_without_a_role_in_it_gains_nothing(
    guard: Guard, action: Action
) -> None:
    actors = {letter: replace(actor_of(letter), token_project_id=f"{TENANT}/2") for letter in "mvs"}
    kind, expected = ROWS[action]
    if kind in {"Project", "Job", "Service", "Secret", "File"}:
        assert letters_allowed(guard, action, "here", actors) == ""
        assert letters_allowed(guard, action, "beside", actors) == ""
    else:
        for place in expected:
            wanted = "mvs" if action in NARROWED_REACHES and place in {"self", "global"} else ""
            assert letters_allowed(guard, action, place, actors) == wanted


WRONG_SCOPES = [
    (Role.PLATFORM_OPERATOR, ScopeKind.ORGANIZATION),
    (Role.PLATFORM_OPERATOR, ScopeKind.PROJECT),
    (Role.ORGANIZATION_ADMIN, ScopeKind.PLATFORM),
    (Role.ORGANIZATION_ADMIN, ScopeKind.PROJECT),
    (Role.MEMBER, ScopeKind.PLATFORM),
    (Role.VIEWER, ScopeKind.PLATFORM),
    (Role.AUDITOR, ScopeKind.PROJECT),
    (Role.SERVICE_ACCOUNT, ScopeKind.PLATFORM),
]


@pytest.mark.parametrize(("role", "scope_kind"), WRONG_SCOPES)
@pytest.mark.parametrize("organization", [PROVIDER, TENANT])
def test_a_role_bound_to_the_wrong_kind_of_scope_grants_nothing(
    guard: Guard, role: Role, scope_kind: ScopeKind, organization: str
) -> None:
    scope_ids = (PLATFORM, organization, f"{organization}/1")
    grants = tuple(Grant(role, scope_kind, scope_id) for scope_id in scope_ids)
    nobody = replace(actor_of("N"), organization_id=organization)
    actors = {"N": replace(nobody, grants=grants)}
    for action, (_, places) in ROWS.items():
        for place, letters in places.items():
            wanted = "N" if "N" in letters else ""
            assert letters_allowed(guard, Action(action), place, actors) == wanted, (action, place)


@pytest.mark.parametrize("role", [Role.PLATFORM_OPERATOR, Role.AUDITOR])
def test_a_platform_role_counts_for_the_platform_only(guard: Guard, role: Role) -> None:
    elsewhere = replace(actor_of("O"), grants=(Grant(role, ScopeKind.PLATFORM, "another platform"),))
    for action, (_, places) in ROWS.items():
        for place, letters in places.items():
            wanted = "N" if "N" in letters else ""
            assert letters_allowed(guard, Action(action), place, {"N": elsewhere}) == wanted, (action, place)


def test_one_actor_has_the_sum_of_its_roles(guard: Guard) -> None:
    grants = (*GRANTS["v"], Grant(Role.MEMBER, ScopeKind.PROJECT, f"{TENANT}/2"))
    actor = replace(actor_of("v"), grants=grants)
    here = target_at(ResourceKind.PROJECT, "here", actor)
    beside = target_at(ResourceKind.PROJECT, "beside", actor)
    assert guard.decide(actor, Action.JOB_LIST, here).allowed
    assert not guard.decide(actor, Action.JOB_CREATE, here).allowed
    assert guard.decide(actor, Action.JOB_CREATE, beside).allowed
