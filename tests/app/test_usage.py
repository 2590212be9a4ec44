"""Usage: exact sums of metered intervals, clipped to a period."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plane_fixture import Tenant, World, plane_open

from kumoi.app.usage import (
    PERIOD_S_MAX,
    organization_usage_read,
    period_parse,
    platform_usage_read,
    project_usage_read,
)
from kumoi.model.access import Role
from kumoi.model.errors import Forbidden, Invalid, NotFound
from kumoi.model.records import Usage
from kumoi.model.time import US_PER_S, time_format, time_parse
from kumoi.store import schema
from kumoi.store.writer import Change

HOUR_US = 3_600 * US_PER_S
T0 = "2027-01-15T00:00:00Z"
T0_US = time_parse(T0)


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    """A region on each kind of database: the sums are made in SQL."""
    with plane_open(tmp_path, database_url) as opened:
        yield opened


@pytest.fixture
def project(acme: Tenant) -> str:
    return acme.project("apollo")


def interval(tenant: Tenant, project: str, attempt: str, start_us: int, end_us: int, **more: int) -> Any:
    return {
        "attempt_id": attempt,
        "start_us": start_us,
        "end_us": end_us,
        "organization_id": tenant.id,
        "project_id": project,
        "cpu_milli": 2_000,
        "memory_bytes": 1 << 30,
        "device_milli": 1_000,
        "cpu_us": (end_us - start_us) // 2,
        **more,
    }


def write(world: World, *rows: Any) -> None:
    world.run(world.plane.store.commit(Change([(schema.usage_intervals, rows)])))


def hours(start: float, end: float) -> tuple[int, int]:
    return T0_US + int(start * HOUR_US), T0_US + int(end * HOUR_US)


def ask(world: World, tenant: Tenant, project: str, start: float, end: float) -> Usage:
    since, until = (time_format(at) for at in hours(start, end))
    return world.run(project_usage_read(world.plane, tenant.admin, project, since, until))


def test_intervals_are_clipped_to_the_period(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    write(
        world,
        interval(acme, project, "before", *hours(-2, 0)),
        interval(acme, project, "begins", *hours(-1, 1)),
        interval(acme, project, "within", *hours(1, 2)),
        interval(acme, project, "within", *hours(2, 3)),
        interval(acme, project, "ends", *hours(3.5, 5)),
        interval(acme, project, "after", *hours(4, 5)),
    )
    found = ask(world, acme, project, 0, 4)
    assert found.attempts == 3
    assert found.wall_s == 3.5 * 3_600
    assert found.cpu_s == 3.5 * 3_600 / 2
    assert found.cpu_milli_s == 2_000 * 3.5 * 3_600
    assert found.memory_byte_s == (1 << 30) * 12_600
    assert found.device_s == 3.5 * 3_600
    assert (found.since, found.until) == ("2027-01-15T00:00:00.000000Z", "2027-01-15T04:00:00.000000Z")
    over = ask(world, acme, project, -1, 6)
    parts = [ask(world, acme, project, n, n + 1) for n in range(-1, 6)]
    assert over.wall_s == sum(part.wall_s for part in parts)
    assert over.cpu_milli_s == sum(part.cpu_milli_s for part in parts)


def test_the_largest_attempts_do_not_overflow(world: World, acme: Tenant) -> None:
    project = acme.project("apollo")
    month_us = 31 * 24 * HOUR_US
    size = {"cpu_milli": 1_024_000, "memory_bytes": 64 << 40, "device_milli": 512_000}
    write(
        world,
        *(
            interval(acme, project, f"a{n}", T0_US, T0_US + month_us, cpu_us=1_024 * month_us, **size)
            for n in range(20)
        ),
    )
    found = ask(world, acme, project, 0, 31 * 24)
    wall_s = 20 * 31 * 86_400
    assert found.memory_byte_s == (64 << 40) * wall_s
    assert found.cpu_milli_s == 1_024_000 * wall_s
    assert found.device_s == 512 * wall_s
    assert found.cpu_s == 1_024 * wall_s
    half = ask(world, acme, project, 0, 31 * 12)
    assert half.cpu_s == pytest.approx(found.cpu_s / 2)


intervals = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 40), st.integers(1, 20)),
    max_size=12,
    unique_by=lambda drawn: drawn[:2],
)


@given(drawn=intervals, since=st.integers(0, 60), length=st.integers(1, 60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_equal_the_sum_by_hand(
    world: World,
    acme: Tenant,
    project: str,
    drawn: list[tuple[int, int, int]],
    since: int,
    length: int,
) -> None:
    store = world.plane.store
    world.run(store.transact(lambda connection: connection.execute(schema.usage_intervals.delete())))
    rows = [
        interval(
            acme,
            project,
            f"a{attempt}",
            T0_US + start * US_PER_S,
            T0_US + (start + duration) * US_PER_S,
            device_milli=1_000 * attempt,
        )
        for attempt, start, duration in drawn
    ]
    if rows:
        write(world, *rows)
    until = since + length
    clipped = [
        (attempt, max(0, min(start + duration, until) - max(start, since)))
        for attempt, start, duration in drawn
    ]
    found = world.run(
        project_usage_read(
            world.plane,
            acme.admin,
            project,
            time_format(T0_US + since * US_PER_S),
            time_format(T0_US + until * US_PER_S),
        )
    )
    assert found.wall_s == sum(within for _, within in clipped)
    assert found.device_s == sum(attempt * within for attempt, within in clipped)
    assert found.attempts == len({attempt for attempt, within in clipped if within})


def test_organizations_and_operators_see_sums_of_theirs(world: World, acme: Tenant, rival: Tenant) -> None:
    one, two, theirs = acme.project("one"), acme.project("two"), rival.project("one")
    write(
        world,
        interval(acme, one, "a1", *hours(0, 1)),
        interval(acme, two, "a2", *hours(0, 2)),
        interval(rival, theirs, "r1", *hours(0, 4)),
    )
    until = time_format(T0_US + 10 * HOUR_US)
    found = world.run(organization_usage_read(world.plane, acme.admin, "acme", T0, until))
    assert (found.wall_s, found.attempts, found.organization, found.project) == (10_800, 2, acme.id, None)
    first = world.run(platform_usage_read(world.plane, world.operator, T0, until, 2, None))
    second = world.run(platform_usage_read(world.plane, world.operator, T0, until, 2, first.next))
    assert [(row.organization, row.wall_s) for row in (*first.items, *second.items)] == [
        (world.plane.region.platform_organization_id, 0),
        (acme.id, 10_800),
        (rival.id, 14_400),
    ]
    with pytest.raises(Invalid):
        world.run(platform_usage_read(world.plane, world.operator, None, None, 2, first.next))


def test_who_may_not(world: World, acme: Tenant, rival: Tenant) -> None:
    project = acme.project("apollo")
    member = acme.actor("ann", Role.MEMBER)
    assert world.run(project_usage_read(world.plane, member, project, None, None)).attempts == 0
    with pytest.raises((Forbidden, NotFound)):
        world.run(organization_usage_read(world.plane, member, "acme", None, None))
    with pytest.raises(Forbidden):
        world.run(platform_usage_read(world.plane, acme.admin, None, None, 10, None))
    for stranger in (rival.admin, world.operator):
        with pytest.raises(NotFound):
            world.run(project_usage_read(world.plane, stranger, project, None, None))
        with pytest.raises((NotFound, Forbidden)):
            world.run(organization_usage_read(world.plane, stranger, "acme", None, None))


@pytest.mark.parametrize(
    ("now", "since", "until"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "2026-12-01", "2027-01-01"),
        (datetime(2024, 2, 29, tzinfo=UTC), "2024-02-01", "2024-03-01"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01", "2026-02-01"),
    ],
)
def test_without_times_it_is_the_current_month(now: datetime, since: str, until: str) -> None:
    period = period_parse(None, None, int(now.timestamp()) * US_PER_S)
    assert time_format(period.since_us) == f"{since}T00:00:00.000000Z"
    assert time_format(period.until_us) == f"{until}T00:00:00.000000Z"


@pytest.mark.parametrize(
    ("since", "until", "code"),
    [
        ("yesterday", None, "time_invalid"),
        ("2027-01-01", None, "time_invalid"),
        ("2027-01-01T00:00:00", None, "time_invalid"),
        (None, "", "time_invalid"),
        (None, "2027-13-01T00:00:00Z", "time_invalid"),
        ("0001-01-01T00:00:00+14:00", None, "time_invalid"),
        ("9999-12-31T23:00:00Z", "9999-12-31T23:59:59-01:00", "time_invalid"),
        ("1970-01-01T00:00:00Z", None, "period_too_long"),
        (T0, T0, "period_empty"),
        ("2027-02-02T00:00:00Z", None, "period_empty"),
        ("2027-01-02T00:00:00Z", "2027-01-01T00:00:00Z", "period_empty"),
        ("2025-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "period_too_long"),
    ],
)
def test_periods_that_are_none(since: str | None, until: str | None, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        period_parse(since, until, T0_US)
    assert refused.value.code == code


def test_offsets_count_and_a_year_fits() -> None:
    period = period_parse("2027-01-01T09:00:00+09:00", "2028-01-01T00:00:00Z", T0_US)
    assert time_format(period.since_us) == "2027-01-01T00:00:00.000000Z"
    assert PERIOD_S_MAX > 366 * 86_400
