"""What is kept for a group keeps: enough hosts, near enough, and never from work of a higher class."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kumoi.core.placement.pool import PoolPlacer
from kumoi.core.placement.snapshot import DeviceView, Hold, Holding, HostView, PoolView, TaskView
from kumoi.core.queue.backfill import DATED_MAX, DATED_PER_ORGANIZATION_MAX
from kumoi.core.queue.defragment import MOVE_AGE_S
from kumoi.core.queue.outlook import Scene
from kumoi.core.queue.promises import Promises, promises_make
from kumoi.core.queue.standing import PoolUse
from kumoi.model.jobs import DeviceRequest, GangScope
from kumoi.model.time import US_PER_S

GUARANTEED, STANDARD, PREEMPTIBLE = 0, 1, 2
NOW_US = 10 * MOVE_AGE_S * US_PER_S
POOL = PoolView("pool_1")
GPUS = 8
DAY_S = 86_400


def host(number: int, *works: Holding, island: str = "") -> HostView:
    """Eight devices and what runs on them."""
    devices = tuple(DeviceView(f"d{number}-{slot}", "gpu", "H200") for slot in range(GPUS))
    name = f"host_{number}"
    return HostView(name, name, 1, 64_000, 1 << 40, devices=devices, holdings=works, fabric_island=island)


def work(name: str, number: int, gpus: range = range(GPUS), **more: Any) -> Holding:
    """A day of work on devices of host `number`."""
    devices = tuple((f"d{number}-{slot}", 1_000) for slot in gpus)
    ends_us = NOW_US + DAY_S * US_PER_S
    return replace(Holding(name, name, "org_other", 1_000, 1, 0, devices, 0, ends_us), **more)


def gang(size: int, gpus: int = GPUS, name: str = "gang", **more: Any) -> list[TaskView]:
    wish = (DeviceRequest("gpu", gpus),)
    task = TaskView("", name, f"org_{name}", 1_000, 1, devices=wish, class_rank=STANDARD, gang=name)
    return [replace(task, id=f"{name}_{number}", **more) for number in range(size)]


def alone(name: str, class_rank: int, gpus: int = 1) -> TaskView:
    """A task that takes a month."""
    wish = (DeviceRequest("gpu", gpus),)
    return TaskView(name, name, f"org_{name}", 1_000, 1, 0, wish, 30 * DAY_S, class_rank)


def promised(
    groups: Sequence[Sequence[TaskView]],
    hosts: Sequence[HostView],
    pool: PoolView = POOL,
    kept: Sequence[Hold] = (),
) -> Promises:
    use = PoolUse()
    for one in hosts:
        use.host_enter(one)
    return promises_make(groups, pool, Scene.of(hosts), use, NOW_US, {hold.group_id: hold for hold in kept})


def placed_on(hosts: Sequence[HostView], tasks: Sequence[TaskView], holds: Sequence[Hold]) -> set[str]:
    placer = PoolPlacer(POOL, "best_fit")
    placer.hosts_put(hosts)
    return {one.task_id for one in placer.place(tasks, NOW_US, holds)[0]}


BUSY = [host(0), host(1), host(2), host(3, work("busy", 3))]


def test_a_date_keeps_hosts_from_its_class_and_those_below_only() -> None:
    holds = promised([gang(4)], BUSY).holds
    assert [hold.class_rank for hold in holds] == [STANDARD]
    assert set(holds[0].host_ids) == {"host_0", "host_1", "host_2", "host_3"}
    tasks = [alone(f"task_{rank}", rank) for rank in (GUARANTEED, STANDARD, PREEMPTIBLE)]
    assert placed_on(BUSY, tasks, holds) == {"task_0"}


def test_a_date_is_given_as_if_nothing_were_kept_for_lower_classes() -> None:
    kept = promised([gang(4, class_rank=PREEMPTIBLE)], BUSY).holds
    for rank, passes in ((GUARANTEED, True), (STANDARD, True), (PREEMPTIBLE, False)):
        above = alone("above", rank, GPUS)
        hold = next(one for one in promised([[above]], BUSY, kept=kept).holds if one.group_id == "above")
        assert (hold.start_us == NOW_US) is passes


def test_an_organization_has_few_dates_and_lower_classes_take_none_from_those_above() -> None:
    hosts = [host(number, work(f"busy_{number}", number)) for number in range(3)]
    mine = [gang(2, name=f"mine_{number}", organization_id="org_mine") for number in range(3)]
    holds = promised([*mine, gang(2, name="theirs")], hosts).holds
    assert [hold.group_id for hold in holds] == ["mine_0", "mine_1", "theirs"]
    assert DATED_PER_ORGANIZATION_MAX == 2
    low = [gang(1, name=f"low_{number}", class_rank=PREEMPTIBLE) for number in range(DATED_MAX + 1)]
    kept = promised(low, hosts).holds
    assert len(kept) == DATED_MAX
    assert len(promised([gang(1)], hosts, kept=kept).holds) == DATED_MAX + 1


def test_room_that_was_made_is_kept_on_all_hosts_of_the_group() -> None:
    # Of two that are preemptible one stands within the floor of its class: that which was placed first.
    low = work("low_3", 3, class_rank=PREEMPTIBLE, restartable=True, placed_us=US_PER_S)
    spared = work("low_4", 4, class_rank=PREEMPTIBLE)
    hosts = [host(0), host(1), host(2), host(3, low), host(4, spared)]
    promises = promised([gang(4)], hosts)
    assert promises.evicted == ("low_3",)
    assert promises.holds[0].host_ids == ("host_0", "host_1", "host_2", "host_3")
    small = [alone(f"small_{number}", PREEMPTIBLE) for number in range(3)]
    assert placed_on(hosts, [*gang(4), *small], promises.holds) == set()
    ended = [replace(one, holdings=()) if one.id == "host_3" else one for one in hosts]
    assert placed_on(ended, [*small, *gang(4)], promises.holds) >= {task.id for task in gang(4)}


def test_hosts_that_moves_cleared_are_kept_with_those_that_were_free() -> None:
    moving = work("moving", 1, range(1), restartable=True, class_rank=PREEMPTIBLE)
    hosts = [host(0), host(1, moving), host(2, work("stays", 2, range(4)))]
    promises = promised([gang(2)], hosts, PoolView("pool_1", defragment=True))
    assert promises.moved == ("moving",)
    assert promises.holds[0].host_ids == ("host_0", "host_1")


@pytest.mark.parametrize("class_rank", [GUARANTEED, STANDARD, PREEMPTIBLE])
def test_nobody_is_moved_for_work_of_a_lower_class(class_rank: int) -> None:
    moving = work("moving", 0, range(1), restartable=True, class_rank=GUARANTEED)
    hosts = [host(0, moving), host(1, work("stays", 1, range(4)))]
    promises = promised([[alone("large", class_rank, GPUS)]], hosts, PoolView("pool_1", defragment=True))
    assert promises.moved == (("moving",) if class_rank == GUARANTEED else ())


@pytest.mark.parametrize("within", [GangScope.HOST, GangScope.FABRIC_ISLAND])
def test_a_member_that_comes_back_finds_room_only_where_its_gang_runs(within: GangScope) -> None:
    lost = gang(1, 4, gang_within=within)
    member = work("member", 0, range(4), job_id="gang", gang=True, organization_id="org_gang")
    beside = work("beside", 0, range(4, 8))
    away = host(1, work("away", 1, class_rank=PREEMPTIBLE), island="other")
    spare = host(2, work("spare", 2, class_rank=PREEMPTIBLE), island="other")
    near = host(0, member, beside, island="near")
    promises = promised([lost], [near, away, spare])
    assert promises.evicted == ()
    assert [(hold.host_ids, hold.start_us) for hold in promises.holds] == [(("host_0",), beside.ends_us)]
    young = replace(beside, class_rank=PREEMPTIBLE, placed_us=NOW_US - US_PER_S)
    promises = promised([lost], [replace(near, holdings=(member, young)), away, spare])
    assert promises.evicted == ("beside",)
    assert promises.holds[0].host_ids == ("host_0",)
