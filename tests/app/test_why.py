"""Why a job waits: what its owner may know, and nothing of others."""

import msgspec
from place_rows import attempts_add, host_add
from plane_fixture import Tenant, World

from kumoi.app.jobs import job_create
from kumoi.app.pools import pool_create
from kumoi.app.sites import site_list
from kumoi.app.why import job_why
from kumoi.model.ids import IdKind
from kumoi.model.jobs import HostRefusal, JobSpec, JobWhy, Resources
from kumoi.model.places import PoolCreate
from kumoi.store import schema
from kumoi.store.database import Connection
from kumoi.store.ids import ids_new

NOT_AVAILABLE = "not available to this organization"


def pool_add(world: World, *, shared: bool) -> str:
    """A pool of the fake engine, whose hosts organizations share or not."""
    site = world.run(site_list(world.plane, world.operator, 1, None)).items[0].id
    body = PoolCreate(name="other", site=site, engine="fake", shared_by_organizations=shared)
    return str(world.write(pool_create(world.plane, world.operator, body, None))["id"])


def why(world: World, tenant: Tenant, spec: JobSpec) -> JobWhy:
    """What the owner of a job is told once its tasks wait."""
    project = tenant.project("waiting")
    job = world.write(job_create(world.plane, tenant.admin, project, spec, None))["id"]

    def queue(connection: Connection) -> None:
        jobs = schema.jobs
        pool_id = connection.execute(jobs.select().where(jobs.c.id == job)).one().pool_id
        connection.execute(jobs.update().where(jobs.c.id == job).values(state="queued"))
        rows = [
            {
                "id": task_id,
                "job_id": job,
                "ordinal": n,
                "organization_id": tenant.id,
                "pool_id": pool_id,
                "priority": 0,
                "not_before_us": 0,
            }
            for n, task_id in enumerate(ids_new(IdKind.TASK, spec.array_size))
        ]
        connection.execute(schema.tasks.insert(), rows)

    world.plane.store.transact_wait(None, queue)
    return world.run(job_why(world.plane, tenant.admin, job))


def test_hosts_of_other_pools_are_not_counted(world: World, acme: Tenant) -> None:
    host_add(world, "own")
    host_add(world, "elsewhere", pool=pool_add(world, shared=True))
    large = JobSpec(command=("ls",), resources=Resources(cpu_milli=9_000))
    assert why(world, acme, large).refusals == (HostRefusal("not enough CPU free", 1),)


def test_nobody_learns_that_another_organization_holds_a_host(
    world: World, acme: Tenant, rival: Tenant
) -> None:
    pool = pool_add(world, shared=False)
    attempts_add(world, rival, host_add(world, "held", pool=pool), "running")
    dedicated = host_add(world, "dedicated", pool=pool)

    def dedicate(connection: Connection) -> None:
        hosts = schema.hosts
        connection.execute(hosts.update().where(hosts.c.id == dedicated).values(dedicated_to=rival.id))

    world.plane.store.transact_wait(None, dedicate)
    told = why(world, acme, JobSpec(command=("ls",), pool="other"))
    assert told.refusals == (HostRefusal(NOT_AVAILABLE, 2),)
    said = msgspec.json.encode(told).decode()
    assert "another" not in said
    assert "dedicated" not in said


def test_a_gang_is_looked_at_as_a_whole(world: World, acme: Tenant) -> None:
    host_add(world, "one")
    resources = Resources(cpu_milli=3_000)
    fitting = why(world, acme, JobSpec(command=("ls",), gang=True, array_size=2, resources=resources))
    assert (fitting.refusals, fitting.explanation) == ((), "its next task is about to be placed")


def test_a_gang_that_does_not_fit_together_says_so(world: World, acme: Tenant) -> None:
    host_add(world, "one")
    resources = Resources(cpu_milli=3_000)
    told = why(world, acme, JobSpec(command=("ls",), gang=True, array_size=3, resources=resources))
    assert told.refusals == (HostRefusal("not enough CPU free", 1),)
    assert told.explanation == "the hosts do not take its gang together now: 1 not enough CPU free"
