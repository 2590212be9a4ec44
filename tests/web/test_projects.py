"""Projects."""

from typing import Any

import pytest


def path(world: Any) -> str:
    return f"/v1/organizations/{world.acme.id}/projects"


def create(world: Any, **body: Any) -> Any:
    return world.api(world.acme.admin, "POST", path(world), {"name": world.name("project"), **body})


def test_one_is_created_read_and_listed(world: Any) -> None:
    made = create(world, data_class="secret-2", jurisdiction="JP")
    assert made.status_code == 201
    read = world.api(world.acme.admin, "GET", f"/v1/projects/{made.json()['id']}")
    assert read.json() == made.json()
    assert read.headers["etag"] == made.headers["etag"] == '"1"'
    listed = world.api(world.acme.admin, "GET", path(world), params={"limit": 1_000}).json()["items"]
    assert made.json() in listed


def test_an_archived_project_takes_no_work_until_restored(world: Any) -> None:
    project = create(world).json()["id"]
    base = f"/v1/projects/{project}"
    archived = world.api(world.acme.admin, "POST", f"{base}/archive")
    assert archived.json()["state"] == "archived"
    assert archived.headers["etag"] == '"2"'
    refused = world.api(world.acme.admin, "POST", f"{base}/jobs", {"command": ["x"]})
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:kumoi:error:project_archived"
    assert world.api(world.acme.admin, "POST", f"{base}/archive").status_code == 409
    assert world.api(world.acme.admin, "POST", f"{base}/restore").json()["state"] == "active"
    assert world.api(world.acme.admin, "POST", f"{base}/jobs", {"command": ["x"]}).status_code == 201


def test_actions_replay_by_key(world: Any) -> None:
    project = create(world).json()["id"]
    headers = {"Idempotency-Key": "archive"}
    answers = [
        world.api(world.acme.admin, "POST", f"/v1/projects/{project}/archive", headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    other = create(world).json()["id"]
    reused = world.api(world.acme.admin, "POST", f"/v1/projects/{other}/archive", headers=headers)
    assert reused.status_code in (200, 409)
    state = world.api(world.acme.admin, "GET", f"/v1/projects/{other}").json()["state"]
    assert state == ("archived" if reused.status_code == 200 else "active")


@pytest.mark.parametrize(
    "change", [{"jurisdiction": "jp"}, {"jurisdiction": "JPN"}, {"data_class": ""}, {"x": 1}]
)
def test_bad_bodies_are_refused(world: Any, change: dict[str, Any]) -> None:
    assert create(world, **change).status_code == 422


def test_names_are_the_organizations_own(world: Any) -> None:
    assert world.api(world.acme.admin, "POST", path(world), {"name": "first"}).status_code == 409


def test_a_viewer_of_one_project_sees_no_other(world: Any) -> None:
    token = world.acme.tokens["project-viewer"]
    listed = world.api(token, "GET", path(world)).json()["items"]
    assert [project["id"] for project in listed] == [world.acme.project]
