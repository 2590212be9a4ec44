"""Why a job waits: what its owner may know, and nothing of others."""

from typing import Any

import msgspec
from place_rows import attempts_add, host_add
from plan_rows import plan_decide
from plane_fixture import Tenant, World

from kumoi.app.jobs import job_create
from kumoi.app.pools import pool_create
from kumoi.app.sites import site_list
from kumoi.app.why import job_why
from kumoi.model.ids import IdKind
from kumoi.model.jobs import DeviceRequest, GangScope, HostRefusal, JobSpec, JobWhy, PlacementRules, Resources
from kumoi.model.places import IsolationClass, PoolCreate
from kumoi.store import schema
from kumoi.store.database import Connection
from kumoi.store.ids import ids_new
from kumoi.store.placement import plan_apply


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
    attempts_add(world, acme, host_add(world, "own"), "running")
    host_add(world, "elsewhere", pool=pool_add(world, shared=True))
    large = JobSpec(command=("ls",), resources=Resources(cpu_milli=8_000))
    assert why(world, acme, large).refusals == (HostRefusal("no_cpu", 1),)


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
    assert told.refusals == (HostRefusal("not_available", 2),)
    said = msgspec.json.encode(told).decode()
    assert "another" not in said
    assert "dedicated" not in said


def test_a_gang_is_looked_at_as_a_whole(world: World, acme: Tenant) -> None:
    host_add(world, "one")
    resources = Resources(cpu_milli=3_000)
    fitting = why(world, acme, JobSpec(command=("ls",), gang=True, array_size=2, resources=resources))
    assert (fitting.refusals, fitting.code) == ((), "placing")


def test_a_gang_that_does_not_fit_together_says_so(world: World, acme: Tenant) -> None:
    attempts_add(world, acme, host_add(world, "one"), "running", "placed")
    resources = Resources(cpu_milli=3_000)
    told = why(world, acme, JobSpec(command=("ls",), gang=True, array_size=2, resources=resources))
    assert told.refusals == (HostRefusal("no_cpu", 1),)
    assert told.code == "gang_refused"


def test_a_gang_that_would_fit_apart_says_so(world: World, acme: Tenant) -> None:
    for name in ("one", "two"):
        attempts_add(world, acme, host_add(world, name), "running", "placed")
    spec = JobSpec(
        command=("ls",),
        gang=True,
        array_size=2,
        resources=Resources(cpu_milli=3_000),
        rules=PlacementRules(gang_within=GangScope.HOST),
    )
    told = why(world, acme, spec)
    assert (told.refusals, told.code) == (
        (),
        "gang_apart",
    )


def test_a_job_that_is_alone_is_told_nothing_of_whom_it_would_meet(
    world: World, acme: Tenant, rival: Tenant
) -> None:
    attempts_add(world, rival, host_add(world, "held", pool=pool_add(world, shared=True)), "running")
    rules = PlacementRules(isolation=IsolationClass.HOST)
    told = why(world, acme, JobSpec(command=("ls",), pool="other", rules=rules))
    assert told.refusals == (HostRefusal("not_available", 1),)
    assert told.code == "refused"


def test_a_task_is_told_what_each_host_lacks(world: World, acme: Tenant) -> None:
    attempts_add(world, acme, host_add(world, "full"), *["running"] * 5)
    wide = host_add(world, "wide")
    attempts_add(world, acme, host_add(world, "drained", state="draining"), "running")
    gone = {"health": "unhealthy"}
    change(world, schema.devices, "host_id", wide, **gone)
    spec = JobSpec(command=("ls",), resources=Resources(cpu_milli=1_000, devices=(DeviceRequest("gpu"),)))
    told = why(world, acme, spec)
    assert told.refusals == (
        HostRefusal("no_cpu", 1),
        HostRefusal("no_device", 1),
    )


def test_hosts_that_take_no_work_are_not_spoken_of(world: World, acme: Tenant) -> None:
    host_add(world, "drained", state="draining")
    told = why(world, acme, JobSpec(command=("ls",)))
    assert (told.refusals, told.code) == ((), "no_host")


def test_a_paused_pool_is_the_reason(world: World, acme: Tenant) -> None:
    host = host_add(world, "one")
    (pool,) = {row.pool_id for row in rows(world, schema.hosts) if row.id == host}
    change(world, schema.pools, "id", pool, state="paused")
    told = why(world, acme, JobSpec(command=("ls",)))
    assert told.code == "pool_paused"


def test_where_a_job_was_placed_is_told_with_the_best_hosts(world: World, acme: Tenant) -> None:
    hosts = [host_add(world, name) for name in ("one", "two")]
    host = next(row for row in rows(world, schema.hosts) if row.id == hosts[0])
    job = why(world, acme, JobSpec(command=("ls",))).job

    def place(connection: Connection) -> str:
        decided = plan_decide(connection, host.pool_id)
        return plan_apply(connection, decided, epoch=1, now_us=world.clock_us, cell=0).plan_id

    plan = world.plane.store.transact_wait(None, place)
    told = world.run(job_why(world.plane, acme.admin, job))
    assert (told.refusals, told.code) == ((), "placed")
    (placement,) = told.placements
    assert (placement.host, placement.host_name, placement.plan) == (hosts[0], "one", plan)
    assert (placement.policy, placement.candidates) == ("best_fit", 2)
    assert [one.host_name for one in placement.best] == ["one", "two"]


def rows(world: World, table: Any) -> list[Any]:
    return list(world.plane.store.read_wait(lambda connection: connection.execute(table.select()).all()))


def change(world: World, table: Any, by: str, value: str, **values: Any) -> None:
    """Change rows behind everybody's back."""
    statement = table.update().where(table.c[by] == value).values(**values)
    world.plane.store.transact_wait(None, lambda connection: connection.execute(statement))
