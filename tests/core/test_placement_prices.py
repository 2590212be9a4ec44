"""Prices follow from the mix: pieces by how they can be cut, models by who can use nothing else."""

from dataclasses import astuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.core.placement.prices import (
    CHURNING,
    FILLING,
    PARTS,
    RATE_SHIFT,
    WEIGHT_ONE,
    Prices,
    cut_prices,
    prices_make,
    prices_unknown,
)
from kumoi.core.placement.shapes import Shape

CAPACITY = {"A": 8_000, "B": 8_000, "B/1g": 8_000}
ONE = Shape(12_000, 1, gpu_count=1)
EIGHT = Shape(64_500, 1, gpu_count=8)


def made(mix: dict[Shape, int], turnover: float = 0.0) -> Prices:
    prices = prices_make(mix, turnover, CAPACITY)
    assert prices is not None
    return prices


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ({50: 2}, {49: 0, 50: 1 / 2, 99: 1 / 2, 100: 1}),
        ({30: 9, 40: 1}, {29: 0, 30: 1 / 3, 60: 2 / 3, 89: 2 / 3, 100: 1}),
        ({81: 100, 19: 1}, {19: 0, 80: 0, 81: 1, 100: 1}),
        ({81: 1, 19: 100}, {19: 1 / 5, 38: 2 / 5, 81: 4 / 5, 100: 1}),
    ],
)
def test_a_piece_costs_the_part_of_a_device_that_it_takes_away(
    pieces: dict[int, int], expected: dict[int, float]
) -> None:
    values = cut_prices(pieces)
    assert {size: values[size] for size in expected} == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(1, PARTS), st.integers(1, 50), min_size=1, max_size=12))
def test_cut_prices_are_those_of_an_optimal_cut(pieces: dict[int, int]) -> None:
    values = cut_prices(pieces)
    assert values == sorted(values)
    assert values[PARTS] == pytest.approx(1, abs=1e-5)
    assert all(
        values[left] + values[right] <= values[left + right] + 1e-6
        for left in range(PARTS + 1)
        for right in range(PARTS + 1 - left)
    )
    devices = sum(values[size] * count for size, count in pieces.items())
    assert sum(size * count for size, count in pieces.items()) / PARTS <= devices + 1e-3
    assert devices <= sum(pieces.values()) + 1e-6


def test_turnover_leads_from_one_tuning_to_the_other() -> None:
    assert FILLING.towards(CHURNING, 0.0) == FILLING
    assert astuple(FILLING.towards(CHURNING, 1.0)) == pytest.approx(astuple(CHURNING))
    middle = FILLING.towards(CHURNING, 0.5)
    assert middle.whole == pytest.approx((FILLING.whole + CHURNING.whole) / 2)
    filling, churning = (made({ONE: 9, EIGHT: 1}, turnover) for turnover in (0.0, 1.0))
    assert sum(worth for _, _, worth in filling.wholes) < sum(worth for _, _, worth in churning.wholes)


def test_prices_follow_the_proportions_of_the_mix_alone() -> None:
    mix = {ONE: 9, EIGHT: 1, Shape(3_000, 1, gpu_count=1, gpu_milli=470): 5, Shape(4_000, 1): 7}
    assert made({shape: 3 * count for shape, count in mix.items()}, 0.3) == made(mix, 0.3)
    assert made(dict(reversed(mix.items())), 0.3) == made(mix, 0.3)


def test_hosts_with_room_for_large_tasks_are_worth_more_the_more_they_ask_for() -> None:
    few, many = made({ONE: 99, EIGHT: 1}), made({ONE: 50, EIGHT: 50})
    assert [entry[:2] for entry in few.wholes] == [entry[:2] for entry in many.wholes] == [(8, 65)]
    assert few.wholes[0][2] < many.wholes[0][2]
    assert made({ONE: 1}).wholes == ()


def test_a_model_that_some_cannot_do_without_weighs_more() -> None:
    only_b = Shape(12_000, 1, gpu_count=1, models=frozenset({"B"}))
    weights = dict(made({ONE: 4, only_b: 2}).weights)
    assert weights["B"] > weights["A"] > weights["B/1g"]
    alike = dict(made({ONE: 2, Shape(1, 1, gpu_count=1, models=frozenset({"B/1g"})): 1}).weights)
    assert set(alike.values()) == {WEIGHT_ONE}


def test_a_model_that_no_host_has_changes_no_weight() -> None:
    unknown = Shape(12_000, 1, gpu_count=1, models=frozenset({"C"}))
    weights = dict(made({ONE: 4, unknown: 4}).weights)
    assert weights["A"] == weights["B"]


def test_a_core_serves_what_tasks_ask_for_beside_it() -> None:
    alike = made({ONE: 5})
    assert len(set(alike.rates)) == 1
    per_core = alike.rates[0] * 1_000 / (1 << RATE_SHIFT)
    assert per_core == pytest.approx(FILLING.cpu_scale * 1_000 / 12, rel=1e-3)
    mixed = made({ONE: 5, Shape(3_000, 1, gpu_count=1): 5})
    assert list(mixed.rates) == sorted(set(mixed.rates))


def test_without_devices_asked_for_there_is_nothing_to_price() -> None:
    assert prices_make({Shape(1_000, 1): 5}, 0.0, CAPACITY) is None
    assert prices_make({}, 0.0, CAPACITY) is None


def test_before_any_task_is_known_capacity_counts_by_its_size() -> None:
    prices = prices_unknown(128_000, 8_000)
    assert prices.parts[37] == 370
    assert prices.rates[0] == (1 << RATE_SHIFT) // 16
    assert prices_unknown(1, 1).parts == prices.parts
