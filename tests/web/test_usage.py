"""Usage."""

from typing import Any

import pytest


@pytest.fixture(params=["project", "organization"])
def path(world: Any, request: pytest.FixtureRequest) -> str:
    if request.param == "project":
        return f"/v1/projects/{world.acme.project}/usage"
    return "/v1/organizations/acme/usage"


def test_usage_is_of_this_month_unless_asked(world: Any, path: str) -> None:
    usage = world.api(world.acme.admin, "GET", path).json()
    assert usage["organization"] == world.acme.id
    assert usage["since"][8:10] == usage["until"][8:10] == "01"
    params = {"since": "2026-01-01T00:00:00+09:00", "until": "2026-02-01T00:00:00Z"}
    usage = world.api(world.acme.admin, "GET", path, params=params).json()
    assert usage["since"] == "2025-12-31T15:00:00.000000Z"
    assert usage["attempts"] == 0


@pytest.mark.parametrize(
    "params",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01"},
        {"since": "2026-01-01T00:00:00"},
        {"since": "2026-13-01T00:00:00Z"},
        {"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"},
        {"since": "1970-01-01T00:00:00Z"},
        {"since": "9999-12-31T23:59:59-23:59"},
        {"until": ""},
        {"month": "2026-01"},
    ],
)
def test_bad_periods_are_refused(world: Any, path: str, params: dict[str, str]) -> None:
    assert world.api(world.acme.admin, "GET", path, params=params).status_code == 422


def test_operators_read_everybodys_in_pages(world: Any) -> None:
    seen, cursor = [], None
    while True:
        params = {"limit": 1} | ({"cursor": cursor} if cursor else {})
        page = world.api(world.operator, "GET", "/v1/usage", params=params).json()
        seen.extend(usage["organization"] for usage in page["items"])
        cursor = page["next"]
        if cursor is None:
            break
    assert {world.acme.id, world.rival.id} <= set(seen)
    assert len(seen) == len(set(seen))
