"""Budgets count what was metered and what may still come, by months of Japan."""

from typing import Any

import pytest
from region_rows import GIB, T0_US, RegionRows

from kumoi.core.queue.months import month_of
from kumoi.core.queue.prices import FREE, Prices
from kumoi.model.jobs import JobSpec, Resources
from kumoi.model.shares import Budget, BudgetWrite, Rate, RateWrite
from kumoi.model.time import US_PER_S
from kumoi.store import budgets, schema
from kumoi.store.errors import ImpossibleState

HOUR_US = 3_600 * US_PER_S
DAY_US = 24 * HOUR_US
MONTH, MONTH_US = month_of(T0_US)
RATES = RateWrite(1_000, 100, 50_000)
"""A core, a GiB and a device for an hour."""


def write(region: RegionRows, function: Any, *args: Any) -> Any:
    return region.store.transact_wait(None, function, *args)


def budget(region: RegionRows, name: str = "one") -> Budget:
    found = region.store.read_wait(budgets.budget_get, region.organizations[name])
    assert found is not None
    return found


def advance(region: RegionRows, at_us: int) -> Budget:
    write(region, budgets.budgets_advance, [region.organizations["one"]], at_us)
    return budget(region)


def metered(region: RegionRows, attempt: str, start_us: int, end_us: int) -> None:
    row = {
        "attempt_id": attempt,
        "start_us": start_us,
        "end_us": end_us,
        "organization_id": region.organizations["one"],
        "project_id": region.projects["one"],
        "cpu_milli": 1_000,
        "memory_bytes": GIB,
        "device_milli": 1_000,
        "cpu_us": 0,
    }
    region.write(schema.usage_intervals, row)


@pytest.fixture
def priced(region: RegionRows) -> RegionRows:
    """A region whose pool has rates and whose organization `one` has a budget."""
    write(region, budgets.rate_put, region.pool, RATES, T0_US)
    write(region, budgets.budget_put, region.organizations["one"], BudgetWrite(1_000_000), T0_US)
    return region


def attempt_add(region: RegionRows, **more: Any) -> str:
    """An attempt of a core, a GiB and half a device, for two hours at most."""
    host = region.host_add(f"host-{len(region.rows(schema.hosts))}")
    job = region.job_add(JobSpec(command=("true",), resources=Resources(wall_time_s=7_200)))
    attempt = region.attempt_add(job, host, **more)
    device = region.device_add(host, 0)
    region.write(schema.attempt_devices, {"attempt_id": attempt, "device_id": device, "milli": 500})
    return attempt


HOUR_PRICE = 1_000 + 100 + 25_000


def test_a_pool_is_free_until_it_has_rates(region: RegionRows) -> None:
    assert region.store.read_wait(budgets.rate_get, region.pool) is None
    assert region.store.read_wait(budgets.prices_load, region.pool) == FREE
    rate = write(region, budgets.rate_put, region.pool, RATES, T0_US)
    assert rate == Rate(region.pool, 1_000, 100, 50_000, 1)
    rate = write(region, budgets.rate_put, region.pool, RateWrite(1), T0_US)
    assert rate == Rate(region.pool, 1, 0, 0, 2)
    assert region.store.read_wait(budgets.rate_list, 1, None) == [rate]
    assert region.store.read_wait(budgets.rate_list, 1, region.pool) == []
    assert region.store.read_wait(budgets.prices_load, region.pool) == Prices(1)


def test_a_new_budget_counts_the_month_and_what_runs(region: RegionRows) -> None:
    write(region, budgets.rate_put, region.pool, RATES, T0_US)
    attempt = attempt_add(region, metered_us=T0_US + HOUR_US)
    metered(region, attempt, T0_US, T0_US + HOUR_US)
    one = region.organizations["one"]
    made = write(region, budgets.budget_put, one, BudgetWrite(10**6), T0_US + HOUR_US)
    assert made == Budget(one, MONTH, 10**6, HOUR_PRICE, HOUR_PRICE, 1)
    changed = write(region, budgets.budget_put, one, BudgetWrite(5), T0_US + HOUR_US)
    assert changed == Budget(one, MONTH, 5, HOUR_PRICE, HOUR_PRICE, 2)
    write(region, budgets.budget_drop, one)
    assert region.store.read_wait(budgets.budget_get, one) is None


def test_what_is_metered_becomes_spent_and_is_not_promised_any_more(priced: RegionRows) -> None:
    attempt = attempt_add(priced)
    assert advance(priced, T0_US).promised_microyen == 2 * HOUR_PRICE
    metered(priced, attempt, T0_US, T0_US + HOUR_US)
    priced.store.transact_wait(
        None, lambda connection: connection.execute(schema.attempts.update(), {"metered_us": T0_US + HOUR_US})
    )
    now = advance(priced, T0_US + HOUR_US)
    assert (now.spent_microyen, now.promised_microyen) == (HOUR_PRICE, HOUR_PRICE)
    metered(priced, attempt, T0_US + HOUR_US, T0_US + HOUR_US + HOUR_US // 2)
    ended = {"state": "ended", "ended_us": T0_US + 2 * HOUR_US, "outcome": "exited"}
    priced.store.transact_wait(None, lambda connection: connection.execute(schema.attempts.update(), ended))
    now = advance(priced, T0_US + 2 * HOUR_US)
    assert (now.spent_microyen, now.promised_microyen) == (HOUR_PRICE * 3 // 2, 0)


def test_use_is_settled_once_and_late_records_count_for_two_days(priced: RegionRows) -> None:
    attempt = attempt_add(priced, state="ended", ended_us=T0_US + HOUR_US, outcome="exited")
    metered(priced, attempt, T0_US, T0_US + HOUR_US)
    late_us = T0_US + HOUR_US + DAY_US
    assert advance(priced, late_us).spent_microyen == HOUR_PRICE
    metered(priced, attempt, T0_US - HOUR_US, T0_US)
    assert advance(priced, late_us).spent_microyen == 2 * HOUR_PRICE
    for day in (3, 4, 5):
        assert advance(priced, T0_US + day * DAY_US).spent_microyen == 2 * HOUR_PRICE
    (row,) = priced.rows(schema.budgets)
    assert row.settled_microyen == 2 * HOUR_PRICE
    write(priced, budgets.rate_put, priced.pool, RateWrite(), T0_US)
    assert advance(priced, T0_US + 5 * DAY_US).spent_microyen == 2 * HOUR_PRICE, "settled is settled"


def test_a_new_month_begins_with_nothing_spent(priced: RegionRows) -> None:
    attempt = attempt_add(priced, state="ended", ended_us=T0_US + HOUR_US, outcome="exited")
    metered(priced, attempt, T0_US, T0_US + HOUR_US)
    assert advance(priced, T0_US + HOUR_US).spent_microyen == HOUR_PRICE
    next_us = MONTH_US + 31 * DAY_US
    one = priced.organizations["one"]
    assert priced.store.read_wait(budgets.budgets_left, [one], next_us) == {one: 1_000_000}
    assert write(priced, budgets.budgets_charge, {one: 1_000_000}, T0_US + HOUR_US) == {one}
    assert write(priced, budgets.budgets_charge, {one: 1_000_000}, next_us) == set(), "before it is reckoned"
    assert priced.store.read_wait(budgets.budgets_left, [one], next_us) == {one: 0}
    metered(priced, attempt, next_us, next_us + HOUR_US)
    now = advance(priced, next_us + HOUR_US)
    assert (now.month, now.spent_microyen) == (month_of(next_us)[0], HOUR_PRICE)


def test_a_promise_that_would_pass_the_budget_is_refused(priced: RegionRows) -> None:
    one, two = priced.organizations["one"], priced.organizations["two"]
    assert write(priced, budgets.budgets_charge, {one: 600_000, two: 10**12}, T0_US) == set()
    assert write(priced, budgets.budgets_charge, {one: 400_001, two: 1}, T0_US) == {one}
    assert write(priced, budgets.budgets_charge, {one: 400_000}, T0_US) == set()
    assert write(priced, budgets.budgets_charge, {one: 0}, T0_US) == set()
    assert budget(priced).promised_microyen == 1_000_000
    assert priced.store.read_wait(budgets.budgets_left, [one, two], T0_US) == {one: 0}
    assert advance(priced, T0_US).promised_microyen == 0, "no such work was placed"


def test_budgets_are_reckoned_in_turn(priced: RegionRows) -> None:
    one, two = priced.organizations["one"], priced.organizations["two"]
    write(priced, budgets.budget_put, two, BudgetWrite(1), T0_US + 5)
    due = priced.store.read_wait(budgets.budgets_due, T0_US + 10, 1)
    assert due == [one]
    write(priced, budgets.budgets_advance, due, T0_US + 20)
    assert priced.store.read_wait(budgets.budgets_due, T0_US + 10, 9) == [two]


def test_the_schema_refuses_money_that_cannot_be(priced: RegionRows) -> None:
    for wrong in ({"month_microyen": -1}, {"spent_microyen": -1}, {"promised_microyen": -1}):
        with pytest.raises(ImpossibleState):
            write(
                priced, lambda connection, values: connection.execute(schema.budgets.update(), values), wrong
            )
    with pytest.raises(ImpossibleState):
        priced.write(
            schema.rates,
            {"pool_id": "pool_x", "updated_us": 0, "device_hour_microyen": 0}
            | {"cpu_core_hour_microyen": -1, "memory_gib_hour_microyen": 0},
        )
