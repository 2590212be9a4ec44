"""Users and service accounts."""

from typing import Any

import pytest


def path(world: Any) -> str:
    return f"/v1/organizations/{world.acme.id}/principals"


def create(world: Any, **body: Any) -> dict[str, Any]:
    answer = world.api(world.acme.admin, "POST", path(world), {"name": world.name("user"), **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.mark.parametrize(("kind", "prefix"), [("user", "usr_"), ("service_account", "sa_")])
def test_both_kinds_are_created_and_listed(world: Any, kind: str, prefix: str) -> None:
    made = create(world, kind=kind)
    assert made["id"].startswith(prefix)
    assert made["state"] == "active"
    listed = world.api(world.acme.admin, "GET", path(world), params={"limit": 1_000}).json()["items"]
    assert made in listed


def test_a_disabled_principal_is_out_at_once_and_back_when_enabled(world: Any) -> None:
    made = create(world)
    token = world.api(world.acme.admin, "POST", "/v1/tokens", {"principal": made["id"]}).json()["secret"]
    assert world.api(token, "GET", "/v1/whoami").status_code == 200
    disabled = world.api(world.acme.admin, "POST", f"/v1/principals/{made['id']}/disable")
    assert disabled.json()["state"] == "disabled"
    assert world.api(token, "GET", "/v1/whoami").status_code == 401
    assert world.api(world.acme.admin, "POST", f"/v1/principals/{made['id']}/disable").status_code == 409
    enabled = world.api(world.acme.admin, "POST", f"/v1/principals/{made['id']}/enable")
    assert enabled.json()["state"] == "active"
    assert enabled.headers["etag"] == f'"{enabled.json()["version"]}"'
    assert world.api(token, "GET", "/v1/whoami").status_code == 200


@pytest.mark.parametrize(
    "body", [{"name": "Bad Name"}, {"name": "ok", "kind": "robot"}, {"name": "ok", "role": "member"}, []]
)
def test_bad_bodies_are_refused(world: Any, body: Any) -> None:
    assert world.api(world.acme.admin, "POST", path(world), body).status_code == 422


def test_a_name_is_given_once(world: Any) -> None:
    answer = world.api(world.acme.admin, "POST", path(world), {"name": "member"})
    assert answer.status_code == 409


def test_unknown_ones_are_not_found(world: Any) -> None:
    for principal in ("usr_00000000000000000000000000", world.rival.principals["member"], "nobody"):
        answer = world.api(world.acme.admin, "POST", f"/v1/principals/{principal}/disable")
        assert answer.status_code == 404


def test_the_last_administrator_stays(world: Any) -> None:
    made = world.api(world.operator, "POST", "/v1/organizations", {"name": world.name("org")}).json()
    answer = world.api(made["admin_token"], "POST", f"/v1/principals/{made['admin']['id']}/disable")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:kumoi:error:last_administrator"
