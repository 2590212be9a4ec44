"""Role bindings."""

from typing import Any

import pytest


def path(world: Any) -> str:
    return f"/v1/organizations/{world.acme.name}/role-bindings"


def newcomer(world: Any, kind: str = "user") -> tuple[str, str]:
    """A principal without a role, and its token."""
    made = world.api(
        world.acme.admin,
        "POST",
        f"/v1/organizations/{world.acme.id}/principals",
        {"name": world.name("user"), "kind": kind},
    ).json()["id"]
    secret = world.api(world.acme.admin, "POST", "/v1/tokens", {"principal": made}).json()["secret"]
    return made, secret


def test_a_role_works_at_once_and_ends_at_once(world: Any) -> None:
    principal, token = newcomer(world)
    jobs = f"/v1/projects/{world.acme.project}/jobs"
    assert world.api(token, "GET", jobs).status_code == 404
    body = {"principal": principal, "role": "viewer", "project": world.acme.project}
    granted = world.api(world.acme.admin, "POST", path(world), body)
    assert granted.status_code == 201
    assert granted.json()["scope"] == world.acme.project
    assert world.api(token, "GET", jobs).status_code == 200
    assert world.api(token, "POST", jobs, {"command": ["x"]}).status_code == 403
    taken = world.api(world.acme.admin, "DELETE", f"/v1/role-bindings/{granted.json()['id']}")
    assert taken.status_code == 204
    assert taken.content == b""
    assert "content-type" not in taken.headers
    assert world.api(token, "GET", jobs).status_code == 404


def test_deleting_twice_is_not_found_but_a_replay_is_answered(world: Any) -> None:
    principal, _ = newcomer(world)
    body = {"principal": principal, "role": "viewer"}
    one = world.api(world.acme.admin, "POST", path(world), body).json()["id"]
    headers = {"Idempotency-Key": "take"}
    assert (
        world.api(world.acme.admin, "DELETE", f"/v1/role-bindings/{one}", headers=headers).status_code == 204
    )
    assert world.api(world.acme.admin, "DELETE", f"/v1/role-bindings/{one}").status_code == 404


def test_the_same_role_twice_is_a_conflict(world: Any) -> None:
    principal, _ = newcomer(world)
    body = {"principal": principal, "role": "member"}
    answers = [world.api(world.acme.admin, "POST", path(world), body).status_code for _ in range(2)]
    assert answers == [201, 409]


@pytest.mark.parametrize(
    "change",
    [
        {"role": "emperor"},
        {"role": "platform_operator"},
        {"role": "service_account"},
        {"principal": "nobody"},
        {"principal": "usr_00000000000000000000000000"},
        {"project": "prj_00000000000000000000000000"},
        {"role": "organization_admin", "project": "own"},
        {"scope": "platform"},
    ],
)
def test_what_cannot_be_granted_is_refused(world: Any, change: dict[str, Any]) -> None:
    principal, _ = newcomer(world)
    body = {"principal": principal, "role": "viewer"} | change
    if body.get("project") == "own":
        body["project"] = world.acme.project
    answer = world.api(world.acme.admin, "POST", path(world), body)
    assert answer.status_code == 422, answer.text


def test_other_tenants_principals_and_projects_do_not_exist(world: Any) -> None:
    for body in (
        {"principal": world.rival.principals["member"], "role": "viewer"},
        {"principal": world.acme.principals["viewer"], "role": "viewer", "project": world.rival.project},
    ):
        assert world.api(world.acme.admin, "POST", path(world), body).status_code == 422
