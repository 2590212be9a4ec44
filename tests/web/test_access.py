"""GET /v1/whoami and what a token must be."""

from typing import Any

import pytest

from kumoi.app.plane import ANONYMOUS, AUTHENTICATE
from kumoi.store import schema


def test_the_caller_is_told_who_it_is(world: Any) -> None:
    answer = world.api(world.acme.tokens["member"], "GET", "/v1/whoami").json()
    assert answer["id"] == world.acme.principals["member"]
    assert answer["organization_name"] == "acme"
    assert [binding["role"] for binding in answer["roles"]] == ["member"]
    assert "secret" not in answer["token"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "token_missing"),
        ("", "token_malformed"),
        ("Basic YTpi", "token_malformed"),
        ("Bearer", "token_malformed"),
        ("Bearer a b", "token_malformed"),
        ("Bearer " + "x" * 600, "token_malformed"),
        ("Bearer kumoi_nothing", "token_invalid"),
        ("Bearer kumoi_" + "A" * 43 + "000000", "token_invalid"),
    ],
)
def test_what_is_no_token_is_refused(api: Any, header: str | None, code: str) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = api(None, "GET", "/v1/whoami", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["type"] == f"urn:kumoi:error:{code}"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_scheme_is_read_in_any_case(world: Any) -> None:
    headers = {"Authorization": f"bearer {world.acme.admin}"}
    assert world.api(None, "GET", "/v1/whoami", headers=headers).status_code == 200


def test_who_is_nobody_is_counted_for_the_operators(world: Any) -> None:
    def counted() -> int:
        """Refusals of this minute, and those of minutes that became an event."""
        rows = world.plane.store.read_wait(
            lambda connection: connection.execute(schema.refusals.select()).all()
        )
        events = world.api(world.operator, "GET", "/v1/events").json()["items"]
        return sum(row.refused for row in rows if row.actor_id == ANONYMOUS) + sum(
            event["detail"]["refused"]
            for event in events
            if (event["actor"], event["action"], event["outcome"]) == (ANONYMOUS, AUTHENTICATE, "refused")
        )

    world.api.runner.run(world.plane.refusals.flush())
    before = counted()
    for headers in ({}, {"Authorization": "Bearer kumoi_nothing"}, {}):
        assert world.api(None, "GET", "/v1/whoami", headers=headers).status_code == 401
    world.api.runner.run(world.plane.refusals.flush())
    assert counted() == before + 3
