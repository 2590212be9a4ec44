"""Hosts."""

from typing import Any


def host(world: Any) -> dict[str, Any]:
    """A host of the region, once the loops have seen it."""
    found: dict[str, Any] = world.wait(lambda: world.api(world.operator, "GET", "/v1/hosts").json()["items"])[
        0
    ]
    return found


def test_hosts_are_listed_by_pool_and_read_by_id_or_name(world: Any) -> None:
    found = host(world)
    for key in (found["id"], found["name"]):
        read = world.api(world.operator, "GET", f"/v1/hosts/{key}")
        assert read.status_code == 200
        assert read.json()["id"] == found["id"]
        assert read.headers["etag"] == f'"{read.json()["version"]}"'
    listed = world.api(world.operator, "GET", "/v1/hosts", params={"pool": found["pool"]}).json()["items"]
    assert found["id"] in [item["id"] for item in listed]
    assert {item["pool"] for item in listed} == {found["pool"]}


def test_hosts_of_no_pool_are_none_or_not_found(world: Any) -> None:
    answer = world.api(world.operator, "GET", "/v1/hosts", params={"pool": "pool_00000000000000000000000000"})
    assert (answer.status_code, answer.json().get("items")) in ((200, []), (404, None))
    assert world.api(world.operator, "GET", "/v1/hosts", params={"pool": "x y"}).status_code == 422


def test_a_host_is_drained_and_resumed(world: Any) -> None:
    path = f"/v1/hosts/{host(world)['id']}"
    drained = world.api(world.operator, "POST", f"{path}/drain")
    assert drained.json()["state"] == "draining"
    assert world.api(world.operator, "POST", f"{path}/drain").status_code == 409
    assert world.api(world.operator, "POST", f"{path}/resume").json()["state"] == "schedulable"
    assert world.api(world.operator, "POST", f"{path}/resume").status_code == 409


def test_unknown_ones_are_not_found(world: Any) -> None:
    for name in ("host_00000000000000000000000000", "never-was"):
        assert world.api(world.operator, "GET", f"/v1/hosts/{name}").status_code == 404
        assert world.api(world.operator, "POST", f"/v1/hosts/{name}/drain").status_code == 404


def test_a_host_is_kept_for_an_organization_and_given_back(world: Any) -> None:
    path = f"/v1/hosts/{host(world)['id']}/dedicate"
    for organization in (world.acme.name, world.acme.id):
        kept = world.api(world.operator, "POST", path, {"organization": organization})
        assert (kept.status_code, kept.json()["dedicated_to"]) == (200, world.acme.id)
        assert kept.headers["etag"] == f'"{kept.json()["version"]}"'
    unknown = world.api(world.operator, "POST", path, {"organization": "nobody"})
    assert (unknown.status_code, unknown.json()["at"]) == (422, "/organization")
    for body in ({}, {"organization": ""}, {"organization": 1}, {"organization": None, "x": 1}):
        assert world.api(world.operator, "POST", path, body).status_code == 422
    assert world.api(world.operator, "POST", path, {"organization": None}).json()["dedicated_to"] is None


def test_only_a_silent_host_is_declared_lost(world: Any) -> None:
    alive = world.api(world.operator, "POST", f"/v1/hosts/{host(world)['id']}/lost")
    assert (alive.status_code, alive.json()["type"]) == (409, "urn:kumoi:error:host_not_lost")
    path = f"/v1/hosts/{world.host_lost()}/lost"
    lost = world.api(world.operator, "POST", path)
    assert (lost.status_code, lost.json()["state"]) == (200, "quarantined")
    again = world.api(world.operator, "POST", path)
    assert (again.status_code, again.json()["state"]) == (200, "quarantined")
