"""Machines of providers over HTTP: what operators set, what is refused, and what then happens."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from kumoi.core.autoscale.hosts_inputs import HOST_REASONS
from kumoi.store import schema

SETTINGS = {
    "provider": "fake",
    "image": "image-1",
    "size": "size-1",
    "host_cpu_milli": 8_000,
    "host_memory_bytes": 32 << 30,
    "boot_s": 60,
    "hosts_max": 2,
    "hosts_min": 1,
    "host_hour_microyen": 50_000_000,
}


@pytest.fixture
def pool(world: Any) -> Iterator[str]:
    """A pool whose machines are given back in the end."""
    site = world.api(world.operator, "GET", "/v1/sites").json()["items"][0]["id"]
    body = {"name": world.name("pool"), "site": site}
    name = world.api(world.operator, "POST", "/v1/pools", body).json()["name"]
    yield name
    if world.api(world.operator, "GET", f"/v1/pools/{name}/autoscale").status_code == 200:
        put(world, name, hosts_max=0, hosts_min=0)


def put(world: Any, pool: str, headers: dict[str, str] | None = None, **change: Any) -> Any:
    path = f"/v1/pools/{pool}/autoscale"
    return world.api(world.operator, "PUT", path, SETTINGS | change, headers=headers or {})


def machines(world: Any, pool: str) -> Any:
    pools = world.api(world.operator, "GET", "/v1/pools", params={"limit": 1_000}).json()["items"]
    pool_id = next(one["id"] for one in pools if one["name"] == pool)
    return world.api(world.operator, "GET", "/v1/machines", params={"pool": pool_id}).json()["items"]


def test_a_pool_borrows_what_it_must_and_says_why(world: Any, pool: str) -> None:
    made = put(world, pool)
    assert made.status_code == 201
    assert made.json()["settings"]["hosts_min"] == 1
    assert made.headers["etag"] == '"1"'
    found = world.wait(lambda: [m for m in machines(world, pool) if m["state"] == "booting"])
    assert len(found) == 1
    shown = world.api(world.operator, "GET", f"/v1/machines/{found[0]['name']}")
    assert shown.status_code == 200
    assert shown.json()["provider_ref"].startswith("fake-")
    said = world.api(world.operator, "GET", f"/v1/pools/{pool}/autoscale").json()
    assert said["machines"] == 1
    assert said["reason"] == HOST_REASONS[said["code"]].format(**said["figures"])
    assert len(said["digest"]) == 64


def test_the_reason_is_told_in_the_language_asked_for(world: Any, pool: str) -> None:
    undecided = put(world, pool, {"Accept-Language": "ja"}, hosts_min=0, hosts_max=0).json()
    path = f"/v1/pools/{pool}/autoscale"
    world.wait(lambda: world.api(world.operator, "GET", path).json()["code"])
    for said in (
        world.api(world.operator, "GET", path, headers={"Accept-Language": "ja"}),
        put(world, pool, {"Accept-Language": "ja"}, hosts_min=0, hosts_max=0),
    ):
        assert said.json()["reason"] == "ホストの数は必要な数と一致している"
        assert said.headers["content-language"] == "ja"
    assert undecided["settings"]["hosts_max"] == 0


def test_settings_are_not_lost_between_two_operators(world: Any, pool: str) -> None:
    assert put(world, pool, hosts_min=0, hosts_max=0).status_code == 201
    again = put(world, pool, {"If-Match": '"1"'}, hosts_min=0, hosts_max=1)
    assert (again.status_code, again.headers["etag"]) == (200, '"2"')
    assert put(world, pool, {"If-Match": '"1"'}).status_code == 412


def test_settings_go_only_when_no_machine_is_left(world: Any, pool: str) -> None:
    path, any_version = f"/v1/pools/{pool}/autoscale", {"If-Match": "*"}
    put(world, pool)
    world.wait(lambda: machines(world, pool))
    refused = world.api(world.operator, "DELETE", path, headers=any_version)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:kumoi:error:machines_borrowed")
    assert world.api(world.operator, "DELETE", path).status_code == 428
    put(world, pool, hosts_min=0, hosts_max=0)
    world.wait(lambda: all(m["state"] == "releasing" for m in machines(world, pool)))
    table = schema.machines
    # A machine that was asked for just now may not be listed yet: this one was long ago.
    aged = table.update().where(table.c.state == "releasing").values(requested_us=1)
    world.plane.store.transact_wait(None, lambda connection: connection.execute(aged))

    def gone() -> bool:
        world.plane.providers["fake"].end()
        return all(m["state"] == "released" for m in machines(world, pool))

    world.wait(gone)
    assert world.api(world.operator, "DELETE", path, headers=any_version).status_code == 204
    assert world.api(world.operator, "GET", path).status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"hosts_min": 3}, "hosts_min_above_max"),
        ({"provider": "nowhere"}, "provider_unknown"),
        ({"provider": "abroad"}, "provider_jurisdiction"),
        ({"budget_hour_microyen": 49_999_999}, "budget_below_min"),
        ({"hosts_max": 1_001}, None),
        ({"boot_s": 0}, None),
        ({"image": ""}, None),
        ({"image": "two words"}, None),
        ({"credentials": "x"}, None),
    ],
)
def test_what_makes_no_sense_is_refused(world: Any, pool: str, change: dict[str, Any], code: str) -> None:
    refused = put(world, pool, **change)
    assert refused.status_code in (400, 422)
    if code is not None:
        assert refused.json()["type"] == f"urn:kumoi:error:{code}"
    assert world.api(world.operator, "GET", f"/v1/pools/{pool}/autoscale").status_code == 404


def test_tenants_do_not_learn_of_machines(world: Any, pool: str) -> None:
    put(world, pool, hosts_min=0, hosts_max=0)
    for path in ("/v1/machines", f"/v1/pools/{pool}/autoscale"):
        assert world.api(world.acme.admin, "GET", path).status_code in (403, 404)


def test_the_change_is_told_without_a_credential(world: Any, pool: str) -> None:
    put(world, pool, hosts_min=0, hosts_max=0)

    def told() -> list[Any]:
        rows = world.plane.store.read_wait(lambda c: c.execute(schema.events.select()).all())
        events = [msgspec.json.decode(row.canonical) for row in rows]
        return [e for e in events if e["action"] == "pool_autoscale_write" and e["detail"]["name"] == pool]

    (event,) = world.wait(told)
    assert event["detail"]["hosts_max"] == 0
    assert not {"secret", "credentials"} & event["detail"].keys()


def test_unknown_machines_are_not_found(world: Any) -> None:
    for name in ("mac_00000000000000000000000000", "never-was"):
        assert world.api(world.operator, "GET", f"/v1/machines/{name}").status_code == 404


def test_a_pool_borrowed_abroad_takes_only_data_that_may_be_there(world: Any) -> None:
    operator, acme = world.operator, world.acme
    place = {"name": world.name("abroad"), "country": "US"}
    site = world.api(operator, "POST", "/v1/sites", place).json()["id"]
    body = {"name": world.name("pool"), "site": site, "data_classes": ["open"]}
    pool = world.api(operator, "POST", "/v1/pools", body).json()["name"]
    assert put(world, pool).json()["type"] == "urn:kumoi:error:provider_jurisdiction"
    assert put(world, pool, provider="abroad", hosts_min=0).status_code == 201
    job = {"command": ["/bin/true"], "pool": pool}

    def submit(data_class: str) -> Any:
        project = {"name": world.name("project"), "data_class": data_class, "jurisdiction": "JP"}
        path = f"/v1/organizations/{acme.id}/projects"
        made = world.api(acme.admin, "POST", path, project).json()["id"]
        return world.api(acme.admin, "POST", f"/v1/projects/{made}/jobs", job)

    refused = submit("general")
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:kumoi:error:pool_data_class")
    assert machines(world, pool) == []
    assert submit("open").status_code == 201
    found = world.wait(lambda: machines(world, pool))
    assert {machine["provider"] for machine in found} == {"abroad"}
    put(world, pool, provider="abroad", hosts_min=0, hosts_max=0)
