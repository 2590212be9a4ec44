"""Secrets."""

import base64
from typing import Any

import pytest


def path(world: Any, name: str = "") -> str:
    return f"/v1/projects/{world.acme.project}/secrets{'/' + name if name else ''}"


def put(world: Any, name: str, value: bytes = b"hush", **headers: str) -> Any:
    body = {"value": base64.b64encode(value).decode()}
    return world.api(world.acme.admin, "PUT", path(world, name), body, headers=headers)


def test_a_secret_is_written_replaced_and_never_shown(world: Any) -> None:
    name = world.name("secret")
    made, replaced = put(world, name), put(world, name, b"hush-2")
    assert (made.status_code, replaced.status_code) == (201, 200)
    assert (made.headers["etag"], replaced.headers["etag"]) == ('"1"', '"2"')
    assert made.json()["id"] == replaced.json()["id"]
    listed = world.api(world.acme.admin, "GET", path(world), params={"limit": 1_000})
    assert replaced.json() in listed.json()["items"]
    for answer in (made, replaced, listed):
        assert base64.b64encode(b"hush").decode()[:5] not in answer.text
    assert world.api(world.acme.admin, "GET", path(world, name)).status_code == 405


def test_if_match_guards_a_version(world: Any) -> None:
    name = world.name("secret")
    assert put(world, name, **{"If-Match": "*"}).status_code == 412
    assert put(world, name).status_code == 201
    assert put(world, name, **{"If-Match": '"7"'}).status_code == 412
    assert put(world, name, **{"If-Match": '"1"'}).status_code == 200
    assert put(world, name, **{"If-Match": "*"}).status_code == 200
    for given in ("3", 'W/"3"', '"1", "2"', "", '"' + "x" * 200 + '"'):
        answer = put(world, name, **{"If-Match": given})
        assert answer.status_code == 422, given
        assert answer.json()["at"] == "If-Match"


def test_deleting_names_the_version_that_is_meant(world: Any) -> None:
    name = world.name("secret")
    put(world, name)
    for headers, status in (({}, 428), ({"If-Match": '"9"'}, 412), ({"If-Match": '"1"'}, 204)):
        answer = world.api(world.acme.admin, "DELETE", path(world, name), headers=headers)
        assert answer.status_code == status
    answer = world.api(world.acme.admin, "DELETE", path(world, name), headers={"If-Match": "*"})
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "field_missing"),
        ({"value": "not base64!"}, "pattern_mismatch"),
        ({"value": "abc"}, "value_not_base64"),
        ({"value": "A" * 90_000}, "length_out_of_range"),
        ({"value": None}, "type_mismatch"),
        ({"value": "aHVzaA==", "name": "x"}, "field_unknown"),
    ],
)
def test_bad_values_are_refused_without_being_repeated(world: Any, body: dict[str, Any], code: str) -> None:
    answer = world.api(world.acme.admin, "PUT", path(world, world.name("secret")), body)
    assert answer.status_code == 422
    assert answer.json()["type"] == f"urn:kumoi:error:{code}"
    assert "not base64!" not in answer.text
    assert "AAAA" not in answer.text


@pytest.mark.parametrize("name", ["Upper", "under_score", "a" * 64, "-a", "%2e%2e", "a%0a", "%ff", "%00"])
def test_bad_names_are_refused(world: Any, name: str) -> None:
    answer = put(world, name)
    assert answer.status_code == 422
    assert answer.json()["at"] == "name"


def test_others_see_no_names(world: Any) -> None:
    for token in (world.rival.admin, world.operator, world.acme.tokens["auditor"]):
        assert world.api(token, "GET", path(world)).status_code in (403, 404)
