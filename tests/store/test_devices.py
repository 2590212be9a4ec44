"""Devices of a host from one report to the next: new, changed, gone, partitioned, replaced."""

from dataclasses import replace
from typing import Any

import pytest
from region_rows import T0_US, RegionRows

from kumoi.model.jobs import JobSpec
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.devices import (
    DeviceChanges,
    DeviceHeld,
    DeviceSeen,
    devices_digest,
    devices_held,
    devices_see,
)

DAY_US = 86_400_000_000


def gpu(uuid: str, **more: Any) -> DeviceSeen:
    whole = DeviceSeen(
        uuid=uuid,
        physical_uuid=uuid,
        kind="gpu",
        model="H200",
        partition="",
        memory_bytes=141 << 30,
        paths=("/dev/nvidia0", "/dev/nvidiactl"),
        healthy=True,
        detail="",
    )
    return replace(whole, **more)


def mig(uuid: str, of: str) -> DeviceSeen:
    return gpu(uuid, physical_uuid=of, partition="1g.18gb", memory_bytes=18 << 30)


class Host:
    """A host that reports its devices."""

    def __init__(self, store: Store, region: RegionRows) -> None:
        self.store = store
        self.region = region
        self.id = region.host_add("host-1")
        self.now_us = T0_US

    def report(self, *seen: DeviceSeen, days: int = 0) -> DeviceChanges:
        self.now_us += days * DAY_US
        return self.store.transact_wait(None, devices_see, self.id, seen, self.now_us, 0)

    def rows(self) -> dict[str, Any]:
        return {row.uuid: row for row in self.region.rows(schema.devices)}


@pytest.fixture
def host(store: Store, region: RegionRows) -> Host:
    return Host(store, region)


def test_new_devices_begin_their_service_when_they_are_first_seen(host: Host) -> None:
    changes = host.report(
        gpu("A"), gpu("B", kind="fpga", model="X"), gpu("C", healthy=False, detail="XID 79")
    )
    assert (changes.added, changes.sick, changes.healed) == (("A", "B", "C"), {"C": "XID 79"}, ())
    rows = host.rows()
    assert {uuid: (row.kind, row.ordinal, row.health) for uuid, row in rows.items()} == {
        "A": ("gpu", 0, "healthy"),
        "B": ("fpga", 0, "healthy"),
        "C": ("gpu", 1, "unhealthy"),
    }
    assert {row.service_start_us for row in rows.values()} == {T0_US}
    assert rows["A"].path == "/dev/nvidia0,/dev/nvidiactl"


def test_a_report_that_says_the_same_changes_nothing(host: Host) -> None:
    host.report(gpu("A"))
    before = host.rows()
    assert host.report(gpu("A"), days=1) == DeviceChanges((), {}, ())
    assert host.rows() == before


def test_a_device_falls_sick_and_is_well_again(host: Host) -> None:
    host.report(gpu("A"))
    sick = gpu("A", healthy=False, detail="uncorrected ECC errors")
    assert host.report(sick, days=1).sick == {"A": "uncorrected ECC errors"}
    assert host.report(replace(sick, detail="it fell off the bus")).sick == {}, "told once"
    assert host.rows()["A"].detail == "it fell off the bus"
    assert host.report(gpu("A")).healed == ("A",)
    assert host.rows()["A"].service_start_us == T0_US


def test_a_silent_device_is_gone_and_may_come_back(host: Host) -> None:
    host.report(gpu("A"), gpu("B"))
    assert list(host.report(gpu("A"), days=1).sick) == ["B"]
    assert host.rows()["B"].health == "gone"
    assert host.report(gpu("A"), days=1) == DeviceChanges((), {}, ())
    assert host.report(gpu("A"), gpu("B"), days=1).healed == ("B",)
    assert host.rows()["B"].service_start_us == T0_US


def test_a_device_that_is_partitioned_is_not_sick_and_keeps_its_service(host: Host) -> None:
    host.report(gpu("A"))
    changes = host.report(mig("M1", "A"), mig("M2", "A"), days=30)
    assert (changes.added, changes.sick) == (("M1", "M2"), {})
    rows = host.rows()
    assert rows["A"].health == "gone"
    assert {rows[uuid].service_start_us for uuid in ("M1", "M2")} == {T0_US}
    assert [rows[uuid].ordinal for uuid in ("A", "M1", "M2")] == [0, 1, 2]


def test_a_device_that_replaces_a_gone_one_of_its_model_takes_over_its_service(host: Host) -> None:
    host.report(gpu("A"), gpu("B"))
    host.report(gpu("A"), days=5)
    host.report(gpu("A"), gpu("C"), gpu("D"), days=5)
    rows = host.rows()
    assert rows["C"].service_start_us == T0_US
    assert rows["D"].service_start_us == T0_US + 10 * DAY_US, "only one was gone"
    assert rows["B"].service_start_us is None
    host.report(gpu("A"), gpu("C"), gpu("D"), gpu("E", model="B200"), days=1)
    assert host.rows()["E"].service_start_us == T0_US + 11 * DAY_US


def test_an_attempts_devices_are_told_with_their_shares(host: Host) -> None:
    host.report(gpu("A"), gpu("B", paths=("/dev/nvidia1", "/dev/nvidiactl")))
    ids = [row.id for row in host.rows().values()]
    job = host.region.job_add(JobSpec(command=("true",)))
    attempt = host.region.attempt_add(job, host.id)
    for device_id, milli in zip(ids, (1_000, 250), strict=True):
        host.region.write(
            schema.attempt_devices, {"attempt_id": attempt, "device_id": device_id, "milli": milli}
        )
    assert host.store.read_wait(devices_held, [attempt, "att_none"]) == {
        attempt: (
            DeviceHeld("A", "gpu", 1_000, ("/dev/nvidia0", "/dev/nvidiactl")),
            DeviceHeld("B", "gpu", 250, ("/dev/nvidia1", "/dev/nvidiactl")),
        )
    }


def test_the_digest_tells_every_difference_and_no_order() -> None:
    one, two = gpu("A"), gpu("B")
    assert devices_digest([]) == ""
    assert devices_digest([one, two]) == devices_digest([two, one])
    others = [replace(one, detail="x"), replace(one, healthy=False), replace(one, paths=()), two]
    assert len({devices_digest([other]) for other in [one, *others]}) == 5
