"""Sites."""

from typing import Any

import pytest

PATH = "/v1/sites"


def test_one_is_created_and_everybody_may_see_it(world: Any) -> None:
    body = {
        "name": world.name("site"),
        "country": "JP",
        "functions": ["compute", "operation"],
        "address": "札幌",
    }
    made = world.api(world.operator, "POST", PATH, body)
    assert made.status_code == 201
    assert made.json() | body == made.json()
    listed = world.api(world.acme.tokens["viewer"], "GET", PATH, params={"limit": 1_000}).json()
    assert made.json() in listed["items"]


@pytest.mark.parametrize(
    "change",
    [
        {"country": "Japan"},
        {"country": "jp"},
        {"functions": []},
        {"functions": ["compute", "compute"]},
        {"functions": ["party"]},
        {"address": "x" * 401},
        {"name": None},
    ],
)
def test_bad_bodies_are_refused(world: Any, change: dict[str, Any]) -> None:
    body = {"name": world.name("site"), "country": "JP"} | change
    assert world.api(world.operator, "POST", PATH, body).status_code == 422


def test_tenants_create_none(world: Any) -> None:
    body = {"name": world.name("site"), "country": "JP"}
    assert world.api(world.acme.admin, "POST", PATH, body).status_code in (403, 404)
