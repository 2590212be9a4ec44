"""What organizations hold and spend, as the loops keep it."""

from typing import Any

import pytest
from loop_world import HOUR_US, S_US, World, check_ended
from region_rows import GIB, T0_US

from kumoi.core.queue.fairness import usage_decay
from kumoi.loops.shares import EVERY_US
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec, Resources
from kumoi.model.shares import BudgetWrite, QuotaResource, RateWrite
from kumoi.store import budgets, schema, shares
from kumoi.store.ids import id_new


def submit(world: World, **more: Any) -> str:
    resources = Resources(cpu_milli=2_000, wall_time_s=7_200)
    return world.region.job_add(JobSpec(**({"command": ("true",), "resources": resources} | more)))


def write(world: World, function: Any, *args: Any) -> Any:
    return world.store.transact_wait(None, function, *args)


def test_past_use_follows_what_is_held(world: World) -> None:
    job = submit(world)
    world.rounds(2)
    world.activate("upkeep")
    (row,) = world.region.rows(schema.pool_uses)
    assert (row.organization_id, row.share, row.usage_s) == (world.region.organizations["one"], 0.25, 0.0)
    first_us = row.at_us
    for _ in range(4):
        world.clock.pass_s(50)
        world.activate("upkeep")
    (row,) = world.region.rows(schema.pool_uses)
    assert row.at_us > first_us
    assert row.usage_s == pytest.approx(usage_decay(0.0, 0.25, (row.at_us - first_us) / S_US))
    world.finish(job)
    world.rounds(2)
    for _ in range(3):
        world.clock.pass_s(120)
        world.activate("upkeep")
    (after,) = world.region.rows(schema.pool_uses)
    assert after.share == 0.0
    assert after.usage_s >= row.usage_s
    check_ended(world)


def test_quotas_hold_and_are_let_go(world: World) -> None:
    one = world.region.organizations["one"]
    write(world, shares.quota_put, one, QuotaResource.CPU_MILLI, 4_000, T0_US)
    job = submit(world, array_size=3)
    world.rounds(2)
    assert len(world.running(job)) == 2
    (quota,) = world.region.rows(schema.quotas)
    assert quota.used == 4_000
    assert write(world, shares.quotas_audit) == []
    for _ in range(2):
        world.finish(job)
        world.rounds(2)
    assert world.state(job) == "succeeded"
    (quota,) = world.region.rows(schema.quotas)
    assert quota.used == 0
    check_ended(world)


def test_a_drifted_quota_is_mended(world: World, caplog: pytest.LogCaptureFixture) -> None:
    job = submit(world)
    world.rounds(2)
    row = {"organization_id": world.region.organizations["one"], "resource": "tasks", "most": 9, "used": 7}
    world.region.write(schema.quotas, row | {"updated_us": T0_US})
    world.clock.pass_s(2 * EVERY_US // S_US)
    world.activate("upkeep")
    (quota,) = world.region.rows(schema.quotas)
    assert quota.used == 1
    assert "said 7, its live attempts hold 1" in caplog.text
    world.finish(job)
    world.rounds(2)
    check_ended(world)


def test_a_budget_stops_new_work_and_not_what_runs(world: World) -> None:
    one = world.region.organizations["one"]
    write(world, budgets.rate_put, world.region.pool, RateWrite(cpu_core_hour_microyen=1_000), T0_US)
    write(world, budgets.budget_put, one, BudgetWrite(9_000), T0_US)
    job = submit(world, array_size=3)
    world.rounds(2)
    assert len(world.running(job)) == 2, "two cores for two hours cost 4,000, and a third task would pass it"
    world.clock.pass_s(HOUR_US // S_US)
    world.rounds(2)
    (budget,) = world.region.rows(schema.budgets)
    assert (budget.spent_microyen, budget.promised_microyen) == (4_000, 4_000)
    world.finish(job)
    world.rounds(2)
    world.clock.pass_s(2 * EVERY_US // S_US)
    world.rounds(2)
    (budget,) = world.region.rows(schema.budgets)
    assert budget.spent_microyen == 4_000
    assert len(world.running(job)) == 1, "what was promised and not used is there for the next"


def test_a_gang_costs_what_its_tasks_cost(world: World) -> None:
    """Each rounded up: a budget between that and the rounded sum never lets the gang start."""
    one = world.region.organizations["one"]
    write(world, budgets.rate_put, world.region.pool, RateWrite(cpu_core_hour_microyen=1), T0_US)
    write(world, budgets.budget_put, one, BudgetWrite(4), T0_US)
    tiny = Resources(cpu_milli=100, wall_time_s=3_600)
    gang = submit(world, gang=True, array_size=5, resources=tiny)
    world.rounds(2)
    assert world.running(gang) == []
    write(world, budgets.budget_put, one, BudgetWrite(5), T0_US)
    world.rounds(2)
    assert len(world.running(gang)) == 5
    (budget,) = world.region.rows(schema.budgets)
    assert budget.promised_microyen == 5


def test_work_is_placed_in_a_new_month_before_its_budget_is_reckoned(world: World) -> None:
    one = world.region.organizations["one"]
    write(world, budgets.rate_put, world.region.pool, RateWrite(cpu_core_hour_microyen=1_000), T0_US)
    write(world, budgets.budget_put, one, BudgetWrite(4_000), T0_US)
    spent = {"spent_microyen": 4_000, "month": "2023-10"}
    world.store.transact_wait(None, lambda c: c.execute(schema.budgets.update(), spent))
    job = submit(world)
    world.activate("hosts", "jobs", "placement", "tasks")
    assert len(world.running(job)) == 1


def test_work_ends_though_a_quota_says_that_less_is_held(world: World) -> None:
    job = submit(world)
    world.rounds(2)
    row = {"organization_id": world.region.organizations["one"], "resource": "tasks", "most": 9, "used": 0}
    world.region.write(schema.quotas, row | {"updated_us": T0_US})
    world.finish(job)
    world.rounds(2)
    assert world.state(job) == "succeeded"
    assert world.region.rows(schema.quotas)[0].used == 0
    check_ended(world)


def test_a_reservation_ends_with_its_time(world: World) -> None:
    world.rounds(1)
    host = world.region.rows(schema.hosts)[0].id
    row = {
        "id": id_new(IdKind.RESERVATION),
        "organization_id": world.region.organizations["two"],
        "pool_id": world.region.pool,
        "name": "soon",
        "host_count": 1,
        "start_us": world.clock() + HOUR_US,
        "end_us": world.clock() + 2 * HOUR_US,
        "created_us": T0_US,
    }
    world.region.write(schema.reservations, row)
    world.region.write(schema.reservation_hosts, {"reservation_id": row["id"], "host_id": host})
    world.region.touch(host)
    long = submit(world)
    short = world.region.job_add(JobSpec(("true",), resources=Resources(memory_bytes=GIB, wall_time_s=1_800)))
    world.rounds(2)
    assert (len(world.running(long)), len(world.running(short))) == (0, 1)
    world.finish(short)
    world.clock.pass_s(7_199)
    world.rounds(2)
    assert world.region.rows(schema.reservations)[0].state == "held"
    world.clock.pass_s(1)
    world.rounds(2)
    assert world.region.rows(schema.reservations)[0].state == "ended"
    told = [event for event in world.region.rows(schema.events) if "reservation_end" in event.canonical]
    assert len(told) == 1
    world.rounds(1)
    assert len(world.running(long)) == 1
