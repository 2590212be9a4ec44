"""Quotas and fair shares."""

from typing import Any

import pytest


def path(world: Any, rest: str, tenant: str = "acme") -> str:
    return f"/v1/organizations/{getattr(world, tenant).id}/{rest}"


@pytest.fixture
def quota(world: Any) -> str:
    """The path of a quota that nothing else looks at."""
    return path(world, "quotas/device_milli", "rival")


def test_a_quota_is_written_read_and_lifted(world: Any, quota: str) -> None:
    operator = world.operator
    made = world.api(operator, "PUT", quota, {"most": 8_000})
    assert made.status_code == 201
    body = made.json()
    assert body == {
        "organization": world.rival.id,
        "resource": "device_milli",
        "most": 8_000,
        "used": 0,
        "version": 1,
    }
    changed = world.api(operator, "PUT", quota, {"most": 4_000}, headers={"If-Match": made.headers["etag"]})
    assert (changed.status_code, changed.json()["most"], changed.headers["etag"]) == (200, 4_000, '"2"')
    listed = world.api(world.rival.admin, "GET", path(world, "quotas", "rival")).json()
    assert changed.json() in listed["items"]
    assert listed["next"] is None
    stale = world.api(operator, "PUT", quota, {"most": 1}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert "device_milli" in stale.json()["detail"]
    assert world.api(operator, "DELETE", quota).status_code == 428
    assert world.api(operator, "DELETE", quota, headers={"If-Match": '"1"'}).status_code == 412
    assert world.api(operator, "DELETE", quota, headers={"If-Match": "*"}).status_code == 204
    assert world.api(operator, "DELETE", quota, headers={"If-Match": "*"}).status_code == 404
    assert world.api(operator, "PUT", quota, {"most": 1}, headers={"If-Match": "*"}).status_code == 412


def test_the_organization_and_the_provider_are_told(world: Any, quota: str) -> None:
    world.api(world.operator, "PUT", quota, {"most": 7})
    for token, events in (
        (world.rival.admin, path(world, "events", "rival")),
        (world.operator, "/v1/events"),
    ):
        newest = world.api(token, "GET", events).json()["items"][0]
        assert newest["action"] == "quota_write"
        assert newest["resource"] == world.rival.id
        assert newest["detail"] == {"resource": "device_milli", "most": 7}


@pytest.mark.parametrize("most", [-1, 1 << 53, "8", 1.5, None])
def test_bad_quotas_are_refused(world: Any, quota: str, most: Any) -> None:
    assert world.api(world.operator, "PUT", quota, {"most": most}).status_code == 422
    assert world.api(world.operator, "PUT", quota, {"most": 1, "used": 1}).status_code == 422


def test_there_is_no_quota_of_anything_else(world: Any) -> None:
    assert world.api(world.operator, "PUT", path(world, "quotas/love"), {"most": 1}).status_code == 404
    absent = "/v1/organizations/nobody/quotas/tasks"
    assert world.api(world.operator, "PUT", absent, {"most": 1}).status_code == 404


def test_a_weight_is_one_until_it_is_written(world: Any) -> None:
    made = world.api(world.operator, "POST", "/v1/organizations", {"name": world.name("org")}).json()
    share = f"/v1/organizations/{made['organization']['name']}/fair-share"
    first = world.api(made["admin_token"], "GET", share)
    assert first.json() == {"organization": made["organization"]["id"], "weight": 1, "version": 0}
    assert first.headers["etag"] == '"0"'
    written = world.api(world.operator, "PUT", share, {"weight": 5}, headers={"If-Match": '"0"'})
    assert (written.status_code, written.json()["weight"]) == (200, 5)
    assert world.api(made["admin_token"], "GET", share).json() == written.json()
    stale = world.api(world.operator, "PUT", share, {"weight": 6}, headers={"If-Match": '"0"'})
    assert stale.status_code == 412


@pytest.mark.parametrize("weight", [0, 1_001, "many"])
def test_bad_weights_are_refused(world: Any, weight: Any) -> None:
    answer = world.api(world.operator, "PUT", path(world, "fair-share"), {"weight": weight})
    assert answer.status_code == 422
