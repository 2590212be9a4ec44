"""What a plane remembers of tokens and places, and when it forgets."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from plane_fixture import Tenant, World

from kumoi.app.plane import HOLDER_TTL_S
from kumoi.app.projects import project_archive
from kumoi.app.tokens import token_create, token_revoke
from kumoi.model.access import TokenCreate
from kumoi.model.errors import Unauthenticated
from kumoi.model.time import US_PER_S
from kumoi.store import schema
from kumoi.store.database import Connection, Store


def asked_across(
    world: World, monkeypatch: pytest.MonkeyPatch, ask: Awaitable[Any], change: Awaitable[Any]
) -> Any:
    """The answer of `ask`, whose look-up saw the store before `change` and came back after it."""
    answer, seen, released = Store.read, asyncio.Event(), asyncio.Event()

    async def read(self: Store, query: Callable[..., Any], *args: Any) -> Any:
        found = await answer(self, query, *args)
        seen.set()
        await released.wait()
        return found

    async def work() -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read", read)
            asked = asyncio.ensure_future(ask)
            await seen.wait()
        await change
        released.set()
        return await asked

    return world.run(work())


def test_a_look_up_under_way_does_not_bring_a_revoked_token_back(
    world: World, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.write(token_create(world.plane, acme.admin, TokenCreate(), None))
    revoke = token_revoke(world.plane, acme.admin, made["token"]["id"], None)
    asked_across(world, monkeypatch, world.plane.authenticate(made["secret"]), revoke)
    with pytest.raises(Unauthenticated):
        world.actor(made["secret"])


def test_a_look_up_under_way_does_not_bring_an_old_place_back(
    world: World, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = acme.project("apollo")
    world.plane.access_changed()
    archive = project_archive(world.plane, acme.admin, project, None)
    asked_across(world, monkeypatch, world.plane.directory.project(project), archive)
    place = world.run(world.plane.directory.project(project))
    assert place is not None
    assert place.state == "archived"


def test_what_another_plane_revoked_ends_with_the_memory_of_it_whatever_the_clock_says(
    world: World, acme: Tenant
) -> None:
    made = world.write(token_create(world.plane, acme.admin, TokenCreate(), None))
    passed_s = 0.0
    world.plane.monotonic_s = lambda: passed_s
    world.actor(made["secret"])

    def revoke(connection: Connection) -> None:
        tokens = schema.tokens
        which = tokens.c.id == made["token"]["id"]
        connection.execute(tokens.update().where(which).values(state="revoked"))

    world.plane.store.transact_wait(None, revoke)
    world.clock_us -= 3_600 * US_PER_S
    assert world.actor(made["secret"]).id == acme.admin.id
    passed_s = HOLDER_TTL_S + 0.1
    with pytest.raises(Unauthenticated):
        world.actor(made["secret"])
