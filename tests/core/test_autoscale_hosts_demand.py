"""Demand in thousandths of a host."""

from typing import Any

import pytest

from kumoi.core.autoscale.hosts_demand import HostSize, slots_held, slots_wanted
from kumoi.core.placement.snapshot import Holding, TaskView
from kumoi.model.jobs import DeviceRequest

GIB = 1 << 30
SIZE = HostSize(8_000, 32 * GIB, devices=4)


def task(cpu_milli: int = 1_000, memory_bytes: int = GIB, organization: str = "a", **more: Any) -> TaskView:
    return TaskView("t", "j", organization, cpu_milli, memory_bytes, **more)


def holding(cpu_milli: int = 1_000, memory_bytes: int = GIB, **more: Any) -> Holding:
    facts = {"disk_bytes": 0, "devices": (), "placed_us": 0, "ends_us": 1} | more
    return Holding("a", "j", "o", cpu_milli, memory_bytes, **facts)


@pytest.mark.parametrize(
    ("tasks", "slots"),
    [
        ([], 0),
        ([task()] * 8, 1_000),
        ([task()] * 9, 1_125),
        ([task(5_000)] * 3, 3_000),
        ([task(100, 16 * GIB)] * 2, 1_000),
        ([task(devices=(DeviceRequest("gpu", 2),))] * 3, 1_500),
        ([task(alone=True)] * 2, 2_000),
    ],
)
def test_what_waits_counts_by_how_many_fit_one_host(tasks: list[TaskView], slots: int) -> None:
    assert slots_wanted(SIZE, tasks) == slots


def test_who_is_not_helped_by_a_new_host_counts_nothing() -> None:
    vain = [
        task(9_000),
        task(devices=(DeviceRequest("gpu", 5),)),
        task(disk_bytes=1),
        task(dedicated=True),
        task(reservation="night"),
    ]
    assert slots_wanted(SIZE, vain) == 0


def test_organizations_that_share_no_host_need_whole_ones() -> None:
    tasks = [task(), task(organization="b")]
    assert slots_wanted(SIZE, tasks) == 250
    assert slots_wanted(SIZE, tasks, exclusive=True) == 2_000


def test_what_runs_counts_by_what_is_scarcest() -> None:
    assert slots_held(SIZE, []) == slots_held(SIZE, [], exclusive=True) == 0
    assert slots_held(SIZE, [holding()]) == 125
    assert slots_held(SIZE, [holding(1, 24 * GIB)]) == 750
    assert slots_held(SIZE, [holding(devices=(("d", 1_000),))]) == 250
    assert slots_held(SIZE, [holding(alone=True)]) == 1_000
    assert slots_held(SIZE, [holding()], exclusive=True) == 1_000
