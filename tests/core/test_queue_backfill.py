"""A date is kept: it is the earliest, and nothing that passes makes it later."""

import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from queue_pools import NOW_US, POOL, fits_at, groups, pools

from kumoi.core.placement.snapshot import (
    START_WINDOW_S,
    STOP_MOST_S,
    Holding,
    HostView,
    PoolView,
    TaskView,
    Window,
)
from kumoi.core.queue.backfill import Dated, group_date, hosts_hold
from kumoi.core.queue.space import Space, host_open
from kumoi.model.time import US_PER_S

NEVER_US = sys.maxsize


def moments(hosts: Sequence[HostView], wall_us: int) -> list[int]:
    """All times at which what fits could change, and those around them."""
    times = {NOW_US}
    for host in hosts:
        times |= {holding.ends_us for holding in host.holdings}
        for window in host.windows:
            times |= {window.start_us - wall_us, window.start_us, window.end_us}
    return sorted(at for time in times for at in (time - 1, time, time + 1) if at >= NOW_US)


@given(groups(), pools())
def test_the_date_is_the_earliest_time_at_which_the_group_fits(
    group: tuple[TaskView, ...], hosts: tuple[HostView, ...]
) -> None:
    dated = group_date(group, POOL, hosts, NOW_US)
    start_us = NEVER_US if dated is None else dated.start_us
    for at_us in moments(hosts, group[0].hold_us):
        if at_us < start_us:
            assert not fits_at(group, hosts, at_us)
    if dated is not None:
        mine = [host for host in hosts if host.id in dated.host_ids]
        assert len(mine) == len(dated.host_ids) <= len(group)
        assert fits_at(group, mine, start_us)
        assert dated.end_us == start_us + group[0].hold_us


# Six of seven groups fit nowhere, ever; those that do are looked for all the same.
@settings(suppress_health_check=(HealthCheck.filter_too_much, HealthCheck.too_slow))
@given(groups(), pools(), st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4_000), st.integers(1, 400))))
def test_nothing_that_may_pass_makes_the_date_later(
    group: tuple[TaskView, ...], hosts: tuple[HostView, ...], passing: list[tuple[int, int, int]]
) -> None:
    dated = group_date(group, POOL, hosts, NOW_US)
    assume(dated is not None)
    assert dated is not None
    held = hosts_hold(hosts, dated)
    for number, (index, cpu_milli, wall_time_s) in enumerate(passing):
        task = TaskView(f"later_{number}", f"later_{number}", "org_a", cpu_milli, 1, wall_time_s=wall_time_s)
        host = held[index % len(held)]
        if host_open(host, task, NOW_US) and Space(host).take(task):
            held[index % len(held)] = put(host, task)
    later = [replace(host, windows=before.windows) for host, before in zip(held, hosts, strict=True)]
    again = group_date(group, POOL, later, NOW_US)
    assert again is not None
    assert again.start_us <= dated.start_us


@given(groups(), groups(), pools())
def test_a_second_date_leaves_the_first_one(
    first: tuple[TaskView, ...], second: tuple[TaskView, ...], hosts: tuple[HostView, ...]
) -> None:
    dated = group_date(first, POOL, hosts, NOW_US)
    if dated is None:
        return
    after = group_date(second, POOL, hosts_hold(hosts, dated), NOW_US)
    if after is not None and set(after.host_ids) & set(dated.host_ids):
        assert after.end_us <= dated.start_us or after.start_us >= dated.end_us


@given(groups(), pools())
def test_the_order_of_hosts_does_not_matter(group: tuple[TaskView, ...], hosts: tuple[HostView, ...]) -> None:
    assert group_date(group, POOL, hosts, NOW_US) == group_date(group, POOL, hosts[::-1], NOW_US)


def put(host: HostView, task: TaskView) -> HostView:
    ends_us = NOW_US + task.hold_us
    holding = Holding(
        task.id, task.job_id, task.organization_id, task.cpu_milli, task.memory_bytes, 0, (), NOW_US, ends_us
    )
    return replace(host, holdings=(*host.holdings, holding))


HOST = HostView("host_1", "host-1", 0, 4_000, 100)
TASK = TaskView("task_1", "job_1", "org_a", 3_000, 10, wall_time_s=100)
LATE_S = START_WINDOW_S + STOP_MOST_S
LONG = TaskView("task_0", "job_0", "org_b", 2_000, 10, wall_time_s=500)


def at_s(seconds: int) -> int:
    return NOW_US + seconds * US_PER_S


def test_a_date_is_when_enough_has_ended() -> None:
    assert group_date([TASK], POOL, [put(HOST, LONG)], NOW_US) == Dated(
        "task_1", at_s(500 + LATE_S), at_s(600 + 2 * LATE_S), ("host_1",)
    )


def test_an_empty_host_is_taken_at_once() -> None:
    other = replace(HOST, id="host_2")
    dated = group_date([TASK], POOL, [put(HOST, LONG), other], NOW_US)
    assert dated == Dated("task_1", NOW_US, at_s(100 + LATE_S), ("host_2",))


def test_what_never_fits_has_no_date() -> None:
    assert group_date([replace(TASK, cpu_milli=4_001)], POOL, [HOST], NOW_US) is None


@pytest.mark.parametrize(("wall_time_s", "start_s"), [(100, 0), (150, 0), (151, 300 + LATE_S)])
def test_a_date_ends_before_a_reservation_of_others_or_comes_after_it(wall_time_s: int, start_s: int) -> None:
    window = Window("soon", "org_b", at_s(150 + LATE_S), at_s(300 + LATE_S))
    dated = group_date(
        [replace(TASK, wall_time_s=wall_time_s)], POOL, [replace(HOST, windows=(window,))], NOW_US
    )
    assert dated is not None
    assert dated.start_us == at_s(start_s)


def test_work_on_a_reservation_waits_until_it_starts() -> None:
    window = Window("soon", "org_a", at_s(150), at_s(300))
    task = replace(TASK, reservation="soon")
    dated = group_date([task], POOL, [HOST, replace(HOST, id="host_2", windows=(window,))], NOW_US)
    assert dated == Dated("task_1", at_s(150), at_s(250 + LATE_S), ("host_2",))


def test_tenants_that_share_no_host_wait_for_each_other() -> None:
    small = replace(TASK, cpu_milli=1)
    for pool, start_s in ((POOL, 0), (PoolView("pool_1", exclusive=True), 500 + LATE_S)):
        dated = group_date([small], pool, [put(HOST, LONG)], NOW_US)
        assert dated is not None
        assert dated.start_us == at_s(start_s)
