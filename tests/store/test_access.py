"""Who a token works for, and the counts of refusals."""

from typing import Any

import pytest
from region_rows import RegionRows
from sqlalchemy import update

from kumoi.core.tokens import token_format, token_hash
from kumoi.model.access import Grant, Role, ScopeKind, TokenScope
from kumoi.model.ids import IdKind
from kumoi.store import schema
from kumoi.store.access import (
    actor_of_token,
    platform_organization_id,
    project_number_next,
    refusal_add,
    token_holder_find,
)
from kumoi.store.database import Store
from kumoi.store.ids import id_new
from kumoi.store.writer import Change

T0_US = 1_700_000_000_000_000
EXPIRES_US = T0_US + 1_000_000
HASH = token_hash(token_format(bytes(32))) or b""


@pytest.fixture
def token(store: Store, region: RegionRows) -> str:
    """A token of the user of organization `one`, who has one role."""
    token_id = id_new(IdKind.TOKEN)
    row = {
        "id": token_id,
        "organization_id": region.organizations["one"],
        "principal_id": region.users["one"],
        "project_id": region.projects["one"],
        "name": "ci",
        "hash": HASH,
        "scopes": "files,jobs",
        "created_us": T0_US,
        "expires_us": EXPIRES_US,
    }
    binding = {
        "id": id_new(IdKind.ROLE_BINDING),
        "organization_id": region.organizations["one"],
        "principal_id": region.users["one"],
        "role": "member",
        "scope_kind": "project",
        "scope_id": region.projects["one"],
        "created_us": T0_US,
    }
    store.commit_wait(Change([(schema.tokens, [row]), (schema.role_bindings, [binding])]))
    return token_id


def test_a_holder_is_what_token_principal_and_roles_say(store: Store, region: RegionRows, token: str) -> None:
    holder = store.read_wait(token_holder_find, HASH)
    assert holder is not None
    actor = holder.actor
    assert holder.expires_us == EXPIRES_US
    assert (actor.id, actor.organization_id) == (region.users["one"], region.organizations["one"])
    assert actor.grants == (Grant(Role.MEMBER, ScopeKind.PROJECT, region.projects["one"]),)
    assert (actor.token_id, actor.token_scopes) == (token, {TokenScope.FILES, TokenScope.JOBS})
    assert actor.token_project_id == region.projects["one"]
    assert store.read_wait(token_holder_find, bytes(32)) is None


@pytest.mark.parametrize(
    ("table", "state"),
    [
        (schema.tokens, "revoked"),
        (schema.principals, "disabled"),
        (schema.organizations, "suspended"),
    ],
)
def test_whatever_ends_ends_the_token(
    store: Store, region: RegionRows, token: str, table: Any, state: str
) -> None:
    assert store.read_wait(actor_of_token, token, T0_US) is not None
    store.transact_wait(None, lambda connection: connection.execute(update(table).values(state=state)))
    assert store.read_wait(token_holder_find, HASH) is None
    assert store.read_wait(actor_of_token, token, T0_US) is None


def test_an_expired_token_works_for_nobody(store: Store, region: RegionRows, token: str) -> None:
    assert store.read_wait(actor_of_token, token, EXPIRES_US - 1) is not None
    assert store.read_wait(actor_of_token, token, EXPIRES_US) is None
    assert store.read_wait(actor_of_token, "tok_absent", T0_US) is None


def test_refusals_add_up(store: Store, region: RegionRows) -> None:
    one = region.organizations["one"]
    for count, minute in ((1, 0), (2, 0), (1, 60)):
        store.transact_wait(None, refusal_add, region.users["one"], one, "job_create", minute, count)
    rows = store.read_wait(lambda connection: connection.execute(schema.refusals.select()).all())
    assert sorted((row.minute_us, row.refused) for row in rows) == [(0, 3), (60, 1)]


def test_the_platform_and_the_next_project(store: Store, region: RegionRows) -> None:
    assert store.read_wait(platform_organization_id) == region.platform
    assert store.read_wait(project_number_next) == len(region.projects) + 1


def test_before_the_founding_there_is_no_platform(store: Store) -> None:
    assert store.read_wait(platform_organization_id) is None
    assert store.read_wait(project_number_next) == 1
