"""Moves are few, possible, of restartable work only, and gain what they say."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.placement.snapshot import DeviceView, Holding, HostView, PoolView, TaskView
from kumoi.core.queue.defragment import MOVE_AGE_S, Defragmentation, moves_propose
from kumoi.core.queue.space import Space
from kumoi.model.jobs import DeviceRequest
from kumoi.model.time import US_PER_S

NOW_US = 10_000_000_000
POOL = PoolView("pool_1", devices_shared=True)
WHOLE_HOST = TaskView("task", "job", "org_a", 1_000, 1, devices=(DeviceRequest("gpu", 4),))


def holding(name: str, host: int, slots: tuple[int, ...], milli: int = 1_000, **more: object) -> Holding:
    facts: dict[str, object] = {
        "attempt_id": name,
        "job_id": f"job_{name}",
        "organization_id": "org_a",
        "cpu_milli": 1_000,
        "memory_bytes": 1,
        "disk_bytes": 0,
        "devices": tuple((f"d{host}-{slot}", milli) for slot in slots),
        "placed_us": 0,
        "ends_us": NOW_US * 2,
        "restartable": True,
    }
    return Holding(**(facts | more))  # type: ignore[arg-type]


def host(number: int, *holdings: Holding, gpus: int = 4) -> HostView:
    devices = tuple(DeviceView(f"d{number}-{slot}", "gpu", "H200") for slot in range(gpus))
    return HostView(f"host_{number}", f"host-{number}", 0, 64_000, 100, devices=devices, holdings=holdings)


@st.composite
def pools(draw: st.DrawFn) -> list[HostView]:
    made = []
    for number in range(draw(st.integers(1, 6))):
        holdings: list[Holding] = []
        for slot in range(4):
            if draw(st.booleans()):
                name = f"a{number}{slot}"
                restartable, gang = draw(st.booleans()), draw(st.booleans())
                holdings.append(
                    holding(
                        name,
                        number,
                        (slot,),
                        draw(st.sampled_from((300, 1_000))),
                        restartable=restartable,
                        gang=gang,
                    )
                )
        made.append(host(number, *holdings))
    return made


def places(hosts: list[HostView], target: TaskView) -> int:
    return sum(Space(one).count(target, 64) for one in hosts)


def after(hosts: list[HostView], found: Defragmentation) -> list[HostView]:
    """The hosts once the moves are made, each mover on free devices of its new host."""
    views = {one.id: one for one in hosts}
    for move in found.moves:
        source, target = views[move.from_host_id], views[move.to_host_id]
        (mover,) = [one for one in source.holdings if one.attempt_id == move.attempt_id]
        wishes = tuple(DeviceRequest("gpu", 1, ("H200",), milli) for _, milli in mover.devices)
        task = TaskView(
            mover.attempt_id, mover.job_id, mover.organization_id, mover.cpu_milli, 1, devices=wishes
        )
        assert Space(target).fits(task), "a task was moved to a host without room for it"
        free = {device.id: 1_000 for device in target.devices}
        for one in target.holdings:
            for device_id, milli in one.devices:
                free[device_id] -= milli
        taken = []
        for _, milli in mover.devices:
            device_id = min((left, name) for name, left in free.items() if left >= milli)[1]
            free[device_id] -= milli
            taken.append((device_id, milli))
        views[source.id] = replace(source, holdings=tuple(one for one in source.holdings if one is not mover))
        views[target.id] = replace(target, holdings=(*target.holdings, replace(mover, devices=tuple(taken))))
    return list(views.values())


@given(pools(), st.integers(0, 8), st.integers(1, 3))
@settings(max_examples=150)
def test_moves_are_bounded_possible_and_gain_what_they_say(
    hosts: list[HostView], most: int, wanted: int
) -> None:
    found = moves_propose(WHOLE_HOST, POOL, hosts, NOW_US, most, wanted)
    assert len(found.moves) <= most
    assert found.places_before == places(hosts, WHOLE_HOST)
    assert found.places_after == places(after(hosts, found), WHOLE_HOST)
    assert bool(found.moves) == (found.places_after > found.places_before)
    views = {view.id: view for view in after(hosts, found)}
    chosen = [views[host_id] for host_id in found.host_ids]
    assert places(chosen, WHOLE_HOST) == min(wanted, found.places_after)
    movable = {one.attempt_id for view in hosts for one in view.holdings if one.restartable and not one.gang}
    moved = [move.attempt_id for move in found.moves]
    assert len(set(moved)) == len(moved)
    assert set(moved) <= movable
    assert moves_propose(WHOLE_HOST, POOL, list(reversed(hosts)), NOW_US, most, wanted) == found


def test_two_halves_become_a_whole_host() -> None:
    hosts = [host(0, holding("a", 0, (0,))), host(1, holding("b", 1, (0, 1)))]
    found = moves_propose(WHOLE_HOST, POOL, hosts, NOW_US, 4)
    assert [(move.attempt_id, move.from_host_id, move.to_host_id) for move in found.moves] == [
        ("a", "host_0", "host_1")
    ]
    assert (found.places_before, found.places_after) == (0, 1)
    assert found.lost_core_s == (1_000 + 16 * 1_000) * (NOW_US // 1_000_000) // 1_000


def test_work_that_cannot_be_restarted_stays() -> None:
    hosts = [host(0, holding("a", 0, (0,), restartable=False)), host(1, holding("b", 1, (0,), gang=True))]
    assert moves_propose(WHOLE_HOST, POOL, hosts, NOW_US, 4).moves == ()


def test_only_work_of_no_higher_class_that_was_placed_long_ago_moves() -> None:
    standing = host(1, holding("b", 1, (0, 1), restartable=False))
    young_us = NOW_US - MOVE_AGE_S * US_PER_S + 1
    for facts, moves in (
        ({"class_rank": 1}, 1),
        ({"class_rank": 2}, 1),
        ({"class_rank": 0}, 0),
        ({"placed_us": young_us - 1}, 1),
        ({"placed_us": young_us}, 0),
    ):
        found = moves_propose(
            WHOLE_HOST, POOL, [host(0, holding("a", 0, (0,), **facts)), standing], NOW_US, 4
        )
        assert len(found.moves) == moves


def test_moves_stop_when_the_targets_fit() -> None:
    hosts = [host(0), *(host(number, holding(f"a{number}", number, (0,))) for number in range(1, 5))]
    found = moves_propose(WHOLE_HOST, POOL, hosts, NOW_US, 8, 2)
    assert len(found.moves) == 1
    assert (found.places_before, found.places_after) == (1, 2)
    assert len(found.host_ids) == 2
    assert moves_propose(WHOLE_HOST, POOL, hosts, NOW_US, 8, 1).moves == ()
