"""Victims are of a lower class, enough, none too many, and gangs go whole."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_pools import NOW_US, POOL, fits_at, groups, pools

from kumoi.core.placement.snapshot import Holding, HostView, PoolView, TaskView
from kumoi.core.queue.fairness import Amounts, amounts_sum, dominant_share
from kumoi.core.queue.order import CLASS_FLOORS
from kumoi.core.queue.preempt import DEVICE_CORES, Eviction, floors_protect, victims_choose
from kumoi.core.queue.standing import PoolUse
from kumoi.model.time import US_PER_S

MANY = 1_000


def without(hosts: Sequence[HostView], gone: Sequence[str]) -> list[HostView]:
    """The hosts as they are when these attempts have ended; nothing else ends meanwhile."""
    return [
        replace(
            host,
            holdings=tuple(
                replace(one, ends_us=NOW_US + MANY * US_PER_S)
                for one in host.holdings
                if one.attempt_id not in gone
            ),
        )
        for host in hosts
    ]


def holdings_of(hosts: Sequence[HostView]) -> dict[str, Holding]:
    return {holding.attempt_id: holding for host in hosts for holding in host.holdings}


@given(groups(), pools())
def test_victims_are_of_a_lower_class_and_enough(
    group: tuple[TaskView, ...], hosts: tuple[HostView, ...]
) -> None:
    found = victims_choose(group, POOL, hosts, NOW_US, MANY)
    if found is None:
        return
    live = holdings_of(hosts)
    assert len(set(found.attempt_ids)) == len(found.attempt_ids)
    assert all(live[victim].class_rank > group[0].class_rank for victim in found.attempt_ids)
    chosen = [host for host in without(hosts, found.attempt_ids) if host.id in found.host_ids]
    assert len(chosen) == len(found.host_ids) <= len(group)
    assert fits_at(group, chosen, NOW_US)


@given(groups(), pools())
def test_gangs_go_whole(group: tuple[TaskView, ...], hosts: tuple[HostView, ...]) -> None:
    found = victims_choose(group, POOL, hosts, NOW_US, MANY)
    victims = set(found.attempt_ids) if found else set()
    live = holdings_of(hosts)
    jobs = {live[victim].job_id for victim in victims if live[victim].gang}
    for attempt_id, holding in live.items():
        assert not (holding.gang and holding.job_id in jobs) or attempt_id in victims


@given(groups(), pools())
def test_a_task_alone_finds_room_whenever_ending_all_lower_work_would_make_some(
    group: tuple[TaskView, ...], hosts: tuple[HostView, ...]
) -> None:
    task = (replace(group[0], gang=None, gang_within=None),)
    lower = [name for name, one in holdings_of(hosts).items() if one.class_rank > task[0].class_rank]
    found = victims_choose(task, POOL, hosts, NOW_US, MANY)
    assert (found is not None) == fits_at(task, without(hosts, lower), NOW_US)


@given(groups(), pools())
def test_no_victim_of_a_task_could_be_left_out(
    group: tuple[TaskView, ...], hosts: tuple[HostView, ...]
) -> None:
    task = (replace(group[0], gang=None, gang_within=None),)
    found = victims_choose(task, POOL, hosts, NOW_US, MANY)
    if found is None:
        return
    live = holdings_of(hosts)
    ends = {victim: live[victim].job_id if live[victim].gang else victim for victim in found.attempt_ids}
    target = [host for host in without(hosts, found.attempt_ids) if fits_at(task, [host], NOW_US)]
    for spared in set(ends.values()):
        fewer = [victim for victim, unit in ends.items() if unit != spared]
        assert not any(
            fits_at(task, [host], NOW_US)
            for host in without(hosts, fewer)
            if host.id in {one.id for one in target}
        )


@given(groups(), pools(), st.integers(0, 3))
def test_no_more_end_than_the_pool_allows(
    group: tuple[TaskView, ...], hosts: tuple[HostView, ...], most: int
) -> None:
    found = victims_choose(group, POOL, hosts, NOW_US, most)
    assert found is None or len(found.attempt_ids) <= most


@given(groups(), pools())
def test_the_order_of_hosts_does_not_matter(group: tuple[TaskView, ...], hosts: tuple[HostView, ...]) -> None:
    assert victims_choose(group, POOL, hosts, NOW_US, MANY) == victims_choose(
        group, POOL, hosts[::-1], NOW_US, MANY
    )


@given(groups(), pools())
def test_what_a_floor_protects_is_not_ended(group: tuple[TaskView, ...], hosts: tuple[HostView, ...]) -> None:
    use = PoolUse()
    for host in hosts:
        use.host_enter(host)
    protected = floors_protect(hosts, use.capacity)
    found = victims_choose(group, POOL, hosts, NOW_US, MANY, protected)
    assert found is None or not protected & set(found.attempt_ids)
    live = holdings_of(hosts)
    for rank, floor in enumerate(CLASS_FLOORS):
        kept = [live[name] for name in protected if live[name].class_rank == rank]
        every = [one for one in live.values() if one.class_rank == rank]
        assert len(kept) == len(every) or dominant_share(amounts_sum(kept), use.capacity) >= floor


# One host, work side by side

HOST = HostView("host_1", "host-1", 0, 8_000, 100)
WANTED = TaskView("task_1", "job_1", "org_a", 4_000, 10, class_rank=0)


def on(host: HostView, *works: Holding) -> HostView:
    return replace(host, holdings=works)


def work(name: str, cpu_milli: int, age_s: int, **more: object) -> Holding:
    placed_us = NOW_US - age_s * US_PER_S
    return replace(Holding(name, f"job_{name}", "org_b", cpu_milli, 1, 0, (), placed_us, NOW_US, 2), **more)


def victims(host: HostView, *others: HostView) -> tuple[str, ...] | None:
    found = victims_choose([WANTED], POOL, [host, *others], NOW_US, MANY)
    return None if found is None else found.attempt_ids


@pytest.mark.parametrize(
    ("works", "chosen"),
    [
        # The youngest has least to lose.
        ((work("old", 4_000, 500), work("new", 4_000, 10)), ("new",)),
        # What can be restarted goes before what cannot, however old.
        ((work("old", 4_000, 900, restartable=True), work("new", 4_000, 10)), ("old",)),
        # One that is enough, not also the small one before it.
        ((work("small", 1_000, 1), work("large", 7_000, 10)), ("large",)),
        # Work of the same class stays, and so there is no room.
        ((work("same", 8_000, 1, class_rank=0),), None),
        ((work("same", 5_000, 1, class_rank=0), work("low", 3_000, 1)), None),
        # Nothing need end where there is room.
        ((work("low", 4_000, 1),), ()),
    ],
)
def test_least_is_lost(works: tuple[Holding, ...], chosen: tuple[str, ...] | None) -> None:
    assert victims(on(HOST, *works)) == chosen


def test_the_host_where_least_is_lost_is_taken() -> None:
    dear, cheap = on(HOST, work("dear", 8_000, 100)), on(replace(HOST, id="host_2"), work("cheap", 8_000, 10))
    assert victims(dear, cheap) == ("cheap",)


def test_a_device_counts_as_many_cores() -> None:
    lost = victims_choose(
        [WANTED], POOL, [on(HOST, work("one", 8_000, 10, devices=(("dev_1", 1_000),)))], NOW_US, MANY
    )
    assert lost == Eviction(("one",), (8 + DEVICE_CORES) * 10, ("host_1",))


def test_a_gang_takes_its_members_on_other_hosts_with_it_and_so_costs_more() -> None:
    here = on(HOST, work("member_1", 8_000, 10, job_id="job_gang", gang=True))
    there = on(replace(HOST, id="host_2"), work("member_2", 8_000, 10, job_id="job_gang", gang=True))
    alone = on(replace(HOST, id="host_3"), work("alone", 8_000, 15))
    assert victims(here, there) == ("member_1", "member_2")
    assert victims(here, there, alone) == ("alone",)


def test_tenants_that_share_no_host_leave_it_together() -> None:
    small = replace(WANTED, cpu_milli=1)
    host = on(HOST, work("low", 1_000, 10), work("mine", 1_000, 1, organization_id="org_a"))
    exclusive = PoolView("pool_1", exclusive=True)
    assert victims_choose([small], exclusive, [host], NOW_US, MANY) == Eviction(("low",), 10, ("host_1",))


def test_floors_protect_what_was_placed_first() -> None:
    works = [work(f"w{age}", 100, age) for age in range(10)]
    protected = floors_protect([on(HOST, *works)], Amounts(10_000, 1_000))
    assert protected == {"w9"}


def test_no_room_is_made_where_the_gang_cannot_go() -> None:
    here, there = on(HOST, work("here", 8_000, 900)), on(replace(HOST, id="host_2"), work("there", 8_000, 1))
    for near, chosen in ((None, ("there",)), ({"host_1"}, ("here",))):
        found = victims_choose([WANTED], POOL, [here, there], NOW_US, MANY, near=near)
        assert found is not None
        assert found.attempt_ids == chosen
    assert victims_choose([WANTED], POOL, [there], NOW_US, MANY, near={"host_1"}) is None
