"""Pools."""

from typing import Any

import pytest

from kumoi.core.placement.reasons import JOB_REASONS

PATH = "/v1/pools"


def create(world: Any, **change: Any) -> Any:
    site = world.api(world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
    body = {"name": world.name("pool"), "site": site} | change
    return world.api(world.operator, "POST", PATH, body)


def test_one_is_created_and_listed(world: Any) -> None:
    made = create(world, network_allowed=True)
    assert made.status_code == 201
    assert made.json()["network_allowed"] is True
    assert made.json()["state"] == "open"
    assert made.json() in world.api(world.acme.admin, "GET", PATH, params={"limit": 1_000}).json()["items"]


def test_a_paused_pool_takes_work_and_holds_it(world: Any) -> None:
    name = create(world).json()["name"]
    paused = world.api(world.operator, "POST", f"{PATH}/{name}/pause")
    assert paused.json()["state"] == "paused"
    assert paused.headers["etag"] == '"2"'
    assert world.api(world.operator, "POST", f"{PATH}/{name}/pause").status_code == 409
    job = f"/v1/jobs/{world.job(pool=name)}"
    why = world.api(world.acme.admin, "GET", f"{job}/why").json()
    assert (why["code"], why["explanation"]) == ("pool_paused", JOB_REASONS["pool_paused"])
    said = world.api(world.acme.admin, "GET", f"{job}/why", headers={"Accept-Language": "ja"})
    assert said.json()["explanation"] == "プールが一時停止中である。作業は受け付けられ、保留される"
    assert world.api(world.acme.admin, "GET", job).json()["state"] == "pending"
    assert world.api(world.operator, "POST", f"{PATH}/{name}/resume").json()["state"] == "open"
    world.wait(lambda: world.api(world.acme.admin, "GET", job).json()["state"] == "queued")


@pytest.mark.parametrize(
    "change",
    [
        {"site": "site_00000000000000000000000000"},
        {"site": "here"},
        {"engine": "steam"},
        {"isolation": "none"},
        {"network_allowed": "yes"},
        {"network_allowed": True, "shared_by_organizations": True},
        {"name": "default", "x": 1},
    ],
)
def test_bad_bodies_are_refused(world: Any, change: dict[str, Any]) -> None:
    assert create(world, **change).status_code == 422


def test_unknown_ones_are_not_found(world: Any) -> None:
    for pool in ("pool_00000000000000000000000000", "never-was", "Not%20A%20Name"):
        assert world.api(world.operator, "POST", f"{PATH}/{pool}/pause").status_code == 404


def test_names_are_given_once(world: Any) -> None:
    assert create(world, name="default").status_code == 409
