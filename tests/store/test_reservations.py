"""Reservations take whole hosts that nobody else needs then, and outdate what was decided without them."""

from typing import Any

from region_rows import T0_US, RegionRows

from kumoi.core.placement.snapshot import STOP_MOST_S
from kumoi.core.queue.reserve import Shortfall
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec, Resources
from kumoi.model.time import US_PER_S
from kumoi.store import reservations, schema
from kumoi.store.ids import id_new

HOUR_US = 3_600 * US_PER_S


def choose(
    region: RegionRows, count: int, start_h: float, end_h: float, organization: str = "one"
) -> tuple[str, ...] | Shortfall:
    found: tuple[str, ...] | Shortfall = region.store.transact_wait(
        None,
        reservations.reservation_hosts_choose,
        region.pool,
        region.organizations[organization],
        count,
        T0_US + round(start_h * HOUR_US),
        T0_US + round(end_h * HOUR_US),
    )
    return found


def hold(region: RegionRows, hosts: tuple[str, ...], start_h: float, end_h: float, **more: Any) -> str:
    row = {
        "id": id_new(IdKind.RESERVATION),
        "organization_id": region.organizations["two"],
        "pool_id": region.pool,
        "name": f"held-{len(region.rows(schema.reservations))}",
        "host_count": len(hosts),
        "start_us": T0_US + round(start_h * HOUR_US),
        "end_us": T0_US + round(end_h * HOUR_US),
        "created_us": T0_US,
    }
    region.write(schema.reservations, row | more)
    for host in hosts:
        region.write(schema.reservation_hosts, {"reservation_id": row["id"], "host_id": host})
    return str(row["id"])


def running(region: RegionRows, host: str, hours: int, organization: str, **more: Any) -> None:
    resources = Resources(wall_time_s=hours * 3_600)
    job = region.job_add(JobSpec(command=("true",), resources=resources), organization=organization)
    owner = {
        "organization_id": region.organizations[organization],
        "project_id": region.projects[organization],
    }
    region.attempt_add(job, host, **owner, **more)


def test_hosts_whose_work_ends_before_are_taken_and_change(region: RegionRows) -> None:
    busy, short, own, free = (region.host_add(f"host-{number}") for number in range(4))
    running(region, busy, 3, "two")
    running(region, short, 1, "two")
    running(region, own, 9, "one")
    before = {row.id: row.generation for row in region.rows(schema.hosts)}
    chosen = choose(region, 3, 2, 4)
    assert chosen == tuple(sorted((short, own, free)))
    after = {row.id: row.generation for row in region.rows(schema.hosts)}
    assert {host for host in after if after[host] != before[host]} == {short, own, free}


def test_work_that_has_not_started_may_do_so_as_late_as_it_can(region: RegionRows) -> None:
    host = region.host_add("host")
    running(region, host, 1, "two", state="placed", started_us=None, start_before_us=T0_US + HOUR_US)
    assert choose(region, 1, 2, 4) == Shortfall(0, T0_US + 2 * HOUR_US + STOP_MOST_S * US_PER_S)


def test_a_shortfall_says_what_could_be_had_and_changes_nothing(region: RegionRows) -> None:
    busy, _free = (region.host_add(f"host-{number}") for number in range(2))
    running(region, busy, 3, "two")
    before = {row.id: row.generation for row in region.rows(schema.hosts)}
    assert choose(region, 2, 2, 4) == Shortfall(1, T0_US + 3 * HOUR_US + STOP_MOST_S * US_PER_S)
    assert choose(region, 3, 2, 4) == Shortfall(1, None)
    assert {row.id: row.generation for row in region.rows(schema.hosts)} == before


def test_hosts_of_others_are_left_alone(region: RegionRows) -> None:
    region.host_add("host-1", dedicated_to=region.organizations["two"])
    region.host_add("host-2", state="draining")
    region.host_add("host-3", health="lost")
    other = region.pool_add("other")
    region.host_add("host-4", pool_id=other)
    mine = region.host_add("host-5", dedicated_to=region.organizations["one"])
    assert choose(region, 1, 1, 2) == (mine,)
    assert choose(region, 2, 1, 2) == Shortfall(1, None)


def test_reservations_follow_each_other_and_cancelled_ones_do_not_count(region: RegionRows) -> None:
    host = region.host_add("host-1")
    hold(region, (host,), 2, 4)
    hold(region, (host,), 0, 100, state="cancelled")
    assert choose(region, 1, 3, 5) == Shortfall(0, T0_US + 4 * HOUR_US)
    assert choose(region, 1, 0, 2) == (host,)
    assert choose(region, 1, 4, 5) == (host,)


def test_what_is_over_ends_once_and_frees_its_hosts(region: RegionRows) -> None:
    host = region.host_add("host-1")
    over = hold(region, (host,), 1, 2)
    coming = hold(region, (host,), 2, 3)
    touches = len(region.rows(schema.host_touches))
    end_us = T0_US + 2 * HOUR_US
    assert not region.store.read_wait(reservations.reservations_over, end_us - 1)
    assert region.store.read_wait(reservations.reservations_over, end_us)
    for ended in (1, 0):
        assert region.store.transact_wait(None, reservations.reservations_end, end_us, 10) == ended
    states = {row.id: row.state for row in region.rows(schema.reservations)}
    assert states == {over: "ended", coming: "held"}
    assert len(region.rows(schema.host_touches)) == touches + 1
    assert [row.organization_id for row in region.rows(schema.events)] == [region.organizations["two"]]


def test_an_organization_sees_its_own(region: RegionRows) -> None:
    host = region.host_add("host-1")
    first, second = hold(region, (host,), 1, 2), hold(region, (host,), 2, 3)
    one, two = region.organizations["one"], region.organizations["two"]

    def listed(organization_id: str, limit: int, after: str | None) -> list[str]:
        rows = region.store.read_wait(reservations.reservation_list, organization_id, limit, after)
        return [row.id for row in rows]

    assert listed(two, 1, None) == [first]
    assert listed(two, 9, first) == [second]
    assert listed(one, 9, None) == []
    assert region.store.read_wait(reservations.reservation_get, one, first) is None
    found = region.store.read_wait(reservations.reservation_get, two, first)
    assert found is not None
    assert found.host_count == 1
    assert region.store.read_wait(reservations.reservation_host_ids, first) == [host]
