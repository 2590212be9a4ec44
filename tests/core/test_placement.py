"""Placement decides only what fits, refuses only what does not, and always decides alike."""

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import groupby
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.placement import (
    DeviceView,
    HostView,
    Plan,
    Room,
    Snapshot,
    TaskView,
    place,
    refusal_reason,
    snapshot_digest,
)
from kumoi.core.placement.fit import (
    DEDICATED,
    NO_CPU,
    NO_DEVICE,
    NO_MEMORY,
    OTHER_POOL,
    OTHER_TENANT,
    devices_choose,
)
from kumoi.model.jobs import DeviceRequest

ORGANIZATIONS = ("org_a", "org_b", "org_c")
POOLS = ("pool_1", "pool_2")
MODELS = ("a100", "h200")
KINDS = ("gpu", "npu")


@st.composite
def devices(draw: st.DrawFn, host_id: str) -> tuple[DeviceView, ...]:
    made = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(MODELS)), max_size=4))
    return tuple(DeviceView(f"{host_id}-dev-{n}", kind, model) for n, (kind, model) in enumerate(made))


@st.composite
def hosts(draw: st.DrawFn) -> tuple[HostView, ...]:
    made = []
    for number in range(draw(st.integers(0, 5))):
        host_id = f"host_{number}"
        made.append(
            HostView(
                id=host_id,
                name=host_id,
                pool_id=draw(st.sampled_from(POOLS)),
                generation=draw(st.integers(0, 9)),
                cpu_milli_free=draw(st.integers(-500, 4_000)),
                memory_bytes_free=draw(st.integers(-10, 100)),
                devices_free=draw(devices(host_id)),
                tenants=draw(st.frozensets(st.sampled_from(ORGANIZATIONS), max_size=2)),
                dedicated_to=draw(st.sampled_from((None, None, *ORGANIZATIONS))),
                exclusive=draw(st.booleans()),
            )
        )
    return tuple(made)


requests = st.lists(
    st.builds(
        DeviceRequest,
        kind=st.sampled_from(KINDS),
        count=st.integers(1, 2),
        model=st.sampled_from((None, *MODELS)),
    ),
    max_size=2,
).map(tuple)


@st.composite
def tasks(draw: st.DrawFn) -> tuple[TaskView, ...]:
    made: list[TaskView] = []
    for job in range(draw(st.integers(0, 6))):
        gang = draw(st.booleans())
        task = TaskView(
            id="",
            job_id=f"job_{job}",
            organization_id=draw(st.sampled_from(ORGANIZATIONS)),
            pool_id=draw(st.sampled_from(POOLS)),
            cpu_milli=draw(st.integers(1, 3_000)),
            memory_bytes=draw(st.integers(1, 80)),
            devices=draw(requests),
            gang=f"job_{job}" if gang else None,
        )
        count = draw(st.integers(1, 4))
        made += [replace(task, id=f"task_{job}_{number}") for number in range(count)]
    return tuple(made)


snapshots = st.builds(Snapshot, hosts(), tasks())


def rooms_after(snapshot: Snapshot, plan: Plan) -> dict[str, Room]:
    """What is left on every host, reckoned from the plan alone, with the devices that it names."""
    rooms = {host.id: Room(host) for host in snapshot.hosts}
    views = {task.id: task for task in snapshot.tasks}
    for placed in plan.placed:
        room, task = rooms[placed.host_id], views[placed.task_id]
        room.cpu_milli -= task.cpu_milli
        room.memory_bytes -= task.memory_bytes
        room.devices = [device for device in room.devices if device.id not in placed.device_ids]
        room.tenants.add(task.organization_id)
    return rooms


@given(snapshots)
def test_every_task_is_answered_once(snapshot: Snapshot) -> None:
    plan = place(snapshot, 7, 3)
    answered = [placed.task_id for placed in plan.placed] + [refused.task_id for refused in plan.refused]
    assert Counter(answered) == Counter(task.id for task in snapshot.tasks)
    assert (plan.decided_us, plan.seed) == (7, 3)
    assert plan.snapshot_digest == snapshot_digest(snapshot)


@given(snapshots)
def test_no_host_gives_more_than_it_has(snapshot: Snapshot) -> None:
    plan = place(snapshot, 0, 0)
    used = {placed.host_id for placed in plan.placed}
    for host_id, room in rooms_after(snapshot, plan).items():
        if host_id in used:
            assert room.cpu_milli >= 0
            assert room.memory_bytes >= 0


@given(snapshots)
def test_a_task_gets_the_devices_that_it_asked_for_and_nobody_else_gets_them(snapshot: Snapshot) -> None:
    plan = place(snapshot, 0, 0)
    views = {task.id: task for task in snapshot.tasks}
    free = {device.id: (host.id, device) for host in snapshot.hosts for device in host.devices_free}
    given_out = [device_id for placed in plan.placed for device_id in placed.device_ids]
    assert len(given_out) == len(set(given_out))
    for placed in plan.placed:
        chosen = [free[device_id] for device_id in placed.device_ids]
        assert {host_id for host_id, _ in chosen} <= {placed.host_id}
        wanted = views[placed.task_id].devices
        assert len(chosen) == sum(request.count for request in wanted)
        for kind in KINDS:
            of_kind = [device for _, device in chosen if device.kind == kind]
            assert len(of_kind) == sum(request.count for request in wanted if request.kind == kind)
            for model in MODELS:
                least = sum(r.count for r in wanted if r.kind == kind and r.model == model)
                assert sum(device.model == model for device in of_kind) >= least


@given(snapshots)
def test_pools_dedication_and_tenants_are_respected(snapshot: Snapshot) -> None:
    plan = place(snapshot, 0, 0)
    views = {task.id: task for task in snapshot.tasks}
    tenants: dict[str, set[str]] = defaultdict(set)
    for placed in plan.placed:
        tenants[placed.host_id].add(views[placed.task_id].organization_id)
    for host in snapshot.hosts:
        mine = [views[placed.task_id] for placed in plan.placed if placed.host_id == host.id]
        assert all(task.pool_id == host.pool_id for task in mine)
        if host.dedicated_to is not None:
            assert tenants[host.id] <= {host.dedicated_to}
        if host.exclusive and tenants[host.id]:
            assert len(tenants[host.id] | host.tenants) == 1


@given(snapshots)
def test_a_gang_is_placed_whole_or_not_at_all(snapshot: Snapshot) -> None:
    plan = place(snapshot, 0, 0)
    placed = {one.task_id for one in plan.placed}
    for gang, members in groupby(snapshot.tasks, key=lambda task: task.gang):
        if gang is not None:
            assert len({member.id in placed for member in members}) == 1


@given(snapshots)
def test_a_task_is_refused_only_where_no_host_has_room_left(snapshot: Snapshot) -> None:
    """Later tasks only fill hosts, so what was refused does not fit what is left at the end either."""
    plan = place(snapshot, 0, 0)
    views = {task.id: task for task in snapshot.tasks}
    rooms = rooms_after(snapshot, plan)
    for refused in plan.refused:
        task = views[refused.task_id]
        assert sum(count for _, count in refused.reasons) <= len(snapshot.hosts)
        if task.gang is None:
            assert all(refusal_reason(room, task) is not None for room in rooms.values())
            assert sum(count for _, count in refused.reasons) == len(snapshot.hosts)


@given(snapshots)
def test_a_gang_is_refused_only_where_its_members_do_not_all_fit(snapshot: Snapshot) -> None:
    """Members are alike, so filling hosts one after the other finds room for all if there is any."""
    plan = place(snapshot, 0, 0)
    refused = {one.task_id for one in plan.refused}
    rooms = rooms_after(snapshot, plan)
    for gang, grouped in groupby(snapshot.tasks, key=lambda task: task.gang):
        members = list(grouped)
        if gang is None or members[0].id not in refused:
            continue
        fitting = 0
        for room in rooms_after(snapshot, plan).values():
            while fitting < len(members) and refusal_reason(room, members[0]) is None:
                room.take(members[0])
                fitting += 1
        assert fitting < len(members)
    assert rooms.keys() == {host.id for host in snapshot.hosts}


@given(snapshots, st.randoms(use_true_random=False))
def test_the_same_snapshot_gives_the_same_plan_in_whatever_order_its_hosts_come(
    snapshot: Snapshot, random: Random
) -> None:
    plan = place(snapshot, 0, 0)
    assert place(snapshot, 0, 0) == plan
    shuffled = list(snapshot.hosts)
    random.shuffle(shuffled)
    other = place(replace(snapshot, hosts=tuple(shuffled)), 0, 0)
    assert (other.placed, other.refused) == (plan.placed, plan.refused)


@given(snapshots)
@settings(max_examples=30)
def test_the_plan_says_how_many_hosts_would_have_done(snapshot: Snapshot) -> None:
    if any(task.gang for task in snapshot.tasks):
        snapshot = replace(snapshot, tasks=tuple(replace(task, gang=None) for task in snapshot.tasks))
    plan = place(snapshot, 0, 0)
    rooms = {host.id: Room(host) for host in sorted(snapshot.hosts, key=lambda host: host.id)}
    chosen = {placed.task_id: placed for placed in plan.placed}
    for task in snapshot.tasks:
        fitting = [host_id for host_id, room in rooms.items() if refusal_reason(room, task) is None]
        placed = chosen.get(task.id)
        assert (placed is not None) == bool(fitting)
        if placed is not None:
            assert (placed.host_id, placed.candidates) == (fitting[0], len(fitting))
            assert rooms[placed.host_id].take(task) == placed.device_ids


HOST = HostView("host_1", "host-1", "pool_1", 0, 2_000, 100, (DeviceView("d1", "gpu", "h200"),))
TASK = TaskView("task_1", "job_1", "org_a", "pool_1", 1_000, 50)


@pytest.mark.parametrize(
    ("host", "task", "reason"),
    [
        (HOST, TASK, None),
        (HOST, replace(TASK, cpu_milli=2_000, memory_bytes=100), None),
        (HOST, replace(TASK, pool_id="pool_2"), OTHER_POOL),
        (replace(HOST, dedicated_to="org_b"), TASK, DEDICATED),
        (replace(HOST, dedicated_to="org_a"), TASK, None),
        (replace(HOST, exclusive=True, tenants=frozenset({"org_b"})), TASK, OTHER_TENANT),
        (replace(HOST, exclusive=True, tenants=frozenset({"org_a"})), TASK, None),
        (replace(HOST, tenants=frozenset({"org_b"})), TASK, None),
        (HOST, replace(TASK, cpu_milli=2_001), NO_CPU),
        (HOST, replace(TASK, memory_bytes=101), NO_MEMORY),
        (HOST, replace(TASK, devices=(DeviceRequest("gpu"),)), None),
        (HOST, replace(TASK, devices=(DeviceRequest("gpu", model="h200"),)), None),
        (HOST, replace(TASK, devices=(DeviceRequest("gpu", model="a100"),)), NO_DEVICE),
        (HOST, replace(TASK, devices=(DeviceRequest("npu"),)), NO_DEVICE),
        (HOST, replace(TASK, devices=(DeviceRequest("gpu", 2),)), NO_DEVICE),
        (HOST, replace(TASK, devices=(DeviceRequest("gpu"), DeviceRequest("gpu"))), NO_DEVICE),
    ],
)
def test_a_host_says_why_it_refuses(host: HostView, task: TaskView, reason: str | None) -> None:
    assert refusal_reason(Room(host), task) == reason


def test_a_request_for_any_model_leaves_the_named_model_to_who_needs_it() -> None:
    free = (DeviceView("d1", "gpu", "h200"), DeviceView("d2", "gpu", "a100"))
    chosen = devices_choose(free, (DeviceRequest("gpu"), DeviceRequest("gpu", model="h200")))
    assert chosen is not None
    assert {device.id for device in chosen} == {"d1", "d2"}


@given(snapshots)
def test_the_digest_tells_snapshots_apart_and_knows_equal_ones(snapshot: Snapshot) -> None:
    again = replace(snapshot, hosts=tuple(replace(h, tenants=frozenset(h.tenants)) for h in snapshot.hosts))
    assert snapshot_digest(again) == snapshot_digest(snapshot)
    other = replace(snapshot, hosts=(*snapshot.hosts, HOST))
    assert snapshot_digest(other) != snapshot_digest(snapshot)
