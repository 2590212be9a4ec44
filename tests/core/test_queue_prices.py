"""Money is counted up, in micro-yen, by months of Japan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.core.queue.fairness import Amounts
from kumoi.core.queue.months import month_of
from kumoi.core.queue.prices import FREE, Prices, price_microyen
from kumoi.model.time import time_format, time_parse

PRICES = Prices(3_600, 7_200, 3_600_000)


@pytest.mark.parametrize(
    ("amounts", "time_s", "price"),
    [
        (Amounts(1_000), 3_600, 3_600),
        (Amounts(1_000), 1, 1),
        (Amounts(1), 1, 1),
        (Amounts(0, 1 << 30), 1_800, 3_600),
        (Amounts(0, 0, 1 << 40, 0, 5), 3_600, 0),
        (Amounts(0, 0, 0, 500), 3_600, 1_800_000),
        (Amounts(2_000, 2 << 30, 0, 1_000), 3_600, 7_200 + 14_400 + 3_600_000),
    ],
)
def test_prices_are_of_hours_and_rounded_up(amounts: Amounts, time_s: int, price: int) -> None:
    assert price_microyen(PRICES, amounts, time_s) == price
    assert price_microyen(FREE, amounts, time_s) == 0


@pytest.mark.parametrize(
    ("at", "month", "start"),
    [
        ("2026-11-23T00:00:00Z", "2026-11", "2026-10-31T15:00:00.000000Z"),
        ("2026-11-30T14:59:59.999999Z", "2026-11", "2026-10-31T15:00:00.000000Z"),
        ("2026-11-30T15:00:00Z", "2026-12", "2026-11-30T15:00:00.000000Z"),
        ("2026-12-31T15:00:00Z", "2027-01", "2026-12-31T15:00:00.000000Z"),
    ],
)
def test_months_begin_at_midnight_in_japan(at: str, month: str, start: str) -> None:
    found, start_us = month_of(time_parse(at))
    assert (found, time_format(start_us)) == (month, start)


@given(st.integers(0, 4_102_444_800_000_000))
def test_a_month_begins_in_itself(at_us: int) -> None:
    month, start_us = month_of(at_us)
    assert start_us <= at_us
    assert month_of(start_us) == (month, start_us)
    assert month_of(start_us - 1)[0] < month
