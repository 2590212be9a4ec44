"""Which pool a job gets, and what no pool could ever run."""

import itertools

import pytest
from place_rows import host_add
from plane_fixture import Tenant, World

from kumoi.app import pool_choice
from kumoi.app.jobs import job_batch_create, job_create
from kumoi.app.pools import pool_create
from kumoi.app.sites import site_list
from kumoi.core.placement.possible import hosts_mismatch
from kumoi.model.errors import Invalid
from kumoi.model.ids import IdKind
from kumoi.model.jobs import DeviceRequest, JobBatch, JobSpec, PlacementRules, Resources
from kumoi.model.places import PoolCreate
from kumoi.store import directory, schema
from kumoi.store.database import Connection
from kumoi.store.ids import id_new

GPU = Resources(devices=(DeviceRequest("gpu"),))
HOUR_US = 3_600_000_000
_numbers = itertools.count()


def pool_add(world: World, name: str) -> str:
    site = world.run(site_list(world.plane, world.operator, 1, None)).items[0].id
    body = PoolCreate(name=name, site=site, engine="fake")
    return str(world.write(pool_create(world.plane, world.operator, body, None))["id"])


def devices_add(world: World, host: str, count: int, *, model: str = "H100", health: str = "healthy") -> None:
    """More devices than the one that the host has."""
    rows = []
    for _ in range(count):
        device = id_new(IdKind.DEVICE)
        same = {"host_id": host, "kind": "gpu", "model": model, "health": health, "path": "/dev/gpu0"}
        rows.append({"id": device, "uuid": device, "physical_uuid": device, "ordinal": 1, **same})
    world.plane.store.transact_wait(None, lambda c: c.execute(schema.devices.insert(), rows) and None)
    host_change(world, host)


def pool_of(world: World, tenant: Tenant, spec: JobSpec) -> str:
    """The pool that a new job is in."""
    job = world.write(
        job_create(world.plane, tenant.admin, tenant.project(f"p{next(_numbers)}"), spec, None)
    )["id"]

    def find(connection: Connection) -> str:
        jobs = schema.jobs
        return str(connection.execute(jobs.select().where(jobs.c.id == job)).one().pool_id)

    pool: str = world.plane.store.read_wait(find)
    return pool


def refusal(world: World, tenant: Tenant, spec: JobSpec) -> Invalid:
    with pytest.raises(Invalid) as raised:
        world.write(job_create(world.plane, tenant.admin, tenant.project(f"p{next(_numbers)}"), spec, None))
    assert str(raised.value)
    return raised.value


def host_change(world: World, host: str, **values: object) -> None:
    def change(connection: Connection) -> None:
        hosts = schema.hosts
        more = {"version": hosts.c.version + 1, **values}
        connection.execute(hosts.update().where(hosts.c.id == host).values(**more))

    world.plane.store.transact_wait(None, change)
    world.plane.directory.forget()


def reservation_add(
    world: World, tenant: Tenant, pool: str, name: str, start_us: int, **more: object
) -> None:
    row = {
        "id": id_new(IdKind.RESERVATION, 1),
        "organization_id": tenant.id,
        "pool_id": pool,
        "name": name,
        "host_count": 1,
        "start_us": start_us,
        "end_us": start_us + HOUR_US,
        "state": "held",
        "created_us": 0,
        **more,
    }
    world.plane.store.transact_wait(None, lambda c: c.execute(schema.reservations.insert(), [row]) and None)


def test_an_unnamed_job_goes_where_hosts_are(world: World, acme: Tenant) -> None:
    gpu = pool_add(world, "gpu")
    host_add(world, "one", pool=gpu)
    assert pool_of(world, acme, JobSpec(command=("ls",), resources=GPU)) == gpu
    assert pool_of(world, acme, JobSpec(command=("ls",), resources=GPU, pool="default")) != gpu


def test_an_unnamed_job_waits_in_the_default_pool_where_no_pool_has_hosts(world: World, acme: Tenant) -> None:
    other = pool_add(world, "other")
    assert pool_of(world, acme, JobSpec(command=("ls",))) != other


def test_devices_that_are_gone_and_hosts_of_others_do_not_count(
    world: World, acme: Tenant, rival: Tenant
) -> None:
    host = host_add(world, "one")
    devices_add(world, host, 1, health="gone")
    two = JobSpec(command=("ls",), resources=Resources(devices=(DeviceRequest("gpu", 2),)))
    assert refusal(world, acme, two).code == "device_too_many"
    held = host_add(world, "held")
    devices_add(world, held, 1, model="B300")
    host_change(world, held, dedicated_to=rival.id)
    error = refusal(world, acme, two)
    assert (error.code, error.params["most"]) == ("device_too_many", 1)
    three = JobSpec(command=("ls",), resources=Resources(devices=(DeviceRequest("npu", 1),)))
    assert "B300" not in str(refusal(world, acme, three))
    assert pool_of(world, rival, two)


def test_hosts_are_counted_anew_when_one_changed(
    world: World, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "TTL_S", 0.0)
    host = host_add(world, "one")
    pool = pool_of(world, acme, JobSpec(command=("ls",)))
    before = world.run(world.plane.directory.pool_hosts(pool))
    assert world.run(world.plane.directory.pool_hosts(pool)) is before
    host_change(world, host, cpu_milli=1_000)
    assert [group.cpu_milli for group in world.run(world.plane.directory.pool_hosts(pool))] == [1_000]


def test_hosts_that_are_their_own_failure_domain_are_one_group(world: World, acme: Tenant) -> None:
    for number in range(3):
        host_add(world, f"h{number}")
    pool = pool_of(world, acme, JobSpec(command=("ls",)))
    (group,) = world.run(world.plane.directory.pool_hosts(pool))
    assert (group.count, group.failure_domain) == (3, "")


def test_a_batch_of_alike_jobs_is_decided_once(
    world: World, acme: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    host_add(world, "one")
    asked = []

    def count(*args: object) -> Invalid | None:
        asked.append(args)
        return hosts_mismatch(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pool_choice, "hosts_mismatch", count)
    batch = JobBatch(tuple(JobSpec(command=("ls",), name=f"j{n}") for n in range(50)))
    world.write(job_batch_create(world.plane, acme.admin, acme.project("p"), batch, None))
    assert len(asked) == 1


def test_alike_jobs_are_decided_once_until_a_host_changes(
    world: World, acme: Tenant, rival: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "TTL_S", 0.0)
    host = host_add(world, "one")
    asked = []

    def count(*args: object) -> Invalid | None:
        asked.append(args)
        return hosts_mismatch(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(pool_choice, "hosts_mismatch", count)
    spec = JobSpec(command=("ls",), resources=Resources(cpu_milli=2_000))
    pool_of(world, acme, spec)
    pool_of(world, acme, spec)
    assert len(asked) == 1
    pool_of(world, rival, spec)
    assert len(asked) == 2
    host_change(world, host, cpu_milli=1_000)
    assert refusal(world, acme, spec).code == "host_too_small"
    again = len(asked)
    assert again > 2
    assert refusal(world, acme, spec).code == "host_too_small"
    assert len(asked) > again


def test_a_reservation_that_cannot_serve_is_refused(world: World, acme: Tenant, rival: Tenant) -> None:
    gpu, now_us = pool_add(world, "gpu"), world.plane.clock_us()
    reservation_add(world, rival, gpu, "theirs", now_us)
    reservation_add(world, acme, gpu, "past", now_us - 2 * HOUR_US)
    reservation_add(world, acme, gpu, "dropped", now_us, state="cancelled")
    reservation_add(world, acme, gpu, "coming", now_us + HOUR_US)

    def spec(name: str, pool: str | None = None) -> JobSpec:
        return JobSpec(command=("ls",), pool=pool, rules=PlacementRules(reservation=name))

    assert refusal(world, acme, spec("theirs")).code == "reservation_unknown"
    assert refusal(world, acme, spec("past")).code == "reservation_over"
    assert refusal(world, acme, spec("dropped")).code == "reservation_over"
    elsewhere = refusal(world, acme, spec("coming", "default"))
    assert (elsewhere.code, elsewhere.at, elsewhere.params["other"]) == (
        "reservation_elsewhere",
        "/rules/reservation",
        "gpu",
    )
    assert pool_of(world, acme, spec("coming")) == gpu


def test_work_for_dedicated_hosts_needs_one(world: World, acme: Tenant) -> None:
    host = host_add(world, "one")
    spec = JobSpec(command=("ls",), rules=PlacementRules(dedicated=True))
    assert refusal(world, acme, spec).code == "dedicated_none"
    host_change(world, host, dedicated_to=acme.id)
    assert pool_of(world, acme, spec)
