"""Rates and budgets."""

from typing import Any

import pytest


@pytest.fixture
def budget(world: Any) -> str:
    """The path of a budget of a new organization."""
    made = world.api(world.operator, "POST", "/v1/organizations", {"name": world.name("org")}).json()
    return f"/v1/organizations/{made['organization']['id']}/budget"


def test_a_budget_is_written_read_and_lifted(world: Any, budget: str) -> None:
    none = world.api(world.operator, "GET", budget)
    assert none.json()["month_microyen"] is None
    assert none.headers["etag"] == '"0"'
    written = world.api(world.operator, "PUT", budget, {"month_microyen": 5_000_000})
    assert written.status_code == 200
    body = written.json()
    assert (body["month_microyen"], body["spent_microyen"], body["promised_microyen"]) == (5_000_000, 0, 0)
    assert world.api(world.operator, "GET", budget).json() == body
    stale = world.api(world.operator, "PUT", budget, {"month_microyen": 1}, headers={"If-Match": '"0"'})
    assert stale.status_code == 412
    assert world.api(world.operator, "DELETE", budget).status_code == 428
    for _ in range(2):
        assert world.api(world.operator, "DELETE", budget, headers={"If-Match": "*"}).status_code == 204
    assert world.api(world.operator, "GET", budget).json()["month_microyen"] is None


@pytest.mark.parametrize("amount", [-1, 1 << 53, None, "all"])
def test_bad_budgets_are_refused(world: Any, budget: str, amount: Any) -> None:
    assert world.api(world.operator, "PUT", budget, {"month_microyen": amount}).status_code == 422


def test_rates_are_written_by_operators_and_read_by_everybody(world: Any) -> None:
    site = world.api(world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
    body = {"name": world.name("pool"), "site": site}
    pool = world.api(world.operator, "POST", "/v1/pools", body).json()
    rate = f"/v1/pools/{pool['name']}/rate"
    written = world.api(world.operator, "PUT", rate, {"device_hour_microyen": 350_000_000})
    assert written.status_code == 200
    assert written.json() == {
        "pool": pool["id"],
        "cpu_core_hour_microyen": 0,
        "memory_gib_hour_microyen": 0,
        "device_hour_microyen": 350_000_000,
        "version": 1,
    }
    listed = world.api(world.acme.tokens["viewer"], "GET", "/v1/rates", params={"limit": 1_000}).json()
    assert written.json() in listed["items"]
    page = world.api(world.operator, "GET", "/v1/rates", params={"limit": 1}).json()
    assert len(page["items"]) == 1
    stale = world.api(world.operator, "PUT", rate, {}, headers={"If-Match": '"9"'})
    assert stale.status_code == 412
    newest = world.api(world.operator, "GET", "/v1/events").json()["items"][0]
    assert (newest["action"], newest["resource"]) == ("rate_write", pool["id"])
    assert world.api(world.operator, "PUT", "/v1/pools/nowhere/rate", {}).status_code == 404
    assert world.api(world.operator, "PUT", rate, {"cpu_core_hour_microyen": -1}).status_code == 422
