"""The account of capacity."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from kumoi.core.capacity import fiscal_year
from kumoi.engines.devices.fake import gpu_make
from kumoi.engines.fake import FAKE_HOST

PATH = "/v1/capacity"
ATTESTED = {
    "vendor": "NVIDIA",
    "fp16_dense_gflops": 989_400,
    "memory_bytes": 141 * 10**9,
    "datasheet": "datasheet",
    "datasheet_sha256": "ab" * 32,
}


def read(world: Any, **period: str) -> Any:
    answer = world.api(world.operator, "GET", PATH, params=period)
    assert answer.status_code == 200, answer.text
    return answer.json()


def plan(world: Any, count: int, start: str) -> None:
    site = world.api(world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
    body = {"site": site, "model": "H200", "count": count, "service_start": start}
    assert world.api(world.operator, "POST", "/v1/capacity-plans", body).status_code == 201


def findings(account: Any, source: str) -> list[str]:
    return [criterion[source]["finding"] for criterion in account["criteria"]]


def test_plans_and_devices_are_reckoned_and_attested(own_world: Any) -> None:
    world = own_world
    empty = read(world)
    today = datetime.now(UTC).astimezone(timezone(timedelta(hours=9))).date()
    assert (empty["since"], empty["until"]) == tuple(day.isoformat() for day in fiscal_year(today))
    assert findings(empty, "planned") == ["unmet", "unmet"]

    plan(world, 768, "2025-09-30")
    plan(world, 7_581, "2028-03-31")
    account = read(world, **{"from": "2025-04-01", "to": "2029-03-31"})
    assert findings(account, "planned") == ["unclear", "unclear"], "nobody recorded the datasheet"
    assert account["criteria"][0]["planned"]["at"] == {
        "day": "2025-09-30",
        "attested_gflops": 0,
        "unattested_gflops": 759_859_200,
    }
    assert world.api(world.operator, "PUT", "/v1/device-models/H200", ATTESTED).status_code == 201
    account = read(world, **{"from": "2025-04-01", "to": "2029-03-31"})
    assert findings(account, "planned") == ["met", "met"]
    second = account["criteria"][1]["planned"]
    assert second["at"]["attested_gflops"] == 7_500_641_400
    assert [step["attested_gflops"] for step in account["planned"]["steps"]] == [
        0,
        759_859_200,
        8_260_500_600,
    ]
    assert account["planned"]["least"]["day"] == "2025-04-01"

    world.engine.host_change(FAKE_HOST.name, devices=tuple(gpu_make(number) for number in range(8)))
    world.loops.nudge("hosts")
    world.wait(lambda: read(world)["live"]["least"])
    account = read(world)
    assert account["live"]["steps"][-1] == {
        "since": today.isoformat(),
        "until": today.isoformat(),
        "attested_gflops": 8 * 989_400,
        "unattested_gflops": 0,
    }
    live = [one for one in account["classes"] if one["source"] == "live"]
    assert [(one["model"], one["count"], one["healthy"], one["gflops"]) for one in live] == [
        ("H200", 8, 8, 8 * 989_400)
    ]
    hosts = world.api(world.operator, "GET", "/v1/hosts").json()["items"]
    assert len(hosts[0]["devices"]) == 8
    assert {device["health"] for device in hosts[0]["devices"]} == {"healthy"}


def test_a_wider_reading_counts_what_started_earlier(own_world: Any) -> None:
    period = {"from": "2025-04-01", "to": "2029-03-31"}
    wide = read(own_world, **period, count_from="2025-04-01")
    assert wide["count_from"] == "2025-04-01"
    assert wide["criteria"][1]["start_since"] == "2025-04-01"
    narrow = read(own_world, **period)
    at = [account["criteria"][1]["planned"]["at"]["attested_gflops"] for account in (wide, narrow)]
    assert at[0] - at[1] == 759_859_200


@pytest.mark.parametrize(
    ("period", "at"),
    [
        ({"from": "2026-02-30"}, "from"),
        ({"from": "2026-04-01", "to": "2026-03-31"}, "to"),
        ({"from": "2000-01-01", "to": "2026-03-31"}, "from"),
        ({"count_from": "2028-04-01"}, "count_from"),
        ({"from": "9999-01-01", "to": "9999-12-31"}, "to"),
        ({"from": "2300-01-01"}, "from"),
    ],
)
def test_periods_that_make_no_sense_are_refused(world: Any, period: dict[str, str], at: str) -> None:
    refused = world.api(world.operator, "GET", PATH, params=period)
    assert (refused.status_code, refused.json()["at"]) == (422, at)


def test_what_is_no_day_cannot_be_read(world: Any) -> None:
    assert world.api(world.operator, "GET", PATH, params={"from": "yesterday"}).status_code == 422
    assert world.api(world.operator, "GET", PATH, params={"since": "2026-04-01"}).status_code == 422
