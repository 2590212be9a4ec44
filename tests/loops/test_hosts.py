"""Hosts as loops see them: devices from report to attempt, and what a sick one does to its host."""

from dataclasses import replace

import msgspec
import pytest
from loop_world import World, report

from kumoi.engines.base import DeviceShare, HostReport
from kumoi.engines.devices.fake import gpu_make
from kumoi.model.jobs import DeviceRequest, JobSpec, Resources
from kumoi.store import schema
from kumoi.store.database import Store

GPUS = tuple(gpu_make(number) for number in range(2))
SICK = (replace(GPUS[0], healthy=False, detail="XID 79"), GPUS[1])


def host() -> HostReport:
    return replace(report(), devices=GPUS, disk_bytes=1 << 40, failure_domain="rack-1", fabric_island="ib-1")


@pytest.fixture
def world(store: Store) -> World:
    made = World(store, hosts=(host(),))
    made.activate("hosts")
    return made


def gpu_job(world: World, **devices: object) -> str:
    wanted = DeviceRequest(**({"kind": "gpu"} | devices))
    return world.region.job_add(JobSpec(command=("train",), resources=Resources(devices=(wanted,))))


def events(world: World) -> list[str]:
    return [msgspec.json.decode(row.canonical)["action"] for row in world.region.rows(schema.events)]


def test_what_an_engine_reports_is_what_a_host_has(world: World) -> None:
    (row,) = world.region.rows(schema.hosts)
    assert (row.disk_bytes, row.failure_domain, row.fabric_island) == (1 << 40, "rack-1", "ib-1")
    devices = world.region.rows(schema.devices)
    assert [(one.uuid, one.model, one.path) for one in devices] == [
        (gpu.uuid, "H200", ",".join(gpu.paths)) for gpu in GPUS
    ]
    assert world.nudged["placement"] == 1


def test_an_attempt_is_started_with_the_devices_that_it_holds(world: World) -> None:
    job = gpu_job(world)
    world.rounds()
    (attempt,) = world.attempts(job)
    (held,) = world.region.rows(schema.attempt_devices)
    device = next(row for row in world.region.rows(schema.devices) if row.id == held.device_id)
    spec = world.engine._attempts[attempt.id].spec
    assert spec is not None
    assert spec.devices == (DeviceShare(device.uuid, "gpu", 1_000),)
    assert spec.device_paths == tuple(device.path.split(","))
    assert spec.environment["KUMOI_DEVICES"] == device.uuid
    assert spec.environment["KUMOI_DEVICE_MILLI"] == "1000"


def test_two_devices_share_the_files_that_both_need(world: World) -> None:
    job = gpu_job(world, count=2)
    world.rounds()
    (attempt,) = world.attempts(job)
    spec = world.engine._attempts[attempt.id].spec
    assert spec is not None
    assert sorted(spec.device_paths) == ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"]
    assert spec.environment["KUMOI_DEVICE_MILLI"] == "1000,1000"


def test_a_sick_device_drains_its_host_and_what_runs_may_end(world: World) -> None:
    running = gpu_job(world)
    world.rounds()
    world.engine.host_change(devices=SICK)
    world.activate("hosts")
    (row,) = world.region.rows(schema.hosts)
    assert row.state == "draining"
    assert "device_unhealthy" in events(world)
    assert world.state(running) == "running"
    waiting = gpu_job(world)
    world.rounds()
    assert world.running(waiting) == [], "a host that is drained gets no new work"
    world.finish(running)
    world.rounds()
    (row,) = world.region.rows(schema.hosts)
    assert row.state == "maintenance"


def test_an_operator_may_use_the_devices_that_are_left(world: World) -> None:
    world.engine.host_change(devices=SICK)
    world.activate("hosts")
    (row,) = world.region.rows(schema.hosts)
    world.set(schema.hosts, row.id, state="schedulable", generation=row.generation + 1)
    world.store.transact_wait(
        None, lambda connection: connection.execute(schema.host_touches.insert(), [{"host_id": row.id}])
    )
    one, other = gpu_job(world), gpu_job(world)
    world.rounds()
    placed = [job for job in (one, other) if world.running(job)]
    assert len(placed) == 1, "the sick one is given to nobody"
    held = world.region.rows(schema.attempt_devices)
    by_id = {device.id: device.uuid for device in world.region.rows(schema.devices)}
    assert [by_id[row.device_id] for row in held] == [GPUS[1].uuid]


def test_capacity_is_recorded_with_what_was_seen(world: World) -> None:
    world.engine.host_change(devices=SICK)
    world.activate("hosts")
    (day,) = world.region.rows(schema.capacity_days)
    assert (day.model, day._mapping["count"], day.healthy) == ("H200", 2, 1)
