"""Plans: what placement decided, and that anybody with the record decides the same."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kumoi.main.replay import record_replay
from kumoi.model.plans import PlanRecord


def plan_of(world: Any, **spec: Any) -> str:
    """The plan by which a new job was placed."""
    job = world.job(**spec)
    path = f"/v1/jobs/{job}/why"
    placements = world.wait(lambda: world.api(world.acme.admin, "GET", path).json()["placements"])
    assert placements[0]["best"][0]["host_name"] == placements[0]["host_name"]
    return str(placements[0]["plan"])


def record(world: Any, plan: str) -> dict[str, Any]:
    answer = world.api(world.operator, "GET", f"/v1/plans/{plan}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def replayed(found: dict[str, Any]) -> Any:
    return record_replay(msgspec.convert(found, PlanRecord))


def test_plans_are_listed_newest_first(world: Any) -> None:
    first, second = plan_of(world), plan_of(world)
    listed = world.api(world.operator, "GET", "/v1/plans", params={"limit": 1_000}).json()["items"]
    ids = [plan["id"] for plan in listed]
    assert ids == sorted(ids, reverse=True)
    assert {first, second} <= set(ids)
    page = world.api(world.operator, "GET", "/v1/plans", params={"limit": 1}).json()
    assert [plan["id"] for plan in page["items"]] == ids[:1]
    following = world.api(world.operator, "GET", "/v1/plans", params={"cursor": page["next"]}).json()
    assert following["items"][0]["id"] == ids[1]


def test_a_plan_is_decided_again_from_its_record_alone(world: Any) -> None:
    for number in range(3):
        result = replayed(record(world, plan_of(world, array_size=number + 1)))
        assert (result.same, result.differences) == (True, ())
        assert result.placed >= 1


def test_what_was_changed_in_a_record_shows(world: Any) -> None:
    found = record(world, plan_of(world))
    other_digest = found | {"snapshot_digest": "0" * 64}
    assert replayed(other_digest).differences == ("the inputs are not those that the plan names (digest)",)
    body = msgspec.json.decode(found["body"])
    body["placed"] = []
    assert replayed(found | {"body": msgspec.json.encode(body).decode()}).differences == ("other placements",)


@pytest.mark.parametrize(
    ("name", "value"), [("policy", "pack"), ("seed", 1 << 40), ("decided_at", "2020-01-01T00:00:00.000000Z")]
)
def test_a_changed_header_shows(world: Any, name: str, value: object) -> None:
    found = record(world, plan_of(world))
    assert replayed(found | {name: value}).differences == (
        "the policy, seed or time are not those of the inputs",
    )


def test_the_log_ties_a_placement_to_the_inputs_of_its_plan(world: Any) -> None:
    plan = plan_of(world)
    path = f"/v1/organizations/{world.acme.id}/events"
    events = world.api(world.acme.admin, "GET", path, params={"limit": 100}).json()["items"]
    placed = [event for event in events if event["action"] == "attempt_place"]
    details = {event["detail"]["plan"]: event["detail"]["inputs"] for event in placed}
    assert details[plan] == record(world, plan)["snapshot_digest"]


def test_an_unknown_plan_is_not_found(world: Any) -> None:
    for name in ("plan_00000000000000000000000000", "never-was"):
        assert world.api(world.operator, "GET", f"/v1/plans/{name}").status_code == 404


@given(raw=st.binary(max_size=200))
@settings(max_examples=50)
def test_a_record_whose_inputs_are_garbage_is_refused(raw: bytes) -> None:
    facts = {
        "id": "plan_0",
        "pool": "pool_0",
        "policy": "kumoi",
        "seed": 0,
        "decided_at": "",
        "snapshot_digest": "",
    }
    made = facts | {"body": '{"placed": [], "refused": []}', "inputs": [base64.b64encode(raw).decode()]}
    try:
        replayed(made)
    except ValueError:
        return
    raise AssertionError("garbage was taken for inputs")
