"""Shares are what they say, and use fades alike however often it is reckoned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.queue.fairness import (
    HALF_LIFE_S,
    MEMORY_S,
    NOTHING,
    Amounts,
    dominant_share,
    level,
    past_share,
    usage_decay,
)

CAPACITY = Amounts(9_000, 18, 0, 4_000)

shares = st.floats(0, 1)
times = st.floats(0, 30 * 86_400)
usages = st.floats(0, MEMORY_S)


@pytest.mark.parametrize(
    ("held", "share"),
    [
        (NOTHING, 0.0),
        # The two organizations of the paper's section 4.1 end with equal dominant shares of 2/3.
        (Amounts(3 * 1_000, 3 * 4), 2 / 3),
        (Amounts(2 * 3_000, 2 * 1), 2 / 3),
        (Amounts(0, 0, 0, 1_000, 7), 1 / 4),
        (Amounts(0, 0, 5, 0, 1), 0.0),
    ],
)
def test_the_dominant_share_is_the_largest(held: Amounts, share: float) -> None:
    assert dominant_share(held, CAPACITY) == pytest.approx(share)


def test_a_pool_without_hosts_has_no_shares() -> None:
    assert dominant_share(Amounts(1, 1, 1, 1, 1), NOTHING) == 0.0


def test_use_halves_in_a_half_life() -> None:
    assert usage_decay(100.0, 0.0, HALF_LIFE_S) == pytest.approx(50.0)


@given(usages, shares, times, times)
def test_two_steps_are_as_good_as_one(usage_s: float, share: float, first_s: float, second_s: float) -> None:
    twice = usage_decay(usage_decay(usage_s, share, first_s), share, second_s)
    assert twice == pytest.approx(usage_decay(usage_s, share, first_s + second_s), abs=1e-6)


@given(usages, shares, times)
def test_the_past_moves_towards_what_is_held_and_not_beyond(
    usage_s: float, share: float, elapsed_s: float
) -> None:
    before, after = past_share(usage_s), past_share(usage_decay(usage_s, share, elapsed_s))
    assert min(before, share) - 1e-9 <= after <= max(before, share) + 1e-9


@given(shares, st.integers(1, 1_000))
def test_a_weight_divides_the_level(share: float, weight: int) -> None:
    held = Amounts(round(9_000 * share))
    usage_s = share * MEMORY_S
    assert level(held, CAPACITY, usage_s, weight) * weight == pytest.approx(
        dominant_share(held, CAPACITY) + share, abs=1e-9
    )
