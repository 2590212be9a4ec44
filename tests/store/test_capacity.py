"""The account's rows: models, plans, and the least that was there each day."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import msgspec
import pytest
from region_rows import GIB, T0_US, RegionRows
from sqlalchemy import Connection

from kumoi.core.capacity import Figure, japan_day
from kumoi.core.devices import CATALOGUE
from kumoi.store import hosts, schema
from kumoi.store.capacity import capacity_days_list, capacity_record, capacity_seen
from kumoi.store.capacity_plans import capacity_plan_delete, capacity_plan_get, capacity_plan_list
from kumoi.store.database import Store
from kumoi.store.device_models import (
    device_model_get,
    device_model_kinds,
    device_model_list,
    device_model_replace,
    figures_all,
)
from kumoi.store.devices import DeviceSeen
from kumoi.store.errors import StaleState
from kumoi.store.hosts import HostSeen, hosts_see

S_US = 1_000_000
DAY_US = 86_400 * S_US
TODAY = japan_day(T0_US)


def gpus(count: int, *, model: str = "H200", first: int = 0, **more: Any) -> tuple[DeviceSeen, ...]:
    made = []
    for number in range(first, first + count):
        uuid = f"{model}-{number}"
        made.append(
            replace(
                DeviceSeen(uuid, uuid, "gpu", model, "", 141 << 30, (f"/dev/x{number}",), True, ""), **more
            )
        )
    return tuple(made)


class Region:
    """An engine's hosts over days."""

    def __init__(self, store: Store, rows: RegionRows) -> None:
        self.store = store
        self.rows = rows
        self.now_us = T0_US

    def look(
        self,
        hosts: Mapping[str, tuple[DeviceSeen, ...]],
        *,
        days: int = 0,
        after_s: int = 10,
        cpu_milli: int = 8_000,
    ) -> None:
        self.now_us += days * DAY_US + after_s * S_US
        seen = [
            HostSeen(name, cpu_milli, 16 * GIB, "boot-1", healthy=True, detail="", devices=devices)
            for name, devices in hosts.items()
        ]
        self.store.transact_wait(
            None,
            hosts_see,
            "fake",
            seen,
            platform_id=self.rows.platform,
            now_us=self.now_us,
            lost_after_us=30 * S_US,
            cell=0,
        )

    def days(self) -> list[tuple[str, str, str, int, int]]:
        rows = self.store.read_wait(capacity_days_list, date(2000, 1, 1), date(2100, 1, 1), 1_000)
        return [(row.day, row.model, row.service_start, row.count, row.healthy) for row in rows]

    def counts(self) -> list[tuple[int, int]]:
        return [(count, healthy) for *_, count, healthy in self.days()]


@pytest.fixture
def world(store: Store, region: RegionRows) -> Region:
    return Region(store, region)


def day(offset: int) -> str:
    return date.fromordinal(TODAY.toordinal() + offset).isoformat()


def test_a_day_records_the_least_of_its_looks(world: Region) -> None:
    world.look({"a": gpus(8)})
    assert world.days() == [(day(0), "H200", day(0), 8, 8)]
    world.look({"a": (*gpus(7), *gpus(1, first=7, healthy=False, detail="XID 79"))})
    assert world.counts() == [(8, 7)]
    world.look({"a": gpus(6)})
    assert world.counts() == [(6, 6)]
    world.look({"a": gpus(8)})
    assert world.counts() == [(6, 6)], "what was missing once was missing that day"
    world.look({"a": gpus(8)}, days=1)
    assert world.days()[1:] == [(day(1), "H200", day(0), 8, 8)]


def test_the_devices_are_counted_only_where_one_may_have_changed(
    world: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    def record(connection: Connection, now_us: int) -> None:
        counted.append(now_us)
        capacity_record(connection, now_us)

    monkeypatch.setattr(hosts, "capacity_record", record)
    world.look({"a": gpus(8), "b": gpus(8)})
    world.look({"a": gpus(8), "b": gpus(8)}, cpu_milli=4_000)
    assert len(counted) == 1, "less CPU is no less of the account"
    world.look({"a": gpus(8), "b": gpus(7)})
    world.look({"a": gpus(8)}, after_s=60)
    world.look({"a": gpus(8)}, days=1)
    assert len(counted) == 4


def test_classes_are_told_by_model_and_start(world: Region) -> None:
    world.look({"a": gpus(2)})
    world.look({"a": gpus(2), "b": gpus(3, model="B200")}, days=1)
    world.look({"a": (*gpus(2), *gpus(1, first=2)), "b": gpus(3, model="B200")}, days=1)
    assert world.days()[-3:] == [
        (day(2), "B200", day(1), 3, 3),
        (day(2), "H200", day(0), 2, 2),
        (day(2), "H200", day(2), 1, 1),
    ]


def test_partitions_are_not_counted_besides_the_device_that_they_are_parts_of(world: Region) -> None:
    world.look({"a": gpus(2)})
    (whole,) = gpus(1)
    parts = tuple(
        replace(whole, uuid=f"MIG-{number}", physical_uuid=whole.uuid, partition="1g.18gb")
        for number in range(7)
    )
    world.look({"a": (*parts, *gpus(1, first=1))}, days=1)
    assert world.days()[1:] == [(day(1), "H200", day(0), 2, 2)]
    sick = replace(parts[3], healthy=False, detail="XID 94")
    world.look({"a": (*parts[:3], sick, *parts[4:], *gpus(1, first=1))})
    assert world.counts()[1:] == [(2, 1)], "a device is whole or it is not"


def test_devices_of_a_lost_host_are_there_and_not_fit(world: Region) -> None:
    world.look({"a": gpus(8), "b": gpus(8, first=8)})
    world.look({"b": gpus(8, first=8)}, after_s=60)
    assert world.counts() == [(16, 8)]


def test_what_is_gone_is_recorded_as_nothing_on_the_days_after(world: Region) -> None:
    world.look({"a": gpus(4)})
    world.look({"a": ()}, days=1)
    world.look({"a": ()}, days=1)
    assert world.counts() == [(4, 4), (0, 0), (0, 0)]


def test_a_replaced_device_goes_on_in_the_class_of_the_one_before(world: Region) -> None:
    world.look({"a": gpus(4)})
    world.look({"a": gpus(3)}, days=10)
    world.look({"a": (*gpus(3), *gpus(1, first=9))}, days=1)
    assert world.days()[-1] == (day(11), "H200", day(0), 4, 4)


def test_nothing_is_recorded_where_there_are_no_devices(world: Region) -> None:
    world.look({"a": ()})
    world.look({"a": ()}, days=1)
    assert world.days() == []


def test_days_begin_in_japan(world: Region) -> None:
    world.now_us = T0_US // DAY_US * DAY_US + 15 * 3_600 * S_US - 20 * S_US
    world.look({"a": gpus(1)})
    first = world.days()[0][0]
    world.look({"a": gpus(1)}, after_s=20)
    assert [row[0] for row in world.days()] == [first, japan_day(world.now_us).isoformat()]
    assert first < world.days()[1][0]


def test_a_look_that_changes_nothing_reads_one_row(world: Region) -> None:
    world.look({"a": gpus(2)})
    before = world.rows.rows(schema.capacity_days)
    world.look({"a": gpus(2)})
    assert world.rows.rows(schema.capacity_days) == before


def test_recording_twice_changes_nothing_and_the_figure_of_the_day_is_kept(world: Region) -> None:
    world.look({"a": (*gpus(2), *gpus(1, model="Unheard of"))})
    before = world.rows.rows(schema.capacity_days)
    world.store.transact_wait(None, capacity_record, world.now_us)
    assert world.rows.rows(schema.capacity_days) == before
    assert {row.model: row.fp16_dense_gflops for row in before} == {"H200": 989_400, "Unheard of": 0}
    assert len(world.store.read_wait(capacity_seen)) == 2


def _model_row(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "vendor": "Maker",
        "kind": "gpu",
        "fp16_dense_gflops": 500_000,
        "memory_bytes": 1,
        "datasheet": "its datasheet",
        "datasheet_sha256": "",
        "created_us": T0_US,
    } | more


def test_what_operators_wrote_stands_before_what_is_built_in(store: Store, region: RegionRows) -> None:
    region.write(schema.device_models, _model_row("A1"), _model_row("H200", datasheet_sha256="0" * 64))
    listed = store.read_wait(device_model_list, 1_000, None)
    names = [model.name for model in listed]
    assert names == sorted({*CATALOGUE, "A1"})
    assert store.read_wait(device_model_list, 2, "A1")[0].name == names[names.index("A1") + 1]
    written = store.read_wait(device_model_get, "H200")
    assert written is not None
    assert (written.built_in, written.attested, written.fp16_dense_gflops) == (False, True, 500_000)
    built_in = store.read_wait(device_model_get, "B200")
    assert built_in is not None
    assert (built_in.built_in, built_in.attested, built_in.datasheet_sha256) == (True, False, None)
    assert store.read_wait(device_model_get, "none") is None
    figures = store.read_wait(figures_all)
    assert figures["H200"] == Figure(500_000, attested=True)
    assert figures["B200"] == Figure(2_250_000, attested=False)
    assert store.read_wait(device_model_kinds)["A1"] == "gpu"


def test_a_model_is_written_over_only_at_the_version_that_was_read(store: Store, region: RegionRows) -> None:
    region.write(schema.device_models, _model_row("A1"))
    model = store.read_wait(device_model_get, "A1")
    assert model is not None

    def write(version: int) -> None:
        changed = msgspec.structs.replace(model, vendor="Other", version=version)
        store.transact_wait(None, device_model_replace, changed)

    write(2)
    with pytest.raises(StaleState):
        write(2)
    assert region.rows(schema.device_models)[0].vendor == "Other"


def test_plans_are_listed_and_dropped(store: Store, region: RegionRows) -> None:
    row = {"site_id": region.site, "model": "H200", "count": 8, "service_start": "2026-04-01"}
    ends = ("2027-03-31", None)
    for number, end in enumerate(ends):
        region.write(
            schema.capacity_plans,
            row | {"id": f"cap_{number}", "service_end": end, "created_us": T0_US, "note": "x"},
        )
    listed = store.read_wait(capacity_plan_list, 10, None)
    assert [(plan.id, plan.service_end) for plan in listed] == [("cap_0", ends[0]), ("cap_1", None)]
    assert store.read_wait(capacity_plan_list, 10, "cap_0") == listed[1:]
    assert store.read_wait(capacity_plan_get, "cap_1") == listed[1]
    store.transact_wait(None, capacity_plan_delete, "cap_1")
    assert store.read_wait(capacity_plan_get, "cap_1") is None
    with pytest.raises(StaleState):
        store.transact_wait(None, capacity_plan_delete, "cap_1")


def test_the_period_and_the_limit_of_days_are_kept(world: Region) -> None:
    for _ in range(4):
        world.look({"a": gpus(1)}, days=1)

    def read(connection: Connection, since: int, until: int, limit: int) -> list[str]:
        rows = capacity_days_list(
            connection, date.fromisoformat(day(since)), date.fromisoformat(day(until)), limit
        )
        return [row.day for row in rows]

    assert world.store.read_wait(read, 2, 3, 10) == [day(2), day(3)]
    assert world.store.read_wait(read, 0, 9, 3) == [day(1), day(2), day(3)]
