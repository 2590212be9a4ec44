"""Placement decides only what fits, refuses only what does not, and always decides alike."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_pools import (
    NOW_US,
    PlainHost,
    PlainPool,
    holds,
    host_views,
    hosts,
    plan_check,
    pool_views,
    tasks,
)

from kumoi.core.placement import fgd, mix, reasons
from kumoi.core.placement.device_match import devices_match
from kumoi.core.placement.pool import PoolPlacer
from kumoi.core.placement.registry import POLICY_NAMES
from kumoi.core.placement.snapshot import DeviceView, Hold, Holding, HostView, PoolView, TaskView, Window
from kumoi.model.jobs import DeviceRequest, GangScope, SpreadOver
from kumoi.model.time import US_PER_S

MANY = settings(max_examples=250, deadline=None)
SOME = settings(max_examples=80, deadline=None)
policies = st.sampled_from(POLICY_NAMES)
Hosts = tuple[HostView, ...]
Tasks = tuple[TaskView, ...]


def placer_of(pool: PoolView, views: Sequence[HostView], policy: str = "best_fit") -> PoolPlacer:
    placer = PoolPlacer(pool, policy)
    placer.hosts_put(views)
    return placer


@MANY
@given(
    pool_views,
    hosts(),
    tasks(),
    policies,
    st.lists(holds(), max_size=2, unique_by=lambda hold: hold.group_id),
)
def test_what_is_placed_is_right_and_what_is_refused_fits_nowhere(
    pool: PoolView, views: Hosts, waiting: Tasks, policy: str, kept: list[Hold]
) -> None:
    placed, refused = placer_of(pool, views, policy).place(waiting, NOW_US, kept)
    plan_check(PlainPool.of(pool, views), waiting, placed, refused, kept)


@SOME
@given(pool_views, hosts(), tasks(), policies, st.lists(holds(), max_size=1))
def test_placing_changes_nothing_and_gives_the_same_again(
    pool: PoolView, views: Hosts, waiting: Tasks, policy: str, kept: list[Hold]
) -> None:
    placer = placer_of(pool, views, policy)
    before = state_of(placer)
    first = placer.place(waiting, NOW_US, kept)
    assert state_of(placer) == before
    assert placer.place(waiting, NOW_US, kept) == first
    assert placer_of(pool, views, policy).place(waiting, NOW_US, kept) == first


def state_of(placer: PoolPlacer) -> list[list[object]]:
    """What a placer knows of its hosts, as lists."""
    table, residents, size = placer.table, placer.residents, len(placer.views)
    arrays: list[np.ndarray] = [table.cpu_free, table.memory_free, table.disk_free, table.gpu_free]
    arrays += [table.slot_free, table.slot_used, table.whole_free, table.active, table.slot_healthy]
    arrays += [residents.tenant[:size], residents.sharer[:size], residents.recluse[:size]]
    return [array.tolist() for array in arrays] + [[dict(residents.holds)]]


@st.composite
def changes(draw: st.DrawFn) -> tuple[tuple[Hosts, tuple[str, ...]], ...]:
    """Hosts that come, change and go, in steps."""
    numbers = st.integers(0, 4)
    steps = []
    for _ in range(draw(st.integers(1, 5))):
        put = draw(st.lists(numbers, max_size=3, unique=True))
        gone = [f"host_{number}" for number in draw(st.lists(numbers, max_size=2)) if number not in put]
        steps.append((tuple(draw(host_views(number)) for number in put), tuple(gone)))
    return tuple(steps)


@SOME
@given(pool_views, changes(), st.data(), policies)
def test_following_changes_is_the_same_as_knowing_from_the_start(
    pool: PoolView, steps: tuple[tuple[Hosts, tuple[str, ...]], ...], data: st.DataObject, policy: str
) -> None:
    placer = PoolPlacer(pool, policy)
    joined: dict[str, None] = {}
    there: dict[str, HostView] = {}
    for put, gone in steps:
        waiting = data.draw(tasks())
        with patch.object(fgd, "REFRESH_ARRIVALS", 3), patch.object(mix, "FIRST_ARRIVALS", 3):
            placer.learn(waiting)
        placer.hosts_put(put)
        placer.hosts_remove(gone)
        joined |= dict.fromkeys(view.id for view in put)
        there |= {view.id: view for view in put}
        there = {host_id: view for host_id, view in there.items() if host_id not in gone}
        fresh = placer_of(pool, [there[host_id] for host_id in joined if host_id in there], policy)
        fresh.learned_put(placer.learned())
        assert placer.place(waiting, NOW_US) == fresh.place(waiting, NOW_US)


@SOME
@given(pool_views, hosts(), tasks(), policies)
def test_a_placer_made_anew_decides_as_one_that_never_knew_another(
    pool: PoolView, views: Hosts, waiting: Tasks, policy: str
) -> None:
    placer = placer_of(pool, views, policy)
    placer.learn(waiting)
    backwards = tuple(reversed(views))
    anew = placer.anew(backwards)
    fresh = placer_of(pool, backwards, policy)
    fresh.learned_put(placer.learned())
    assert anew.learned() == placer.learned()
    assert anew.place(waiting, NOW_US) == fresh.place(waiting, NOW_US)


@SOME
@given(pool_views, hosts(), tasks())
def test_every_open_host_says_why_it_refuses_a_task(pool: PoolView, views: Hosts, waiting: Tasks) -> None:
    placer = placer_of(pool, views)
    plain = PlainPool.of(pool, views)
    for task in waiting:
        told = placer.refusals(task, NOW_US)
        fitting = plain.fitting(task)
        assert sum(count for _, count in told) == len(views) - len(fitting)
        allowed = placer.allowed(task, NOW_US)
        free = [plain.hindrance(task, host) is None for host in plain.hosts.values()]
        if len(task.devices) < 2:
            assert ([True] * len(views) if allowed is None else allowed.tolist()) == free


@SOME
@given(host_views(0), st.lists(st.sampled_from(("a100", "h200", "")), min_size=1, max_size=4), st.data())
def test_several_requests_get_devices_of_their_own_whenever_there_are_enough(
    view: HostView, models: list[str], data: st.DataObject
) -> None:
    view = replace(view, cpu_milli=9_000, memory_bytes=90, disk_bytes=90, holdings=())
    wishes = tuple(
        DeviceRequest("gpu", models=(model,) if model else (), milli=data.draw(st.sampled_from((400, 1_000))))
        for model in models
    )
    task = TaskView("task_1", "job_1", "org_a", 1, 1, devices=wishes)
    chosen = placer_of(PoolView("pool_1"), [view]).slots_choose(0, task)
    assert (chosen is not None) == any(True for _ in PlainHost.of(view).choices(wishes))
    if chosen is not None:
        assert len({slot for slot, _ in chosen}) == len(wishes)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ([], []),
        ([[2, 1]], [2]),
        ([[1], [1]], None),
        ([[1, 2], [1]], [2, 1]),
        ([[1, 2], [1, 3], [1]], [2, 3, 1]),
        ([[1, 2], [2, 3], [1, 3], [3]], None),
        ([[1, 2], [2, 3], [3]], [1, 2, 3]),
    ],
)
def test_a_holder_moves_on_only_where_it_must(wanted: list[list[int]], chosen: list[int] | None) -> None:
    assert devices_match(wanted) == chosen


GPU = DeviceView("d1", "gpu", "h200")
HOST = HostView("host_1", "host-1", 0, 2_000, 100, 10, (GPU,))
TASK = TaskView("task_1", "job_1", "org_a", 1_000, 50, 5, wall_time_s=100)
SHARE = replace(TASK, devices=(DeviceRequest("gpu", milli=500),))
HELD = Holding("att_1", "job_2", "org_b", 100, 10, 0, (("d1", 300),), 0, 0)
SOON = Window("spring", "org_b", NOW_US + replace(TASK, wall_time_s=99).hold_us, NOW_US + 200 * US_PER_S)
NOW = replace(SOON, organization_id="org_a", start_us=NOW_US)


def asks(*devices: DeviceRequest) -> TaskView:
    return replace(TASK, devices=devices)


@pytest.mark.parametrize(
    ("host", "task", "reason"),
    [
        (HOST, TASK, None),
        (HOST, replace(TASK, cpu_milli=2_000, memory_bytes=100, disk_bytes=10), None),
        (HOST, replace(TASK, cpu_milli=2_001), reasons.NO_CPU),
        (HOST, replace(TASK, memory_bytes=101), reasons.NO_MEMORY),
        (HOST, replace(TASK, disk_bytes=11), reasons.NO_DISK),
        (replace(HOST, holdings=(replace(HELD, cpu_milli=1_001),)), TASK, reasons.NO_CPU),
        (replace(HOST, dedicated_to="org_b"), TASK, reasons.DEDICATED),
        (replace(HOST, dedicated_to="org_a"), TASK, None),
        (HOST, replace(TASK, dedicated=True), reasons.NOT_DEDICATED),
        (replace(HOST, dedicated_to="org_a"), replace(TASK, dedicated=True), None),
        (replace(HOST, holdings=(HELD,)), TASK, None),
        (replace(HOST, holdings=(HELD,)), replace(TASK, alone=True), reasons.OTHER_TENANT),
        (replace(HOST, holdings=(replace(HELD, alone=True),)), TASK, reasons.OTHER_TENANT),
        (replace(HOST, holdings=(replace(HELD, alone=True, organization_id="org_a"),)), TASK, None),
        (replace(HOST, holdings=(HELD,)), SHARE, reasons.OTHER_SHARER),
        (replace(HOST, holdings=(replace(HELD, organization_id="org_a"),)), SHARE, None),
        (replace(HOST, windows=(SOON,)), TASK, reasons.RESERVED),
        (replace(HOST, windows=(SOON,)), replace(TASK, wall_time_s=99), None),
        (replace(HOST, windows=(replace(SOON, organization_id="org_a"),)), TASK, None),
        (HOST, replace(TASK, reservation="spring"), reasons.NOT_RESERVED),
        (replace(HOST, windows=(NOW,)), replace(TASK, reservation="spring"), None),
        (replace(HOST, windows=(NOW,)), replace(TASK, reservation="autumn"), reasons.NOT_RESERVED),
        (replace(HOST, windows=(replace(NOW, end_us=NOW_US),)), replace(TASK, reservation="spring"),
         reasons.NOT_RESERVED),
        (HOST, asks(DeviceRequest("gpu")), None),
        (HOST, asks(DeviceRequest("gpu", models=("a100", "h200"))), None),
        (HOST, asks(DeviceRequest("gpu", models=("a100",))), reasons.NO_DEVICE),
        (HOST, asks(DeviceRequest("npu")), reasons.NO_DEVICE),
        (HOST, asks(DeviceRequest("gpu", partition="1g.18gb")), reasons.NO_DEVICE),
        (HOST, asks(DeviceRequest("gpu", 2)), reasons.NO_DEVICE),
        (HOST, asks(DeviceRequest("gpu", milli=500), DeviceRequest("gpu", milli=500)),
         reasons.NO_DEVICE),
        (replace(HOST, devices=(replace(GPU, healthy=False),)), asks(DeviceRequest("gpu")),
         reasons.NO_DEVICE),
        (replace(HOST, devices=(replace(GPU, partition="1g.18gb"),)), asks(DeviceRequest("gpu")),
         reasons.NO_DEVICE),
        (replace(HOST, holdings=(replace(HELD, organization_id="org_a"),)),
         asks(DeviceRequest("gpu", milli=701)), reasons.NO_DEVICE),
        (replace(HOST, holdings=(replace(HELD, job_id="job_1"),)),
         replace(TASK, spread_over=SpreadOver.HOST), reasons.SPREAD),
        (replace(HOST, holdings=(replace(HELD, job_id="job_1"),)),
         replace(TASK, spread_over=SpreadOver.FAILURE_DOMAIN, spread_most=2), None),
    ],
)  # fmt: skip
def test_a_host_says_why_it_refuses(host: HostView, task: TaskView, reason: str | None) -> None:
    placed, refused = placer_of(PoolView("pool_1"), [host]).place([task], NOW_US)
    assert [one.host_id for one in placed] == ([] if reason else ["host_1"])
    assert [one.reasons for one in refused] == ([((reason, 1),)] if reason else [])


@pytest.mark.parametrize(
    ("pool", "task", "placed"),
    [
        (PoolView("p"), TASK, True),
        (PoolView("p", exclusive=True), TASK, False),
        (PoolView("p", exclusive=True), replace(TASK, organization_id="org_b"), True),
        (PoolView("p"), SHARE, False),
        (PoolView("p", devices_shared=True), SHARE, True),
    ],
)
def test_what_organizations_share_is_up_to_the_pool(pool: PoolView, task: TaskView, placed: bool) -> None:
    host = replace(HOST, holdings=(HELD,))
    assert bool(placer_of(pool, [host]).place([task], NOW_US)[0]) is placed


def test_a_kept_host_takes_what_ends_in_time_and_whom_it_is_kept_for() -> None:
    placer = placer_of(PoolView("pool_1"), [HOST])
    gang = replace(TASK, id="task_2", gang="job_1")
    start_us, until_us = NOW_US + replace(TASK, wall_time_s=99).hold_us, NOW_US + 1
    for group, task, reason in (
        ("job_9", TASK, reasons.HELD),
        ("job_9", replace(TASK, wall_time_s=99), None),
        ("job_9", gang, reasons.HELD),
        ("job_1", gang, None),
        ("task_1", TASK, None),
    ):
        hold = Hold(group, ("host_1", "host_unknown"), start_us, until_us)
        _, refused = placer.place([task], NOW_US, [hold])
        assert [one.reasons for one in refused] == ([((reason, 1),)] if reason else [])
        assert placer.place([task], NOW_US, [replace(hold, until_us=NOW_US)])[1] == ()
        assert placer.place([task], NOW_US)[1] == ()


@pytest.mark.parametrize(("class_rank", "takes"), [(0, True), (1, False), (2, False)])
def test_a_host_kept_for_a_class_takes_work_of_those_above(class_rank: int, takes: bool) -> None:
    hold = Hold("job_9", ("host_1",), NOW_US, NOW_US + 1, class_rank=1)
    placer = placer_of(PoolView("pool_1"), [HOST])
    task = replace(TASK, class_rank=class_rank)
    assert bool(placer.place([task], NOW_US, [hold])[0]) is takes
    assert bool(placer.place([task], NOW_US, [replace(hold, class_rank=2), hold])[0]) is takes


def test_the_second_organization_stays_off_a_host_that_work_is_alone_on() -> None:
    alone = replace(TASK, id="task_1", alone=True, cpu_milli=100, memory_bytes=1, disk_bytes=0)
    other = replace(alone, id="task_2", alone=False, organization_id="org_b", job_id="job_2")
    own = replace(other, id="task_3", organization_id="org_a", job_id="job_3")
    placed, refused = placer_of(PoolView("pool_1"), [HOST]).place([alone, other, own], NOW_US)
    assert [one.task_id for one in placed] == ["task_1", "task_3"]
    assert [one.reasons for one in refused] == [((reasons.OTHER_TENANT, 1),)]


def _near(number: int, island: str, cpu_milli: int) -> HostView:
    return replace(HOST, id=f"host_{number}", fabric_island=island, cpu_milli=cpu_milli, memory_bytes=900)


@pytest.mark.parametrize(
    ("within", "hosts_used"),
    [
        (GangScope.HOST, {"host_3"}),
        (GangScope.FABRIC_ISLAND, {"host_1", "host_2"}),
        (GangScope.SITE, {"host_0", "host_1", "host_2"}),
        (None, {"host_0", "host_1", "host_2"}),
    ],
)
def test_a_gang_goes_to_the_tightest_place_that_is_near_enough(
    within: GangScope | None, hosts_used: set[str]
) -> None:
    views = [_near(0, "one", 1_000), _near(1, "two", 2_000), _near(2, "two", 2_000), _near(3, "four", 9_000)]
    gang = [replace(TASK, id=f"task_{n}", gang="job_1", gang_within=within, disk_bytes=0) for n in range(4)]
    placed, _ = placer_of(PoolView("pool_1"), views).place(gang, NOW_US)
    assert {one.host_id for one in placed} == hosts_used
    lost = replace(views[3], holdings=(replace(HELD, job_id="job_1", memory_bytes=1),))
    again = placer_of(PoolView("pool_1"), [*views[:3], lost]).place(gang[:1], NOW_US)
    near = within in (GangScope.HOST, GangScope.FABRIC_ISLAND)
    assert [one.host_id for one in again[0]] == (["host_3"] if near else ["host_0"])


def test_what_a_gang_took_before_it_failed_is_free_for_the_next() -> None:
    views = [replace(HOST, id=f"host_{n}", failure_domain="rack_1", memory_bytes=900) for n in range(2)]
    gang = [
        replace(TASK, id=f"task_{n}", gang="job_1", spread_over=SpreadOver.FAILURE_DOMAIN) for n in range(2)
    ]
    large = [replace(TASK, id=f"task_{n}", job_id="job_2", cpu_milli=2_000) for n in range(2, 4)]
    placed, refused = placer_of(PoolView("pool_1"), views).place([*gang, *large], NOW_US)
    assert [one.task_id for one in refused] == ["task_0", "task_1"]
    assert [one.host_id for one in placed] == ["host_0", "host_1"]


def test_the_first_three_candidates_are_told_with_their_costs() -> None:
    views = [replace(HOST, id=f"host_{n}", cpu_milli=9_000 - n * 1_000) for n in range(5)]
    (placed,), _ = placer_of(PoolView("pool_1"), views).place([TASK], NOW_US)
    assert placed.candidates == 5
    assert [one.host_id for one in placed.best] == ["host_4", "host_3", "host_2"]
    assert [one.cost for one in placed.best] == sorted(one.cost for one in placed.best)


def test_hosts_of_another_model_later_do_not_hide_from_who_takes_any() -> None:
    placer = placer_of(PoolView("pool_1"), [])
    any_gpu = asks(DeviceRequest("gpu"))
    place = partial(placer.place, [any_gpu], NOW_US)
    assert place()[1]
    placer.hosts_put([HOST])
    assert place()[0]
    placer.hosts_remove(["host_1"])
    assert place()[1]
    placer.hosts_put([replace(HOST, id="host_2", devices=(DeviceView("d2", "gpu", "b300"),))])
    assert [one.devices for one in place()[0]] == [(("d2", 1_000),)]


def test_hosts_whose_devices_are_alike_are_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    small = [replace(HOST, id=f"small_{n}", cpu_milli=10) for n in range(5)]
    alike = [
        replace(HOST, id=f"alike_{n}", devices=tuple(DeviceView(f"{n}_{m}", "gpu", "a100") for m in range(2)))
        for n in range(20)
    ]
    placer = PoolPlacer(PoolView("pool"), "best_fit")
    placer.hosts_put(small + alike)
    tried = []

    def slots_choose(of: PoolPlacer, row: int, task: TaskView) -> Any:
        tried.append(row)
        return choose(of, row, task)

    choose = PoolPlacer.slots_choose
    monkeypatch.setattr(PoolPlacer, "slots_choose", slots_choose)
    placed, _ = placer.place([asks(DeviceRequest("gpu"), DeviceRequest("gpu"))], NOW_US)
    assert [one.host_id for one in placed] == ["alike_0"]
    assert tried == [5, 5], "once to know, once to take"


@pytest.mark.parametrize(
    "rules", [{"spread_over": SpreadOver.HOST}, {"gang_within": GangScope.HOST}, {"alone": True}]
)
def test_of_an_engine_that_chooses_hosts_only_the_room_is_counted(rules: dict[str, Any]) -> None:
    views = [replace(HOST, id=f"host_{n}", devices=()) for n in range(2)]
    room = HOST.cpu_milli // TASK.cpu_milli
    gang = [replace(TASK, id=f"task_{n}", gang="job", **rules) for n in range(2 * room)]
    for pool_only in (True, False):
        placer = PoolPlacer(PoolView("pool", chooses_pool_only=pool_only), "fgd")
        placer.hosts_put(views)
        placed, refused = placer.place(gang, NOW_US)
        assert bool(placed) is (pool_only or "alone" in rules)
        assert {scored.cost for one in placed for scored in one.best} <= {0} or not pool_only
        placed, refused = placer.place([*gang, replace(gang[0], id="one_more")], NOW_US)
        assert not placed, "there is room for so many only"
        assert len(refused) == len(gang) + 1
