"""Hosts from one look to the next: every change of room is counted and told to placement."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from region_rows import GIB, T0_US, RegionRows
from sqlalchemy import Connection

from kumoi.model.jobs import JobSpec
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.devices import DeviceSeen
from kumoi.store.hosts import HostSeen, host_attempts_lose, hosts_see, hosts_settle

S_US = 1_000_000
GPU = DeviceSeen("A", "A", "gpu", "H200", "", 141 << 30, ("/dev/nvidia0",), True, "")
HOST = HostSeen(
    name="host-1",
    cpu_milli=8_000,
    memory_bytes=16 * GIB,
    boot_id="boot-1",
    healthy=True,
    detail="",
    disk_bytes=100 * GIB,
    failure_domain="rack-1",
    fabric_island="island-1",
    devices=(GPU,),
)


class Looks:
    """An engine's hosts, looked at again and again."""

    def __init__(self, store: Store, region: RegionRows) -> None:
        self.store = store
        self.region = region
        self.now_us = T0_US

    def look(self, *seen: HostSeen, after_s: int = 10) -> None:
        self.now_us += after_s * S_US
        self.store.transact_wait(
            None,
            hosts_see,
            "fake",
            seen,
            platform_id=self.region.platform,
            now_us=self.now_us,
            lost_after_us=30 * S_US,
            cell=0,
        )

    def settle(self) -> int:
        return int(self.store.transact_wait(None, hosts_settle, "fake", self.region.platform, self.now_us))

    def row(self) -> Any:
        (row,) = self.region.rows(schema.hosts)
        return row

    def touches(self) -> list[str]:
        """Whom placement was told of since last asked."""

        def take(connection: Connection) -> list[str]:
            found = list(connection.execute(schema.host_touches.select()).all())
            connection.execute(schema.host_touches.delete())
            return [row.host_id for row in found]

        return self.store.transact_wait(None, take)

    def events(self) -> list[str]:
        rows = self.region.rows(schema.events)
        return [msgspec.json.decode(row.canonical)["action"] for row in rows]


@pytest.fixture
def looks(store: Store, region: RegionRows) -> Looks:
    return Looks(store, region)


def test_a_new_host_brings_everything_that_it_reports(looks: Looks) -> None:
    looks.look(HOST)
    row = looks.row()
    assert (row.disk_bytes, row.failure_domain, row.fabric_island) == (100 * GIB, "rack-1", "island-1")
    assert looks.touches() == [row.id]
    assert [device.uuid for device in looks.region.rows(schema.devices)] == ["A"]
    assert looks.events() == ["host_register", "device_register"]


def test_a_host_without_a_failure_domain_is_one_of_its_own(looks: Looks) -> None:
    looks.look(replace(HOST, failure_domain=""))
    assert looks.row().failure_domain == "host-1"


def test_the_same_report_again_is_only_a_sign_of_life(looks: Looks) -> None:
    looks.look(HOST)
    before = looks.row()
    looks.touches()
    looks.look(HOST)
    assert (looks.row().generation, looks.row().version) == (before.generation, before.version)
    assert looks.row().seen_us == looks.now_us
    assert looks.touches() == []


@pytest.mark.parametrize(
    "change",
    [
        {"cpu_milli": 4_000},
        {"memory_bytes": GIB},
        {"disk_bytes": GIB},
        {"boot_id": "boot-2"},
        {"failure_domain": "rack-2"},
        {"fabric_island": "island-2"},
        {"healthy": False},
        {"devices": ()},
        {"devices": (replace(GPU, healthy=False, detail="XID 79"),)},
        {"devices": (GPU, replace(GPU, uuid="B", physical_uuid="B"))},
    ],
)
def test_every_change_of_room_raises_the_generation_and_is_told(looks: Looks, change: dict[str, Any]) -> None:
    looks.look(HOST)
    looks.touches()
    looks.look(replace(HOST, **change))
    row = looks.row()
    assert row.generation == 1
    assert looks.touches() == [row.id]


def test_silence_makes_a_host_lost_and_a_report_brings_it_back(looks: Looks) -> None:
    looks.look(HOST)
    looks.touches()
    looks.look(after_s=20)
    assert looks.row().health == "up"
    looks.look(after_s=20)
    row = looks.row()
    assert (row.health, row.generation, looks.touches()) == ("lost", 1, [row.id])
    looks.look(after_s=20)
    assert looks.touches() == []
    looks.look(HOST)
    assert looks.row().health == "up"
    assert looks.touches() == [row.id]
    assert looks.events()[-2:] == ["host_lost", "host_up"]


def test_an_unhealthy_device_drains_its_host_once(looks: Looks) -> None:
    looks.look(HOST)
    sick = replace(HOST, devices=(replace(GPU, healthy=False, detail="XID 79"),))
    looks.look(sick)
    assert looks.row().state == "draining"
    assert "device_unhealthy" in looks.events()
    looks.touches()
    assert looks.settle() == 1
    row = looks.row()
    assert (row.state, row.generation, looks.touches()) == ("maintenance", 2, [row.id])
    looks.region.store.transact_wait(
        None,
        lambda connection: connection.execute(schema.hosts.update().values(state="schedulable")),
    )
    looks.look(sick)
    assert looks.row().state == "schedulable", "an operator who resumes it is believed"
    looks.look(HOST)
    assert looks.events()[-1] == "device_healthy"
    looks.look(replace(HOST, devices=()))
    assert looks.row().state == "draining"


def test_a_host_that_comes_with_a_sick_device_is_drained_from_the_start(looks: Looks) -> None:
    looks.look(replace(HOST, devices=(replace(GPU, healthy=False, detail="it is lost"),)))
    assert looks.row().state == "draining"


def test_what_ran_on_a_host_declared_lost_ends_when_it_was_last_seen(looks: Looks) -> None:
    looks.look(HOST, after_s=3_600)
    host = looks.row()
    job = looks.region.job_add(JobSpec(command=("true",)), state="running")
    one = looks.region.attempt_add(job, host.id)
    late = looks.region.attempt_add(job, host.id, 1, started_us=host.seen_us + 5 * S_US)
    lost = looks.store.transact_wait(None, host_attempts_lose, host.id, host.seen_us + 600 * S_US)
    assert lost == 2
    rows = {row.id: row for row in looks.region.rows(schema.attempts)}
    assert {row.outcome for row in rows.values()} == {"host_lost"}
    assert rows[one].ended_us == host.seen_us
    assert rows[late].ended_us == host.seen_us + 5 * S_US
    assert looks.store.transact_wait(None, host_attempts_lose, host.id, host.seen_us) == 0
