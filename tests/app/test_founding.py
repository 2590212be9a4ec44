"""The first start of a region: all of it or nothing, once."""

import os
from pathlib import Path

import pytest
from plane_fixture import NOW_US, World

from kumoi.app.events import platform_event_list
from kumoi.app.founding import FoundedRegion, region_found
from kumoi.app.pools import pool_list
from kumoi.app.sites import site_list
from kumoi.core.tokens import token_format
from kumoi.model.access import Role, ScopeKind
from kumoi.model.errors import Conflict
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.keys.platform import PlatformKeys

PLATFORM_KEY = PlatformKeys({1: bytes(32)}).current


def found(store: Store, name: str, cell: int, now_us: int, token: str) -> FoundedRegion:
    return region_found(
        store, region_name=name, cell=cell, now_us=now_us, admin_token=token, platform_key=PLATFORM_KEY
    )


def test_a_region_is_founded_once(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'kumoi.db'}")
    token = token_format(os.urandom(32))
    first = found(store, "tokyo", 3, NOW_US, token)
    other = token_format(os.urandom(32))
    second = found(store, "tokyo", 3, NOW_US + 1, other)
    assert (first.founded, second.founded) == (True, False)
    assert first.incarnation == second.incarnation
    counts = [
        len(store.read_wait(lambda connection, t=table: connection.execute(t.select()).all()))
        for table in (
            schema.organizations,
            schema.organization_keys,
            schema.principals,
            schema.tokens,
            schema.sites,
            schema.pools,
        )
    ]
    assert counts == [1, 1, 1, 1, 1, 1]
    store.close()


@pytest.mark.parametrize(("name", "cell"), [("osaka", 3), ("tokyo", 4)])
def test_a_store_of_another_region_is_refused(tmp_path: Path, name: str, cell: int) -> None:
    store = Store(f"sqlite:///{tmp_path / 'kumoi.db'}")
    token = token_format(os.urandom(32))
    found(store, "tokyo", 3, NOW_US, token)
    with pytest.raises(Conflict) as refused:
        found(store, name, cell, NOW_US, token)
    assert refused.value.code == "region_differs"
    store.close()


def test_a_founding_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'kumoi.db'}")
    with pytest.raises(Exception, match="NOT NULL"):
        found(store, "tokyo", 3, NOW_US, "no token")
    rows = store.read_wait(lambda connection: connection.execute(schema.organizations.select()).all())
    assert rows == []
    store.close()


def test_the_founder_operates_the_platform(world: World) -> None:
    (grant,) = world.operator.grants
    assert (grant.role, grant.scope_kind) == (Role.PLATFORM_OPERATOR, ScopeKind.PLATFORM)
    (site,) = world.run(site_list(world.plane, world.operator, 10, None)).items
    (pool,) = world.run(pool_list(world.plane, world.operator, 10, None)).items
    assert (site.name, site.country) == ("site-1", "JP")
    assert (pool.name, pool.engine, pool.site) == ("default", "sandbox", site.id)
    assert pool.shared_by_organizations
    assert not pool.network_allowed


def test_every_part_of_the_founding_is_an_event(world: World) -> None:
    page = world.run(platform_event_list(world.plane, world.operator, 100, None))
    assert sorted(event.action for event in page.items) == [
        "organization_create",
        "pool_create",
        "principal_create",
        "region_found",
        "role_binding_create",
        "site_create",
        "token_create",
    ]
    assert {event.actor for event in page.items} == {"plane"}
    assert world.operator_token not in repr(page)
