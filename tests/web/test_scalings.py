"""Decisions of the autoscaler: whoever reads the service can decide them again."""

from typing import Any

import msgspec

from kumoi.main.replay_scaling import scaling_replay
from kumoi.model.scalings import ScalingRecord


def record(world: Any) -> dict[str, Any]:
    scaling = world.scaling(world.service()["id"])
    answer = world.api(world.acme.tokens["viewer"], "GET", f"/v1/scalings/{scaling}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["id"] == scaling
    return found


def replayed(found: dict[str, Any]) -> Any:
    return scaling_replay(msgspec.convert(found, ScalingRecord))


def test_a_decision_is_decided_again_from_its_record_alone(world: Any) -> None:
    result = replayed(record(world))
    assert (result.same, result.differences) == (True, ())
    assert result.wanted >= 1


def test_what_was_changed_in_a_record_shows(world: Any) -> None:
    found = record(world)
    assert replayed(found | {"wanted": 1_000}).differences == ("another number of replicas",)
    assert "digest" in replayed(found | {"digest": "0" * 64}).differences[0]
    reason = {"code": "pinned", "figures": {}}
    assert replayed(found | {"reason": msgspec.json.encode(reason).decode()}).differences == (
        "another reason",
    )


def test_an_unknown_decision_and_a_strangers_are_not_there(world: Any) -> None:
    found = record(world)
    for token, scaling in ((world.acme.admin, "scl_" + "0" * 26), (world.rival.admin, found["id"])):
        refused = world.api(token, "GET", f"/v1/scalings/{scaling}")
        assert (refused.status_code, refused.json()["type"]) == (404, "urn:kumoi:error:not_found")
