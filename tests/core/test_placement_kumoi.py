"""The default policy takes the room that is worth least, by prices that it can hand on."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.placement.host_table import HostTable
from kumoi.core.placement.kumoi_policy import Kumoi, KumoiScorer
from kumoi.core.placement.mix import FIRST_ARRIVALS
from kumoi.core.placement.placer import Placer
from kumoi.core.placement.prices import PARTS, RATE_SHIFT, RATES, WEIGHT_ONE, Prices
from kumoi.core.placement.shapes import WHOLE_MILLI, HostShape, Shape

SHARES = (70, 230, 470, 810)
SHAPES = (
    *(
        Shape(cpu, 1, gpu_count=1, gpu_milli=milli)
        for cpu, milli in zip((9_000, 1_000) * 2, SHARES, strict=True)
    ),
    Shape(11_400, 1, gpu_count=1),
    Shape(30_000, 1, gpu_count=2),
    Shape(64_500, 1, gpu_count=8),
    Shape(12_500, 1),
    Shape(3_000, 1, gpu_count=1, models=frozenset({"B"})),
)
HOSTS = (
    HostShape(96_000, 64, 0, ("A",) * 8),
    HostShape(104_000, 64, 0, ("B",) * 2),
    HostShape(16_000, 64, 0, ("A",) * 2),
    HostShape(32_000, 64),
)


def worth(prices: Prices, model: str, cpu: int, free: Sequence[int]) -> int:
    """What a host's room is worth before its model weighs in: one host, one term at a time."""
    room = sum(prices.parts[left * PARTS // WHOLE_MILLI] for left in free)
    served = sum(min(room, (rate * cpu) >> RATE_SHIFT) for rate in prices.rates)
    whole = sum(left == WHOLE_MILLI for left in free)
    return served // RATES + sum(
        value for devices, cores, value in prices.wholes if whole >= devices and cpu // 1_000 >= cores
    )


def learned(table: HostTable, arrivals: Sequence[Shape]) -> Kumoi:
    policy = Kumoi(table)
    for shape in arrivals:
        policy.learn(shape)
    policy.refresh()
    return policy


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=60))
def test_a_cost_is_what_the_room_is_worth_less(asked: list[Shape]) -> None:
    table = HostTable(HOSTS)
    policy = learned(table, asked)
    placer = Placer(table, policy)
    scorer = policy.scorer()
    assert isinstance(scorer, KumoiScorer)
    prices, weights = scorer.prices, dict(scorer.prices.weights)
    for shape in asked:
        row = placer.choose(shape)
        if row is None:
            continue
        for other, cost in placer.best(shape, 0):
            model = ("", *table.models)[int(table.host_model[other])]
            before = worth(prices, model, int(table.cpu_free[other]), table.slot_free[other].tolist())
            slots = placer.take(other, shape)
            after = worth(prices, model, int(table.cpu_free[other]), table.slot_free[other].tolist())
            placer.give_back(other, shape, slots)
            lost = ((before - after) * weights.get(model, WEIGHT_ONE)) // WEIGHT_ONE
            assert cost == lost // prices.grain
        placer.take(row, shape)


def test_pieces_that_match_share_a_device() -> None:
    table = HostTable([HostShape(96_000, 64, 0, ("A", "A"))])
    wide, narrow, half = (Shape(1_000, 1, gpu_count=1, gpu_milli=milli) for milli in (650, 350, 500))
    placer = Placer(table, learned(table, [wide, narrow, half, half] * 9))
    assert placer.take(0, wide) == (0,)
    assert placer.take(0, half) == (1,)
    assert placer.take(0, narrow) == (0,)
    assert placer.take(0, half) == (1,)


def test_work_that_needs_cores_goes_where_devices_leave_them_over() -> None:
    table = HostTable([HOSTS[0], HOSTS[1]])
    placer = Placer(table, learned(table, [SHAPES[4]] * 9 + [SHAPES[7]]))
    assert placer.choose(SHAPES[7]) == 1


def test_who_can_go_anywhere_leaves_the_model_that_others_need() -> None:
    hosts = [HostShape(96_000, 64, 0, (model,) * 8) for model in ("B", "A")]
    anywhere, only_b = SHAPES[4], SHAPES[8]
    table = HostTable(hosts)
    assert Placer(table, learned(table, [anywhere] * 9)).choose(anywhere) == 0
    assert Placer(table, learned(table, [anywhere] * 5 + [only_b] * 4)).choose(anywhere) == 1


def test_single_tasks_leave_a_free_host_to_the_large() -> None:
    hosts = [HostShape(96_000, 64, 0, ("A",) * 8)] * 2
    single, large = SHAPES[4], SHAPES[6]
    table = HostTable(hosts)
    placer = Placer(table, learned(table, [single, large] * 9))
    placer.take(1, single)
    assert placer.choose(single) == 1


def test_refreshes_come_by_arrivals_and_change_nothing_without_devices() -> None:
    table = HostTable(HOSTS)
    policy = Kumoi(table)
    before = policy.scorer()
    for _ in range(FIRST_ARRIVALS):
        assert not policy.refresh_due()
        policy.learn(SHAPES[7])
    assert policy.refresh_due()
    policy.refresh()
    assert not policy.refresh_due()
    assert policy.scorer() is before
    assert policy.state() == b""


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(SHAPES), max_size=60), st.integers(0, 60))
def test_another_decides_alike_from_the_state(asked: list[Shape], departures: int) -> None:
    tables = [HostTable(HOSTS), HostTable(HOSTS)]
    policy = Kumoi(tables[0])
    for shape in asked:
        policy.learn(shape)
    for _ in range(departures):
        policy.leave(SHAPES[0])
    policy.refresh()
    other = Kumoi(tables[1])
    other.state_put(policy.state())
    assert other.state() == policy.state()
    placers = [Placer(table, one) for table, one in zip(tables, (policy, other), strict=True)]
    for shape in asked:
        rows = [placer.choose(shape) for placer in placers]
        assert rows[0] == rows[1]
        if rows[0] is not None:
            assert placers[0].take(rows[0], shape) == placers[1].take(rows[0], shape)


def test_a_model_that_comes_later_is_noticed() -> None:
    table = HostTable([HOSTS[0]])
    policy = learned(table, [SHAPES[4]])
    before = policy.scorer()
    assert policy.scorer() is before
    table.row_append(HOSTS[1])
    assert policy.scorer() is not before
    assert Placer(table, policy).choose(SHAPES[8]) == 1


@pytest.mark.parametrize("largest", [HostShape(8_000, 8, 0, ("A",)), HostShape(1_000, 8, 0, ("A",) * 4)])
def test_before_any_prices_the_largest_host_says_what_a_core_is_worth(largest: HostShape) -> None:
    table = HostTable()
    policy = Kumoi(table)
    table.row_append(largest)
    scorer = policy.scorer()
    assert isinstance(scorer, KumoiScorer)
    capacity = len(largest.slot_models) * WHOLE_MILLI
    assert scorer.prices.rates[0] == round((capacity << RATE_SHIFT) / largest.cpu_milli)
