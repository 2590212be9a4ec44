"""A retry is answered as the request was, whatever changed since; only who may not ask gets nothing."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from plane_fixture import Tenant, World, key_of

from kumoi.app.jobs import job_batch_create, job_create
from kumoi.app.pools import pool_create
from kumoi.app.principals import principal_disable
from kumoi.app.projects import project_archive
from kumoi.app.sites import site_list
from kumoi.app.tokens import token_create
from kumoi.model.access import TokenCreate
from kumoi.model.errors import Conflict, Invalid, NotFound
from kumoi.model.idempotency import Written
from kumoi.model.jobs import JobBatch, JobSpec
from kumoi.model.places import PoolCreate

SPEC = JobSpec(command=("ls",))
Create = Callable[[Any], Coroutine[Any, Any, Written]]


def assert_kept(world: World, create: Create, refusal: type[Exception], change: Callable[[], None]) -> None:
    """After `change` a new request is refused, and the old one answered as before, it alone."""
    first = world.run(create(b"\1" * 32))
    change()
    with pytest.raises(refusal):
        world.run(create(None))
    again = world.run(create(b"\1" * 32))
    assert (again.status, again.replayed) == (first.status, True)
    with pytest.raises(Conflict) as reused:
        world.run(create(b"\2" * 32))
    assert reused.value.code == "idempotency_key_reused"


@pytest.mark.parametrize("batch", [False, True])
def test_jobs_of_a_project_that_was_archived(world: World, acme: Tenant, rival: Tenant, batch: bool) -> None:
    project = acme.project("apollo")

    def create(digest: bytes | None) -> Coroutine[Any, Any, Written]:
        key = None if digest is None else key_of(acme.admin, "k", digest)
        if batch:
            return job_batch_create(world.plane, acme.admin, project, JobBatch(jobs=(SPEC,)), key)
        return job_create(world.plane, acme.admin, project, SPEC, key)

    def archive() -> None:
        world.write(project_archive(world.plane, acme.admin, project, None))

    assert_kept(world, create, Conflict, archive)
    with pytest.raises(NotFound):
        world.run(job_create(world.plane, rival.admin, project, SPEC, key_of(acme.admin, "k", b"\1" * 32)))


def test_tokens_of_a_principal_that_was_disabled(world: World, acme: Tenant) -> None:
    ann = acme.principal("ann")

    def create(digest: bytes | None) -> Coroutine[Any, Any, Written]:
        key = None if digest is None else key_of(acme.admin, "k", digest)
        return token_create(world.plane, acme.admin, TokenCreate(principal=ann), key)

    def disable() -> None:
        world.write(principal_disable(world.plane, acme.admin, ann, None))

    assert_kept(world, create, Conflict, disable)


def test_pools_of_an_engine_that_is_gone(world: World) -> None:
    site = world.run(site_list(world.plane, world.operator, 1, None)).items[0].id

    def create(digest: bytes | None) -> Coroutine[Any, Any, Written]:
        key = None if digest is None else key_of(world.operator, "k", digest)
        return pool_create(world.plane, world.operator, PoolCreate(name="p", site=site, engine="fake"), key)

    def remove() -> None:
        world.plane.engines = {}

    assert_kept(world, create, Invalid, remove)
