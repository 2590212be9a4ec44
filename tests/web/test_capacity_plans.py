"""Plans of capacity."""

from typing import Any

import pytest

PATH = "/v1/capacity-plans"


def create(world: Any, **change: Any) -> Any:
    site = world.api(world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
    body = {"site": site, "model": "H200", "count": 768, "service_start": "2025-09-30"} | change
    return world.api(world.operator, "POST", PATH, body)


def test_one_is_planned_listed_and_dropped(world: Any) -> None:
    made = create(world, service_end="2030-03-31", note="hall 2")
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    plan = made.json()
    assert (plan["count"], plan["service_end"], plan["note"]) == (768, "2030-03-31", "hall 2")
    assert plan in world.api(world.operator, "GET", PATH, params={"limit": 1_000}).json()["items"]
    path = f"{PATH}/{plan['id']}"
    assert world.api(world.operator, "DELETE", path).status_code == 204
    assert world.api(world.operator, "DELETE", path).status_code == 404
    assert plan not in world.api(world.operator, "GET", PATH, params={"limit": 1_000}).json()["items"]


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"site": "site_00000000000000000000000000"}, "/site"),
        ({"model": "GPU of my own"}, "/model"),
        ({"service_start": "2025-02-30"}, "/service_start"),
        ({"service_end": "2025-13-01"}, "/service_end"),
        ({"service_end": "2025-09-29"}, "/service_end"),
        ({"service_start": "2025-9-1"}, "/service_start"),
        ({"count": 0}, "/count"),
        ({"model": "a/b"}, "/model"),
        ({"x": 1}, None),
    ],
)
def test_bad_plans_are_refused_where_they_are_wrong(world: Any, change: dict[str, Any], at: str) -> None:
    refused = create(world, **change)
    assert refused.status_code == 422
    if at is not None:
        assert refused.json()["at"] == at


def test_the_same_key_plans_once(world: Any) -> None:
    site = world.api(world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
    body = {"site": site, "model": "H200", "count": 1, "service_start": "2026-04-01"}
    headers = {"Idempotency-Key": world.name("plan")}
    first, second = (world.api(world.operator, "POST", PATH, body, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    other = world.api(world.operator, "POST", PATH, body | {"count": 2}, headers=headers)
    assert other.status_code == 409
