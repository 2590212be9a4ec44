"""Organizations."""

from typing import Any

import pytest

PATH = "/v1/organizations"


def test_an_operator_creates_one_and_its_admin_gets_in(world: Any) -> None:
    name = world.name("org")
    answer = world.api(world.operator, "POST", PATH, {"name": name, "display_name": "雲居"})
    assert answer.status_code == 201
    made = answer.json()
    assert made["organization"]["name"] == name
    assert made["organization"]["display_name"] == "雲居"
    assert made["admin"]["name"] == "admin"
    seen = world.api(made["admin_token"], "GET", f"{PATH}/{name}")
    assert seen.json() == made["organization"]
    assert seen.headers["etag"] == f'"{made["organization"]["version"]}"'


def test_a_replay_never_shows_the_token_again(world: Any) -> None:
    headers, body = {"Idempotency-Key": "organization"}, {"name": world.name("org")}
    first, again = (world.api(world.operator, "POST", PATH, body, headers=headers) for _ in range(2))
    assert first.json()["admin_token"].startswith("kumoi_")
    assert again.json() == first.json() | {"admin_token": None}
    assert again.headers["idempotency-replayed"] == "true"


def test_a_name_is_given_once(world: Any) -> None:
    answer = world.api(world.operator, "POST", PATH, {"name": "acme"})
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:kumoi:error:name_in_use"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "-a"},
        {"name": "a" * 64},
        {"name": "ok\n"},
        {"name": "ok", "display_name": "x" * 201},
        {"name": 1},
    ],
)
def test_bad_names_change_nothing(world: Any, body: dict[str, Any]) -> None:
    before = world.api(world.operator, "GET", PATH, params={"limit": 1_000}).json()
    assert world.api(world.operator, "POST", PATH, body).status_code == 422
    assert world.api(world.operator, "GET", PATH, params={"limit": 1_000}).json() == before


def test_pages_hold_every_organization_once(world: Any) -> None:
    whole = world.api(world.operator, "GET", PATH, params={"limit": 1_000}).json()
    assert whole["next"] is None
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = world.api(world.operator, "GET", PATH, params=params).json()
        assert 1 <= len(page["items"]) <= 2
        seen.extend(page["items"])
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == whole["items"]


def test_a_cursor_is_of_its_own_list(world: Any) -> None:
    cursor = world.api(world.operator, "GET", PATH, params={"limit": 1}).json()["next"]
    assert cursor
    for changed in (cursor[:-2] + "AA", cursor + "A", "A" + cursor):
        answer = world.api(world.operator, "GET", PATH, params={"cursor": changed})
        assert answer.status_code == 422
    answer = world.api(world.acme.admin, "GET", f"{PATH}/acme/principals", params={"cursor": cursor})
    assert answer.json()["type"] == "urn:kumoi:error:cursor_invalid"


def test_suspending_stops_new_work_until_resumed(world: Any) -> None:
    made = world.api(world.operator, "POST", PATH, {"name": world.name("org")}).json()
    path = f"{PATH}/{made['organization']['id']}"
    suspended = world.api(world.operator, "POST", f"{path}/suspend")
    assert suspended.status_code == 200
    assert suspended.json()["state"] == "suspended"
    assert suspended.headers["etag"] == f'"{suspended.json()["version"]}"'
    again = world.api(world.operator, "POST", f"{path}/suspend")
    assert again.status_code == 409
    create = world.api(made["admin_token"], "POST", f"{path}/projects", {"name": "p"})
    assert create.status_code in (401, 403, 404, 409)
    resumed = world.api(world.operator, "POST", f"{path}/resume").json()
    assert resumed["state"] == "active"
    create = world.api(made["admin_token"], "POST", f"{path}/projects", {"name": "p"})
    assert create.status_code == 201


def test_tenants_do_not_learn_of_each_other(world: Any) -> None:
    for organization in (world.rival.id, "rival", "platform", "never-was"):
        answer = world.api(world.acme.admin, "GET", f"{PATH}/{organization}")
        assert answer.status_code == 404
        assert answer.json()["detail"] == (
            f"there is no {organization}, or you may not see it; check the name"
        )
