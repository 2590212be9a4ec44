"""Refusals are counted, and alike for what is another organization's and for what does not exist."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from plane_fixture import Tenant, World

from kumoi.app import refusals as app_refusals
from kumoi.app.events import event_list, event_read
from kumoi.app.files import file_read, file_write
from kumoi.app.jobs import job_cancel, job_create, job_read
from kumoi.app.organizations import organization_create, organization_read, organization_suspend
from kumoi.app.principals import principal_create, principal_disable
from kumoi.app.projects import project_archive, project_read
from kumoi.app.refusals import MINUTE_US
from kumoi.app.role_bindings import role_binding_delete
from kumoi.app.secrets import secret_delete
from kumoi.app.tokens import token_create, token_revoke
from kumoi.app.usage import project_usage_read
from kumoi.model.access import Actor, OrganizationCreate, PrincipalCreate, Role, TokenCreate
from kumoi.model.errors import Forbidden, NotFound
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.errors import StoreBusy
from kumoi.store.ids import id_new

Attempt = Callable[[World, Actor, str], Coroutine[Any, Any, Any]]
ATTEMPTS: dict[str, tuple[str, Attempt]] = {
    "organization_read": ("organization", lambda w, a, n: organization_read(w.plane, a, n)),
    "organization_suspend": ("organization", lambda w, a, n: organization_suspend(w.plane, a, n, None)),
    "organization_event_list": ("organization", lambda w, a, n: event_list(w.plane, a, n, 10, None)),
    "principal_create": (
        "organization",
        lambda w, a, n: principal_create(w.plane, a, n, PrincipalCreate(name="x"), None),
    ),
    "principal_disable": ("principal", lambda w, a, n: principal_disable(w.plane, a, n, None)),
    "token_create": (
        "principal",
        lambda w, a, n: token_create(w.plane, a, TokenCreate(principal=n), None),
    ),
    "token_revoke": ("token", lambda w, a, n: token_revoke(w.plane, a, n, None)),
    "role_binding_delete": ("role_binding", lambda w, a, n: role_binding_delete(w.plane, a, n)),
    "project_read": ("project", lambda w, a, n: project_read(w.plane, a, n)),
    "project_archive": ("project", lambda w, a, n: project_archive(w.plane, a, n, None)),
    "project_usage_read": ("project", lambda w, a, n: project_usage_read(w.plane, a, n, None, None)),
    "job_create": ("project", lambda w, a, n: job_create(w.plane, a, n, JobSpec(command=("ls",)), None)),
    "file_read": ("project", lambda w, a, n: file_read(w.plane, a, n, "/not/a/path")),
    "file_write": ("project", lambda w, a, n: file_write(w.plane, a, n, "x", nothing())),
    "secret_delete": ("project", lambda w, a, n: secret_delete(w.plane, a, n, "x", "*")),
    "job_read": ("job", lambda w, a, n: job_read(w.plane, a, n)),
    "job_cancel": ("job", lambda w, a, n: job_cancel(w.plane, a, n, None)),
    "event_read": ("event", lambda w, a, n: event_read(w.plane, a, n)),
}
KINDS = {
    "principal": IdKind.USER,
    "token": IdKind.TOKEN,
    "role_binding": IdKind.ROLE_BINDING,
    "project": IdKind.PROJECT,
    "job": IdKind.JOB,
    "event": IdKind.EVENT,
}


async def nothing() -> Any:
    for part in ():
        yield part


def refusals(world: World) -> dict[tuple[str, str], int]:
    """(actor, action) -> how often it was refused, as the store has it."""
    rows = world.plane.store.read_wait(lambda connection: connection.execute(schema.refusals.select()).all())
    return {(row.actor_id, row.action): row.refused for row in rows}


def belongings(world: World, tenant: Tenant) -> dict[str, str]:
    """Something of each kind that is the tenant's."""
    project, principal = tenant.project("apollo"), tenant.principal("ann")
    job = world.write(job_create(world.plane, tenant.admin, project, JobSpec(command=("ls",)), None))
    return {
        "organization": tenant.name,
        "project": project,
        "principal": principal,
        "role_binding": tenant.bind(principal, Role.VIEWER),
        "token": tenant.admin.token_id,
        "job": job["id"],
        "event": world.run(event_list(world.plane, tenant.admin, tenant.name, 1, None)).items[0].id,
    }


@pytest.mark.parametrize("action", ATTEMPTS)
def test_what_does_not_exist_is_refused_as_what_is_somebody_elses(
    world: World, acme: Tenant, rival: Tenant, action: str
) -> None:
    kind, attempt = ATTEMPTS[action]
    foreign = belongings(world, acme)[kind]
    unknown = id_new(KINDS[kind]) if kind in KINDS else "nobody"
    for count, name in enumerate((foreign, unknown), start=1):
        with pytest.raises(NotFound) as refused:
            world.run(attempt(world, rival.admin, name))
        assert (refused.value.code, refused.value.params) == ("not_found", {"name": name})
        assert refusals(world) == {(rival.admin.id, action): count}


def test_operators_are_not_counted_when_they_mistype_what_they_may_read(world: World) -> None:
    with pytest.raises(NotFound):
        world.run(organization_read(world.plane, world.operator, "nobody"))
    assert refusals(world) == {}


def refuse(world: World, actor: Actor, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Forbidden):
            world.run(organization_create(world.plane, actor, OrganizationCreate(name="x"), None))


def test_refusals_are_written_in_doublings_and_the_rest_when_asked(world: World, acme: Tenant) -> None:
    key = acme.admin.id, "organization_create"
    for times, written in ((1, 1), (1, 2), (1, 2), (6, 8), (11, 16)):
        refuse(world, acme.admin, times)
        assert refusals(world) == {key: written}
    world.run(world.plane.refusals.flush(world.clock_us // MINUTE_US * MINUTE_US))
    assert refusals(world) == {key: 16}
    for _ in range(2):
        world.run(world.plane.refusals.flush())
        assert refusals(world) == {key: 20}
    refuse(world, acme.admin, 3)
    world.run(world.plane.refusals.flush())
    assert refusals(world) == {key: 23}


def test_the_rest_of_a_minute_is_written_when_it_is_over(world: World, acme: Tenant) -> None:
    world.clock_us = (world.clock_us // MINUTE_US + 1) * MINUTE_US - 50_000
    refuse(world, acme.admin, 7)

    async def minute_over() -> None:
        async with asyncio.timeout(10):
            while refusals(world) != {(acme.admin.id, "organization_create"): 7}:
                await asyncio.sleep(0.01)

    world.run(minute_over())


def test_a_store_that_is_away_costs_no_answer_and_no_refusal(
    world: World, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreBusy("away")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "transact", away)
        refuse(world, acme.admin, 5)
    assert refusals(world) == {}
    world.run(world.plane.refusals.flush())
    assert refusals(world) == {(acme.admin.id, "organization_create"): 5}


def test_counts_take_a_bounded_room_and_lose_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_refusals, "COUNTS_MAX", 3)
    counted = world.plane.refusals
    organization = world.plane.region.platform_organization_id
    for n in range(10):
        for _ in range(3):
            world.run(counted.count(f"usr-{n}", organization, "job_read", world.clock_us))
        assert len(counted._counts) <= 3
    world.run(counted.flush())
    assert refusals(world) == {(f"usr-{n}", "job_read"): 3 for n in range(10)}
