"""API tokens."""

from typing import Any

import pytest

PATH = "/v1/tokens"


def test_a_token_is_shown_once_and_works(world: Any) -> None:
    made = world.api(world.acme.tokens["member"], "POST", PATH, {"name": "laptop"})
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert secret.startswith("kumoi_")
    assert world.api(secret, "GET", "/v1/whoami").json()["token"] == made.json()["token"]
    listed = world.api(secret, "GET", PATH, params={"limit": 1_000})
    assert made.json()["token"] in listed.json()["items"]
    assert secret not in listed.text


def test_a_replay_shows_no_secret(world: Any) -> None:
    headers = {"Idempotency-Key": "token"}
    first, again = (
        world.api(world.acme.admin, "POST", PATH, {"name": "t"}, headers=headers) for _ in range(2)
    )
    assert again.json() == first.json() | {"secret": None}


def test_a_revoked_token_ends_at_once(world: Any) -> None:
    made = world.api(world.acme.admin, "POST", PATH, {}).json()
    path = f"{PATH}/{made['token']['id']}/revoke"
    assert world.api(made["secret"], "GET", "/v1/whoami").status_code == 200
    assert world.api(world.acme.admin, "POST", path).json()["state"] == "revoked"
    assert world.api(made["secret"], "GET", "/v1/whoami").status_code == 401
    assert world.api(world.acme.admin, "POST", path).status_code == 409


def test_narrow_tokens_make_no_wider_ones(world: Any) -> None:
    for token, body in (
        ("read-only", {"scopes": ["all"]}),
        ("narrowed", {}),
        ("narrowed", {"project": world.acme.project}),
    ):
        answer = world.api(world.acme.tokens[token], "POST", PATH, body)
        assert answer.status_code in (403, 404, 422), answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"scopes": []},
        {"scopes": ["write"]},
        {"scopes": ["all"] * 6},
        {"expires_s": 59},
        {"expires_s": 10**12},
        {"expires_s": "90"},
        {"name": "A"},
        {"project": "prj_00000000000000000000000000"},
        {"secret": "kumoi_mine"},
    ],
)
def test_bad_bodies_are_refused(world: Any, body: dict[str, Any]) -> None:
    assert world.api(world.acme.admin, "POST", PATH, body).status_code == 422


def test_an_administrator_keeps_the_tokens_of_its_people_only(world: Any) -> None:
    viewer = world.acme.principals["viewer"]
    listed = world.api(world.acme.admin, "GET", PATH, params={"principal": viewer}).json()["items"]
    assert {token["principal"] for token in listed} == {viewer}
    for token, principal in (
        (world.acme.admin, world.rival.principals["viewer"]),
        (world.acme.tokens["viewer"], world.acme.principals["member"]),
    ):
        answer = world.api(token, "GET", PATH, params={"principal": principal})
        assert answer.status_code in (403, 404)
        answer = world.api(token, "POST", PATH, {"principal": principal})
        assert answer.status_code in (403, 404)
