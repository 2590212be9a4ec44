"""API tokens: shown once, narrowed, ended at once, and never anybody else's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from plane_fixture import Tenant, World, key_of
from store_pages import store_bytes

from kumoi.app.events import event_list
from kumoi.app.principals import principal_disable
from kumoi.app.tokens import token_create, token_list, token_revoke
from kumoi.guard.decide import Guard
from kumoi.model.access import TOKEN_EXPIRES_S_MAX, Decision, Role, TokenCreate, TokenScope
from kumoi.model.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from kumoi.model.time import US_PER_S, time_format


def test_a_token_is_shown_once_and_kept_as_a_hash(world: World, acme: Tenant, tmp_path: Path) -> None:
    key = key_of(acme.admin, "k")
    made = world.write(token_create(world.plane, acme.admin, TokenCreate(name="ci"), key))
    secret = made["secret"]
    assert world.actor(secret).id == acme.admin.id
    replay = world.run(token_create(world.plane, acme.admin, TokenCreate(name="ci"), key))
    assert json.loads(replay.body) == made | {"secret": None}
    world.log_append()
    kept = store_bytes(tmp_path)
    assert made["token"]["id"].encode() in kept
    assert secret.encode() not in kept
    page = world.run(token_list(world.plane, acme.admin, None, 10, None))
    assert secret not in repr(page)
    assert [token.name for token in page.items] == ["founding", "ci"]


def test_a_token_expires(world: World, acme: Tenant) -> None:
    made = world.write(token_create(world.plane, acme.admin, TokenCreate(expires_s=60), None))
    assert world.actor(made["secret"]).id == acme.admin.id
    world.clock_us += 60 * US_PER_S
    with pytest.raises(Unauthenticated):
        world.actor(made["secret"])


def test_a_token_does_not_outlast_the_one_it_is_made_with(world: World, acme: Tenant) -> None:
    short = world.write(token_create(world.plane, acme.admin, TokenCreate(expires_s=3_600), None))
    ends_at, actor = short["token"]["expires_at"], world.actor(short["secret"])
    world.clock_us += 60 * US_PER_S
    for body in (TokenCreate(), TokenCreate(expires_s=TOKEN_EXPIRES_S_MAX, principal=acme.principal("ann"))):
        made = world.write(token_create(world.plane, actor, body, None))
        assert made["token"]["expires_at"] == ends_at
        event = world.run(event_list(world.plane, acme.admin, "acme", 1, None)).items[0]
        assert event.detail["expires_at"] == ends_at
    shorter = world.write(token_create(world.plane, actor, TokenCreate(expires_s=60), None))
    assert shorter["token"]["expires_at"] == time_format(world.clock_us + 60 * US_PER_S)
    world.write(token_revoke(world.plane, acme.admin, actor.token_id, None))
    with pytest.raises(Unauthenticated):
        world.run(token_create(world.plane, actor, TokenCreate(), None))


def test_a_token_of_the_longest_term_renews_itself(world: World, acme: Tenant) -> None:
    world.clock_us += (TOKEN_EXPIRES_S_MAX - 60) * US_PER_S
    body = TokenCreate(expires_s=TOKEN_EXPIRES_S_MAX)
    made = world.write(token_create(world.plane, acme.admin, body, None))
    world.clock_us += 120 * US_PER_S
    with pytest.raises(Unauthenticated):
        world.actor(acme.admin_token)
    assert world.actor(made["secret"]).id == acme.admin.id


def test_a_revoked_token_ends_at_once(world: World, acme: Tenant) -> None:
    made = world.write(token_create(world.plane, acme.admin, TokenCreate(), None))
    token_id, key = made["token"]["id"], key_of(acme.admin, "revoke")
    world.actor(made["secret"])
    revoked = world.write(token_revoke(world.plane, acme.admin, token_id, key))
    assert revoked["state"] == "revoked"
    with pytest.raises(Unauthenticated):
        world.actor(made["secret"])
    assert world.run(token_revoke(world.plane, acme.admin, token_id, key)).replayed
    with pytest.raises(Conflict) as refused:
        world.run(token_revoke(world.plane, acme.admin, token_id, None))
    assert refused.value.code == "token_revoked"


def test_scopes_and_project_narrow_the_actor(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    body = TokenCreate(scopes=(TokenScope.READ, TokenScope.JOBS, TokenScope.READ), project=project)
    made = world.write(token_create(world.plane, acme.admin, body, None))
    assert made["token"]["scopes"] == ["jobs", "read"]
    actor = world.actor(made["secret"])
    assert actor.token_scopes == {TokenScope.READ, TokenScope.JOBS}
    assert actor.token_project_id == project


def test_a_narrow_token_makes_no_tokens(world: World, acme: Tenant) -> None:
    narrow = acme.actor("ann", Role.MEMBER, scopes=(TokenScope.JOBS,))
    with pytest.raises((Forbidden, NotFound)):
        world.run(token_create(world.plane, narrow, TokenCreate(), None))


def test_scopes_only_narrow_even_if_the_policy_let_them(
    world: World, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = acme.project("apollo")
    narrow = replace(acme.admin, token_scopes=frozenset({TokenScope.READ}), token_project_id=project)
    zeus = acme.project("zeus")
    monkeypatch.setattr(Guard, "decide", lambda *_: Decision(True, (), "a careless policy"))
    for body, code in (
        (TokenCreate(project=project), "scopes_too_wide"),
        (TokenCreate(scopes=(TokenScope.READ, TokenScope.JOBS), project=project), "scopes_too_wide"),
        (TokenCreate(scopes=(TokenScope.READ,)), "project_too_wide"),
        (TokenCreate(scopes=(TokenScope.READ,), project=zeus), "project_too_wide"),
    ):
        with pytest.raises(Invalid) as refused:
            world.run(token_create(world.plane, narrow, body, None))
        assert refused.value.code == code


def test_administrators_make_tokens_for_their_own_people(world: World, acme: Tenant, rival: Tenant) -> None:
    ann = acme.principal("ann")
    made = world.write(token_create(world.plane, acme.admin, TokenCreate(principal=ann), None))
    assert world.actor(made["secret"]).id == ann
    assert made["token"]["principal"] == ann
    listed = world.run(token_list(world.plane, acme.admin, ann, 10, None))
    assert [token.id for token in listed.items] == [made["token"]["id"]]
    for stranger in (rival.admin, world.operator):
        with pytest.raises(NotFound):
            world.run(token_create(world.plane, stranger, TokenCreate(principal=ann), None))
        with pytest.raises(NotFound):
            world.run(token_list(world.plane, stranger, ann, 10, None))
        with pytest.raises(NotFound) as refused:
            world.run(token_revoke(world.plane, stranger, made["token"]["id"], None))
        assert refused.value.params == {"name": made["token"]["id"]}


def test_members_keep_to_their_own_tokens(world: World, acme: Tenant) -> None:
    ann = acme.actor("ann", Role.MEMBER)
    own = world.write(token_create(world.plane, ann, TokenCreate(name="own"), None))
    assert world.write(token_revoke(world.plane, ann, own["token"]["id"], None))["state"] == "revoked"
    for attempt in (
        token_create(world.plane, ann, TokenCreate(principal=acme.admin.id), None),
        token_list(world.plane, ann, acme.admin.id, 10, None),
        token_revoke(world.plane, ann, acme.admin.token_id, None),
    ):
        with pytest.raises(NotFound):
            world.run(attempt)


def test_service_accounts_renew_their_own_tokens_only(world: World, acme: Tenant) -> None:
    bot = acme.actor("bot", Role.SERVICE_ACCOUNT)
    assert world.write(token_create(world.plane, bot, TokenCreate(), None))["token"]["principal"] == bot.id
    with pytest.raises(NotFound):
        world.run(token_create(world.plane, bot, TokenCreate(principal=acme.admin.id), None))


def test_no_token_for_the_disabled_or_for_projects_of_others(
    world: World, acme: Tenant, rival: Tenant
) -> None:
    ann = acme.principal("ann")
    world.write(principal_disable(world.plane, acme.admin, ann, None))
    with pytest.raises(Conflict) as refused:
        world.run(token_create(world.plane, acme.admin, TokenCreate(principal=ann), None))
    assert refused.value.code == "principal_disabled"
    body = TokenCreate(project=rival.project("apollo"))
    with pytest.raises(Invalid) as invalid:
        world.run(token_create(world.plane, acme.admin, body, None))
    assert invalid.value.code == "project_unknown"


def test_events_of_tokens_tell_who_and_what_but_no_secret(world: World, acme: Tenant) -> None:
    made = world.write(token_create(world.plane, acme.admin, TokenCreate(name="ci"), None))
    event = world.run(event_list(world.plane, acme.admin, "acme", 1, None)).items[0]
    assert (event.action, event.actor, event.resource) == ("token_create", acme.admin.id, made["token"]["id"])
    assert event.detail == {
        "expires_at": made["token"]["expires_at"],
        "name": "ci",
        "principal": acme.admin.id,
        "scopes": ["all"],
    }
