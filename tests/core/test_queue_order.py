"""Nobody passes a quota, nobody starves, and organizations that wait get fair shares."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.placement.snapshot import DeviceView, Holding, HostView, TaskView
from kumoi.core.queue.fairness import MEMORY_S, Amounts, amounts_of, amounts_sum, level
from kumoi.core.queue.order import AGING_S, CLASS_FLOORS, STARVATION_S, HeldReason, Order, Waiting, order
from kumoi.core.queue.prices import Prices, price_microyen
from kumoi.core.queue.standing import PoolUse, Standing
from kumoi.model.jobs import DeviceRequest
from kumoi.model.time import US_PER_S

NOW_US = 1_000_000 * US_PER_S
ORGANIZATIONS = ("org_a", "org_b", "org_c", "org_d")
Queues = dict[str, list[Waiting]]


def pool(*holdings: Holding) -> PoolUse:
    devices = tuple(DeviceView(f"dev_{number}", "gpu", "h200") for number in range(8))
    use = PoolUse()
    use.host_enter(HostView("host_1", "host-1", 0, 100_000, 1_000, 0, devices, holdings))
    return use


def held(organization_id: str, cpu_milli: int, class_rank: int = 1) -> Holding:
    name = f"att_{organization_id}_{cpu_milli}_{class_rank}"
    return Holding(name, "job_x", organization_id, cpu_milli, 1, 0, (), 0, NOW_US, class_rank)


def waiting(
    organization_id: str, number: int, *, waited_s: int = 0, gang: str | None = None, **more: int
) -> Waiting:
    view = TaskView(
        f"task_{organization_id}_{number}",
        f"job_{organization_id}_{gang or number}",
        organization_id,
        more.pop("cpu_milli", 1_000),
        more.pop("memory_bytes", 1),
        gang=gang,
        class_rank=more.pop("class_rank", 1),
        priority=more.pop("priority", 0),
        wall_time_s=more.pop("wall_time_s", 3_600),
    )
    assert not more
    return Waiting(view, NOW_US - waited_s * US_PER_S)


@st.composite
def queues(draw: st.DrawFn) -> Queues:
    made: Queues = defaultdict(list)
    for job in range(draw(st.integers(0, 14))):
        organization_id = draw(st.sampled_from(ORGANIZATIONS))
        size = draw(st.integers(1, 4))
        gang = f"gang_{job}" if draw(st.booleans()) else None
        waited_s = draw(st.integers(0, 2 * STARVATION_S))
        view = TaskView(
            "",
            f"job_{job}",
            organization_id,
            draw(st.integers(1, 30_000)),
            draw(st.integers(1, 300)),
            devices=draw(
                st.sampled_from(((), (DeviceRequest("gpu", 2),), (DeviceRequest("gpu", 1, (), 500),)))
            ),
            gang=gang,
            class_rank=draw(st.integers(0, 2)),
            priority=draw(st.integers(-1_000, 1_000)),
            wall_time_s=draw(st.integers(1, 10_000)),
        )
        submitted_us = NOW_US - waited_s * US_PER_S
        made[organization_id] += [
            Waiting(replace(view, id=f"task_{job}_{number}"), submitted_us) for number in range(size)
        ]
    return dict(made)


limits = st.one_of(st.none(), st.integers(-1_000, 60_000))
standings = st.dictionaries(
    st.sampled_from(ORGANIZATIONS),
    st.builds(
        Standing,
        weight=st.integers(1, 5),
        usage_s=st.floats(0, MEMORY_S),
        quota_left=st.tuples(limits, limits, limits, limits, limits),
        budget_left_microyen=st.one_of(st.none(), st.integers(-5, 10_000_000)),
    ),
)
uses = st.lists(
    st.builds(held, st.sampled_from(ORGANIZATIONS), st.integers(1, 9_000), st.integers(0, 2)), max_size=5
).map(lambda made: pool(*made))
PRICES = Prices(1_000_000, 0, 5_000_000)


def by_id(made: Queues) -> dict[str, Waiting]:
    return {one.task.id: one for theirs in made.values() for one in theirs}


@given(queues(), standings, uses, st.integers(0, 60))
def test_every_task_is_answered_once_and_gangs_whole(
    made: Queues, theirs: dict[str, Standing], use: PoolUse, most: int
) -> None:
    answer = order(made, theirs, use, NOW_US, most, PRICES)
    ids = [task.id for task in answer.tasks] + [one.task_id for one in answer.held]
    assert sorted(ids) == sorted(by_id(made))
    assert len(answer.tasks) < most + 4
    places: dict[str, list[int]] = defaultdict(list)
    for place, task in enumerate(answer.tasks):
        if task.gang is not None:
            places[task.gang].append(place)
    for gang, found in places.items():
        members = sum(one.task.gang == gang for one in by_id(made).values())
        assert found == list(range(found[0], found[0] + members))


@given(queues(), standings, uses)
def test_quotas_and_budgets_are_never_passed(made: Queues, theirs: dict[str, Standing], use: PoolUse) -> None:
    answer = order(made, theirs, use, NOW_US, 100, PRICES)
    for organization_id, standing in theirs.items():
        taken = [task for task in answer.tasks if task.organization_id == organization_id]
        for amount, most in zip(amounts_sum(taken), standing.quota_left, strict=True):
            assert most is None or not amount or amount <= most
        if standing.budget_left_microyen is not None and taken:
            promised = sum(price_microyen(PRICES, amounts_of(task), task.wall_time_s) for task in taken)
            # Prices are rounded up for each group, so a gang's is at most the sum of its tasks'.
            assert promised <= standing.budget_left_microyen + 3 * len(taken)


@given(queues(), standings, uses)
def test_only_what_would_pass_a_limit_is_held(
    made: Queues, theirs: dict[str, Standing], use: PoolUse
) -> None:
    answer = order(made, theirs, use, NOW_US, 1_000, PRICES)
    assert {one.reason for one in answer.held} <= {HeldReason.OVER_QUOTA, HeldReason.OVER_BUDGET}
    for one in answer.held:
        task = by_id(made)[one.task_id].task
        standing = theirs[task.organization_id]
        taken = [other for other in answer.tasks if other.organization_id == task.organization_id]
        members = [other.task for other in made[task.organization_id] if other.task.gang == task.gang]
        group = members if task.gang is not None else [task]
        if one.reason is HeldReason.OVER_QUOTA:
            both = amounts_sum([*taken, *group])
            assert any(
                most is not None and amount > most
                for amount, most in zip(both, standing.quota_left, strict=True)
            )
        else:
            assert standing.budget_left_microyen is not None


@given(queues(), standings, uses, st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_the_work_is_given(
    made: Queues, theirs: dict[str, Standing], use: PoolUse, random: st.randoms
) -> None:
    answer = order(made, theirs, use, NOW_US, 20, PRICES)
    names = list(made)
    random.shuffle(names)
    shuffled = {name: random.sample(made[name], len(made[name])) for name in names}
    again = order(shuffled, theirs, use, NOW_US, 20, PRICES)
    assert again.tasks == answer.tasks
    assert set(again.held) == set(answer.held)


# Fair shares


@given(
    st.lists(
        st.tuples(st.sampled_from(ORGANIZATIONS), st.integers(1, 20_000), st.integers(1, 200)), min_size=1
    ),
    st.dictionaries(st.sampled_from(ORGANIZATIONS), st.integers(1, 4)),
    uses,
)
def test_levels_of_organizations_that_wait_differ_by_one_group_at_most(
    sizes: list[tuple[str, int, int]], weights: dict[str, int], use: PoolUse
) -> None:
    """The bound: whoever was taken stood lowest before, so it is above who still waits by its last group."""
    made: Queues = defaultdict(list)
    for number, (organization_id, cpu_milli, memory_bytes) in enumerate(sizes):
        made[organization_id].append(
            waiting(organization_id, number, cpu_milli=cpu_milli, memory_bytes=memory_bytes)
        )
    theirs = {name: Standing(weight) for name, weight in weights.items()}
    left = {name: len(tasks) for name, tasks in made.items()}
    holdings = {name: use.by_organization.get(name, Amounts()) for name in made}
    weight = {name: weights.get(name, 1) for name in made}
    for task in order(made, theirs, use, NOW_US, 1_000).tasks:
        mine = task.organization_id
        before = level(holdings[mine], use.capacity, 0.0, weight[mine])
        for other in made:
            if left[other]:
                assert before <= level(holdings[other], use.capacity, 0.0, weight[other])
        holdings[mine] = holdings[mine].plus(amounts_of(task))
        left[mine] -= 1


def test_who_used_much_yesterday_stands_behind() -> None:
    made = {name: [waiting(name, number) for number in range(2)] for name in ("org_a", "org_b")}
    theirs = {"org_a": Standing(usage_s=0.5 * MEMORY_S)}
    answer = order(made, theirs, pool(), NOW_US, 10)
    assert [task.organization_id for task in answer.tasks] == ["org_b", "org_b", "org_a", "org_a"]


def test_a_priority_orders_its_own_organization_only() -> None:
    made = {
        "org_a": [waiting("org_a", 1, priority=1_000), waiting("org_a", 2)],
        "org_b": [waiting("org_b", 1, priority=-1_000), waiting("org_b", 2, priority=0)],
    }
    ids = [task.id for task in order(made, {}, pool(), NOW_US, 10).tasks]
    assert ids == ["task_org_a_1", "task_org_b_2", "task_org_a_2", "task_org_b_1"]


# Waiting counts


@given(queues(), uses)
def test_what_waited_long_goes_before_all_that_is_younger_in_its_class_and_organization(
    made: Queues, use: PoolUse
) -> None:
    places = {task.id: place for place, task in enumerate(order(made, {}, use, NOW_US, 1_000).tasks)}
    for theirs in made.values():
        for old in theirs:
            if old.submitted_us > NOW_US - STARVATION_S * US_PER_S:
                continue
            for young in theirs:
                alike = young.task.class_rank == old.task.class_rank
                if alike and young.submitted_us > old.submitted_us:
                    assert places[old.task.id] < places[young.task.id]


@given(queues(), standings, uses)
def test_who_holds_nothing_and_waited_long_goes_before_all_of_its_class_that_hold_something(
    made: Queues, theirs: dict[str, Standing], use: PoolUse
) -> None:
    theirs = {name: Standing(one.weight, one.usage_s) for name, one in theirs.items()}
    tasks = order(made, theirs, use, NOW_US, 1_000).tasks
    for organization_id, mine in made.items():
        for rank in range(3):
            old = [one for one in mine if one.task.class_rank == rank]
            starved = any(one.submitted_us <= NOW_US - STARVATION_S * US_PER_S for one in old)
            if not starved or organization_id in use.by_organization:
                continue
            first = next(place for place, task in enumerate(tasks) if task.organization_id == organization_id)
            before = {task.organization_id for task in tasks[:first] if task.class_rank == rank}
            assert not before & use.by_organization.keys()


def test_a_point_of_priority_is_worth_a_minute() -> None:
    older = waiting("org_a", 1, waited_s=10 * AGING_S)
    for priority, first in ((9, "task_org_a_1"), (11, "task_org_a_2")):
        made = {"org_a": [older, waiting("org_a", 2, priority=priority)]}
        assert order(made, {}, pool(), NOW_US, 10).tasks[0].id == first


def test_what_has_a_date_goes_first_in_its_class_and_once() -> None:
    made = {
        "org_a": [waiting("org_a", number) for number in range(3)],
        "org_b": [waiting("org_b", number, gang="g") for number in range(2)],
    }
    theirs = {"org_b": Standing(usage_s=MEMORY_S)}
    answer = order(made, theirs, pool(), NOW_US, 3, dated=("g", "task_org_a_2", "task_gone"))
    ids = [task.id for task in answer.tasks]
    assert ids == ["task_org_b_0", "task_org_b_1", "task_org_a_2"]
    assert len(order(made, theirs, pool(), NOW_US, 9, dated=("g", "task_org_a_2")).tasks) == 5
    over = {"org_b": Standing(quota_left=(1_999, None, None, None, None))}
    assert "g" not in {task.gang for task in order(made, over, pool(), NOW_US, 9, dated=("g",)).tasks}


def test_a_date_moves_nobody_before_a_higher_class() -> None:
    made = {
        "org_a": [waiting("org_a", 1, class_rank=0)],
        "org_b": [waiting("org_b", number, gang="g", class_rank=2) for number in range(2)],
        "org_c": [waiting("org_c", 1, class_rank=2)],
    }
    use = pool(held("org_d", 2_000, 2))
    ids = [task.id for task in order(made, {}, use, NOW_US, 9, dated=("g",)).tasks]
    assert ids == ["task_org_a_1", "task_org_b_0", "task_org_b_1", "task_org_c_1"]
    answer = order(made, {}, use, NOW_US, 1, dated=("g",))
    assert [task.id for task in answer.tasks] == ["task_org_a_1"]
    assert [one.task_id for one in answer.held] == ["task_org_b_0", "task_org_b_1", "task_org_c_1"]


# Classes


@given(queues(), uses)
def test_a_class_goes_first_unless_one_below_it_is_under_its_floor(made: Queues, use: PoolUse) -> None:
    answer = order(made, {}, use, NOW_US, 1_000)
    assert not answer.held
    totals = list(use.by_class)
    groups: list[list[TaskView]] = []
    for task in answer.tasks:
        if task.gang is not None and groups and groups[-1][0].gang == task.gang:
            groups[-1].append(task)
        else:
            groups.append([task])
    for place, group in enumerate(groups):
        rank = group[0].class_rank
        later = {other[0].class_rank for other in groups[place:]}
        if rank != min(later):
            share = level(totals[rank], use.capacity, 0.0, 1)
            assert share < CLASS_FLOORS[rank]
        for below in later:
            if below > rank:
                assert level(totals[below], use.capacity, 0.0, 1) >= CLASS_FLOORS[below]
        totals[rank] = totals[rank].plus(amounts_sum(group))


def serve(made: Queues, now_us: int, hours: int) -> list[str]:
    """The work that a pool of 10 cores gets done if each task takes an hour of one core."""
    done: list[str] = []
    for _ in range(hours):
        answer: Order = order(made, {}, pool(), now_us, 10)
        running = {task.id for task in answer.tasks[:10]}
        made = {name: [one for one in theirs if one.task.id not in running] for name, theirs in made.items()}
        done += sorted(running)
        now_us += 3_600 * US_PER_S
    return done


def test_nothing_starves_however_much_more_urgent_work_keeps_coming() -> None:
    """One preemptible task of low priority beside floods of guaranteed and of urgent work."""
    flood = [waiting("org_a", number, class_rank=0) for number in range(3_000)]
    urgent = [waiting("org_b", number, class_rank=2, priority=1_000) for number in range(500)]
    mine = waiting("org_b", 9_999, class_rank=2, priority=-1_000, waited_s=STARVATION_S)
    done = serve({"org_a": flood, "org_b": [*urgent, mine]}, NOW_US, 2)
    assert mine.task.id in done


def test_a_flood_of_old_work_does_not_push_out_who_comes_later() -> None:
    flood = [waiting("org_a", number, waited_s=5 * STARVATION_S) for number in range(1_000)]
    later = [waiting("org_b", number) for number in range(10)]
    answer = order({"org_a": flood, "org_b": later}, {}, pool(), NOW_US, 20)
    assert sum(task.organization_id == "org_b" for task in answer.tasks) == 10


def test_a_held_group_blocks_nobody() -> None:
    made = {
        "org_a": [waiting("org_a", 1, cpu_milli=9_000), waiting("org_a", 2, cpu_milli=1_000)],
        "org_b": [waiting("org_b", 1)],
    }
    theirs = {"org_a": Standing(quota_left=(5_000, None, None, None, None))}
    answer = order(made, theirs, pool(), NOW_US, 10)
    assert {task.id for task in answer.tasks} == {"task_org_a_2", "task_org_b_1"}
    assert [(one.task_id, one.reason) for one in answer.held] == [("task_org_a_1", HeldReason.OVER_QUOTA)]


def test_no_money_holds_everything_of_its_organization() -> None:
    made = {name: [waiting(name, 1)] for name in ("org_a", "org_b")}
    answer = order(made, {"org_a": Standing(budget_left_microyen=0)}, pool(), NOW_US, 10)
    assert [task.organization_id for task in answer.tasks] == ["org_b"]
    assert [one.reason for one in answer.held] == [HeldReason.OVER_BUDGET]


def test_what_is_behind_the_window_waits_for_its_turn() -> None:
    made = {"org_a": [waiting("org_a", number) for number in range(3)]}
    answer = order(made, {}, pool(), NOW_US, 1)
    assert [one.reason for one in answer.held] == [HeldReason.WAITS_TURN] * 2


def test_a_pool_counts_what_comes_and_goes() -> None:
    use = pool(held("org_a", 5_000, 2))
    assert use.capacity == Amounts(100_000, 1_000, 0, 8_000)
    assert use.by_organization == {"org_a": Amounts(5_000, 1, 0, 0, 1)}
    assert use.by_class[2].cpu_milli == 5_000
    devices = tuple(DeviceView(f"dev_{number}", "gpu", "h200") for number in range(8))
    use.host_leave(HostView("host_1", "host-1", 0, 100_000, 1_000, 0, devices, (held("org_a", 5_000, 2),)))
    assert use.capacity == Amounts()
    assert use.by_organization == {}
