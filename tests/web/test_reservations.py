"""Reservations of whole hosts."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

DAYS = count(200)


def path(world: Any, tenant: str = "acme") -> str:
    return f"/v1/organizations/{getattr(world, tenant).id}/reservations"


def body(world: Any, **change: Any) -> dict[str, Any]:
    """A whole reservation on a day of its own."""
    start = datetime.now(UTC) + timedelta(days=next(DAYS))
    times = {"start_at": start.isoformat(), "end_at": (start + timedelta(hours=1)).isoformat()}
    return {"name": world.name("held"), "pool": "default", "host_count": 1} | times | change


def create(world: Any, sent: dict[str, Any], **headers: str) -> Any:
    return world.api(world.operator, "POST", path(world), sent, headers=headers)


def test_one_is_made_seen_and_cancelled(world: Any) -> None:
    made = create(world, body(world))
    assert made.status_code == 201, made.text
    reservation = made.json()
    assert (reservation["state"], reservation["host_count"]) == ("held", 1)
    member = world.acme.tokens["member"]
    one = f"{path(world)}/{reservation['id']}"
    assert world.api(member, "GET", one).json() == reservation
    assert reservation in world.api(member, "GET", path(world), params={"limit": 1_000}).json()["items"]
    assert world.api(world.rival.admin, "GET", one).status_code == 404
    elsewhere = f"{path(world, 'rival')}/{reservation['id']}"
    assert world.api(world.rival.admin, "GET", elsewhere).status_code == 404
    cancelled = world.api(world.operator, "POST", f"{one}/cancel")
    assert (cancelled.json()["state"], cancelled.headers["etag"]) == ("cancelled", '"2"')
    again = world.api(world.operator, "POST", f"{one}/cancel")
    assert again.status_code == 409
    assert "cancelled" in again.json()["detail"]
    actions = [
        event["action"]
        for event in world.api(world.acme.admin, "GET", f"/v1/organizations/{world.acme.id}/events").json()[
            "items"
        ]
        if event["resource"] == reservation["id"]
    ]
    assert actions == ["reservation_cancel", "reservation_create"]


def test_a_host_is_held_once_and_the_next_time_is_named(world: Any) -> None:
    sent = body(world)
    assert create(world, sent).status_code == 201
    refused = create(world, sent | {"name": world.name("held")})
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["type"] == "urn:kumoi:error:reservation_unavailable"
    assert "0 hosts of the pool default" in problem["detail"]
    end = datetime.fromisoformat(sent["end_at"])
    assert end.strftime("%Y-%m-%dT%H:%M:%S") in problem["detail"]
    later = {"start_at": sent["end_at"], "end_at": (end + timedelta(hours=1)).isoformat()}
    assert create(world, sent | later | {"name": world.name("held")}).status_code == 201


def test_more_hosts_than_there_are_is_refused_with_how_many_there_are(world: Any) -> None:
    refused = create(world, body(world, host_count=9_999))
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:kumoi:error:reservation_too_large"
    assert "fewer than 9999 hosts" in refused.json()["detail"]


def test_a_repeated_request_reserves_once(world: Any) -> None:
    sent = body(world)
    first, second = (create(world, sent, **{"Idempotency-Key": sent["name"]}) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    other = create(world, sent | {"host_count": 2}, **{"Idempotency-Key": sent["name"]})
    assert other.status_code == 409


def test_a_name_is_given_once_while_it_is_held(world: Any) -> None:
    made = create(world, body(world)).json()
    again = body(world, name=made["name"])
    assert create(world, again).status_code == 409
    assert world.api(world.operator, "POST", f"{path(world)}/{made['id']}/cancel").status_code == 200
    assert create(world, again).status_code == 201


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"pool": "nowhere"}, "/pool"),
        ({"host_count": 0}, "/host_count"),
        ({"host_count": 10_001}, "/host_count"),
        ({"start_at": "tomorrow"}, "/start_at"),
        ({"end_at": "2027-01-01T00:00:00"}, "/end_at"),
        ({"start_at": "2020-01-01T00:00:00Z"}, "/start_at"),
        ({"end_at": "2020-01-01T00:00:00Z"}, "/end_at"),
        ({"end_at": "2199-01-01T00:00:00Z"}, "/start_at"),
        ({"start_at": "2198-01-01T00:00:00Z", "end_at": "2199-01-01T00:00:00Z"}, "/start_at"),
        ({"hosts": ["host-1"]}, None),
    ],
)
def test_bad_bodies_are_refused(world: Any, change: dict[str, Any], at: str | None) -> None:
    refused = create(world, body(world, **change))
    assert refused.status_code == 422
    assert at is None or refused.json()["at"] == at
