"""Quotas hold whatever happens at once, and say what live attempts hold."""

from collections.abc import Mapping
from typing import Any

import pytest
from region_rows import GIB, T0_US, RegionRows

from kumoi.core.queue.fairness import HALF_LIFE_S, MEMORY_S, Amounts
from kumoi.core.queue.standing import Standing
from kumoi.model.jobs import JobSpec, Resources
from kumoi.model.shares import BudgetWrite, FairShare, QuotaResource
from kumoi.model.time import US_PER_S
from kumoi.store import schema, shares
from kumoi.store.budgets import budget_put
from kumoi.store.errors import ImpossibleState
from kumoi.store.shares import PoolShare, QuotaDrift

CPU, MEMORY, TASKS = QuotaResource.CPU_MILLI, QuotaResource.MEMORY_BYTES, QuotaResource.TASKS
DEVICE = QuotaResource.DEVICE_MILLI


def write(region: RegionRows, function: Any, *args: Any) -> Any:
    return region.store.transact_wait(None, function, *args)


def read(region: RegionRows, function: Any, *args: Any) -> Any:
    return region.store.read_wait(function, *args)


def used(region: RegionRows, name: str = "one") -> dict[str, int]:
    quotas = read(region, shares.quota_list, region.organizations[name])
    return {quota.resource.value: quota.used for quota in quotas}


def limit(region: RegionRows, name: str = "one", **most: int) -> None:
    for resource, amount in most.items():
        write(region, shares.quota_put, region.organizations[name], QuotaResource(resource), amount, T0_US)


def charge(region: RegionRows, amounts: Mapping[tuple[str, QuotaResource], int]) -> set[str]:
    found: set[str] = write(
        region,
        shares.quotas_charge,
        {(region.organizations[name], resource): amount for (name, resource), amount in amounts.items()},
    )
    return {name for name, id_ in region.organizations.items() if id_ in found}


def running(region: RegionRows, host: str, **more: Any) -> str:
    job = region.job_add(JobSpec(command=("true",), resources=Resources(wall_time_s=7_200)))
    return region.attempt_add(job, host, **more)


def test_without_quotas_nothing_is_refused_or_counted(region: RegionRows) -> None:
    assert charge(region, {("one", CPU): 10**15, ("two", TASKS): 1}) == set()
    assert region.rows(schema.quotas) == []


def test_an_organization_is_charged_all_or_nothing(region: RegionRows) -> None:
    limit(region, cpu_milli=10_000, tasks=3)
    limit(region, "two", tasks=3)
    assert charge(region, {("one", CPU): 4_000, ("one", TASKS): 3, ("two", TASKS): 3}) == set()
    refused = charge(region, {("one", CPU): 4_000, ("one", TASKS): 1, ("two", CPU): 1})
    assert refused == {"one"}
    assert used(region) == {"cpu_milli": 4_000, "tasks": 3}
    assert charge(region, {("one", CPU): 6_000, ("one", MEMORY): GIB}) == set()
    assert used(region) == {"cpu_milli": 10_000, "tasks": 3}
    write(
        region,
        shares.quotas_release,
        {(region.organizations["one"], CPU): 10_000, (region.organizations["two"], TASKS): 3},
    )
    assert used(region) == {"cpu_milli": 0, "tasks": 3}
    assert used(region, "two") == {"tasks": 0}


def test_a_quota_below_what_is_held_ends_nothing_and_refuses_only_that_resource(region: RegionRows) -> None:
    limit(region, cpu_milli=5_000, tasks=5)
    charge(region, {("one", CPU): 5_000})
    limit(region, cpu_milli=1_000)
    assert charge(region, {("one", CPU): 1}) == {"one"}
    assert charge(region, {("one", CPU): 0, ("one", TASKS): 1}) == set()
    assert used(region) == {"cpu_milli": 5_000, "tasks": 1}


def test_less_than_nothing_is_never_held_and_no_end_fails_for_it(region: RegionRows) -> None:
    limit(region, cpu_milli=5_000, tasks=5)
    charge(region, {("one", CPU): 10, ("one", TASKS): 2})
    one = region.organizations["one"]
    write(region, shares.quotas_release, {(one, CPU): 11, (one, TASKS): 1})
    assert used(region) == {"cpu_milli": 0, "tasks": 1}


def test_a_first_quota_counts_what_is_held_already(region: RegionRows) -> None:
    host = region.host_add("host-1")
    device = region.device_add(host, 0)
    attempt = running(region, host, cpu_milli=2_500)
    region.write(schema.attempt_devices, {"attempt_id": attempt, "device_id": device, "milli": 400})
    running(region, host, state="ended", ended_us=T0_US + 1, outcome="exited")
    limit(region, cpu_milli=1, memory_bytes=GIB, device_milli=1_000, tasks=9, disk_bytes=0)
    assert used(region) == {
        "cpu_milli": 2_500,
        "memory_bytes": GIB,
        "device_milli": 400,
        "tasks": 1,
        "disk_bytes": 0,
    }
    assert write(region, shares.quotas_audit) == []


def test_an_audit_finds_and_mends_what_is_wrong(region: RegionRows) -> None:
    limit(region, cpu_milli=9_000, tasks=5)
    running(region, region.host_add("host-1"))
    one = region.organizations["one"]
    assert write(region, shares.quotas_audit) == [
        QuotaDrift(one, CPU, 0, 1_000),
        QuotaDrift(one, TASKS, 0, 1),
    ]
    assert used(region) == {"cpu_milli": 1_000, "tasks": 1}
    assert write(region, shares.quotas_audit) == []


def test_a_quota_is_changed_and_lifted(region: RegionRows) -> None:
    one = region.organizations["one"]
    limit(region, cpu_milli=1)
    limit(region, cpu_milli=2)
    quota = read(region, shares.quota_get, one, CPU)
    assert (quota.most, quota.version) == (2, 2)
    write(region, shares.quota_drop, one, CPU)
    assert read(region, shares.quota_get, one, CPU) is None
    assert read(region, shares.quota_list, one) == []


def test_the_schema_refuses_quotas_and_weights_that_cannot_be(region: RegionRows) -> None:
    one = region.organizations["one"]
    quota = {"organization_id": one, "resource": "cpu_milli", "most": 1, "used": 0, "updated_us": T0_US}
    for wrong in ({"most": -1}, {"used": -1}, {"resource": "love"}):
        with pytest.raises(ImpossibleState):
            region.write(schema.quotas, quota | wrong)
    for weight in (0, 1_001):
        with pytest.raises(ImpossibleState):
            region.write(schema.fair_shares, {"organization_id": one, "weight": weight, "updated_us": 0})


# Standings


def test_who_is_new_stands_like_everybody(region: RegionRows) -> None:
    one = region.organizations["one"]
    assert read(region, shares.standings_load, region.pool, [one], T0_US) == {one: Standing()}
    assert read(region, shares.standings_load, region.pool, [], T0_US) == {}


def test_a_standing_says_weight_use_and_what_is_left(region: RegionRows) -> None:
    one, two = region.organizations["one"], region.organizations["two"]
    limit(region, cpu_milli=9_000, device_milli=2_000)
    charge(region, {("one", CPU): 4_000})
    write(region, shares.fair_share_put, one, 7, T0_US)
    write(region, budget_put, one, BudgetWrite(5_000), T0_US)
    held = [PoolShare(region.pool, one, 0.5), PoolShare("pool_other", two, 1.0)]
    write(region, shares.pool_uses_advance, held, T0_US)
    later_us = T0_US + HALF_LIFE_S * US_PER_S
    found = read(region, shares.standings_load, region.pool, [one, two], later_us)
    assert found[two] == Standing()
    assert found[one].usage_s == pytest.approx(0.25 * MEMORY_S)
    assert found[one] == Standing(7, found[one].usage_s, (5_000, None, None, 2_000, None), 5_000)


def test_a_weight_is_one_until_it_is_written(region: RegionRows) -> None:
    one = region.organizations["one"]
    assert read(region, shares.fair_share_get, one) == FairShare(one, 1, 0)
    assert write(region, shares.fair_share_put, one, 3, T0_US) == FairShare(one, 3, 1)
    assert write(region, shares.fair_share_put, one, 2, T0_US) == FairShare(one, 2, 2)


# What was lately held


def test_the_share_held_is_the_largest_of_the_pool(region: RegionRows) -> None:
    host = region.host_add("host-1")
    region.host_add("host-2", state="draining", cpu_milli=10**6)
    device = region.device_add(host, 0)
    region.device_add(host, 1, health="unhealthy")
    attempt = running(region, host)
    one = region.organizations["one"]
    assert read(region, shares.pool_shares_read) == [PoolShare(region.pool, one, 0.25)]
    region.write(schema.attempt_devices, {"attempt_id": attempt, "device_id": device, "milli": 300})
    assert read(region, shares.pool_shares_read) == [PoolShare(region.pool, one, 0.3)]
    assert read(region, shares.organizations_held, [one]) == {one: Amounts(1_000, GIB, 0, 300, 1)}


def test_use_counts_while_it_is_held_and_fades_after_it(region: RegionRows) -> None:
    one = region.organizations["one"]
    held = [PoolShare(region.pool, one, 0.5)]
    at_us = T0_US
    for shares_now in (held, held, [], []):
        write(region, shares.pool_uses_advance, shares_now, at_us)
        at_us += HALF_LIFE_S * US_PER_S
    (row,) = region.rows(schema.pool_uses)
    assert row.share == 0.0
    assert row.at_us == T0_US + 2 * HALF_LIFE_S * US_PER_S, "it is not written while nothing is held"
    assert row.usage_s == pytest.approx(0.375 * MEMORY_S)
    found = read(region, shares.standings_load, region.pool, [one], at_us)
    assert found[one].usage_s == pytest.approx(0.375 * MEMORY_S / 4)
    write(region, shares.pool_uses_advance, [], T0_US + 100 * HALF_LIFE_S * US_PER_S)
    assert region.rows(schema.pool_uses) == []


def test_a_clock_that_goes_back_takes_nothing_away(region: RegionRows) -> None:
    held = [PoolShare(region.pool, region.organizations["one"], 0.5)]
    for at_us in (T0_US, T0_US - 10**9):
        write(region, shares.pool_uses_advance, held, at_us)
    (row,) = region.rows(schema.pool_uses)
    assert (row.usage_s, row.at_us) == (0.0, T0_US)
