"""Services over HTTP."""

from typing import Any

import msgspec
import pytest

from kumoi.core.autoscale.reasons import REASONS
from kumoi.model.services import Condition
from kumoi.store import schema

RUN = {"port": 8080, "command": ["/bin/serve"]}


def path(world: Any, tenant: str = "acme") -> str:
    return f"/v1/projects/{getattr(world, tenant).project}/services"


def create(world: Any, body: dict[str, Any], **headers: str) -> Any:
    return world.api(world.acme.admin, "POST", path(world), body, headers=headers)


def test_one_is_made_seen_changed_and_deleted(world: Any) -> None:
    admin = world.acme.admin
    made = create(world, {"name": world.name("web"), "run": RUN})
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    service = made.json()
    one = f"/v1/services/{service['id']}"
    assert service["url_path"] == f"/{world.acme.project}/{service['name']}"
    seen = world.api(world.acme.tokens["viewer"], "GET", one)
    assert (seen.json()["spec"], seen.headers["etag"]) == (service["spec"], '"1"')
    named = world.api(admin, "GET", path(world), params={"name": service["name"]}).json()["items"]
    assert [one["id"] for one in named] == [service["id"]]
    body = service["spec"] | {"scale": {"min_replicas": 0, "max_replicas": 3}}
    assert world.api(admin, "PUT", one, body).status_code == 428
    assert world.api(admin, "PUT", one, body, headers={"If-Match": '"9"'}).status_code == 412
    changed = world.api(admin, "PUT", one, body, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    pinned = world.api(admin, "POST", f"{one}/pin", {"replicas": 2})
    assert (pinned.json()["spec"]["scale"]["pin"], pinned.headers["etag"]) == (2, '"3"')
    assert world.api(admin, "DELETE", one).status_code == 428
    deleted = world.api(admin, "DELETE", one, headers={"If-Match": "*"})
    assert (deleted.status_code, deleted.json()["state"]) == (202, "deleting")
    assert create(world, {"name": world.name("web"), "run": RUN}).status_code == 201


def test_a_repeated_request_makes_one_service(world: Any) -> None:
    body = {"name": world.name("web"), "run": RUN}
    first, second = (create(world, body, **{"Idempotency-Key": body["name"]}) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert create(world, body).status_code == 409


def test_strangers_see_nothing(world: Any) -> None:
    service = world.service()
    one = f"/v1/services/{service['id']}"
    for token in (world.operator, world.rival.admin):
        for way in ("", "/why", "/revisions", "/replicas"):
            assert world.api(token, "GET", f"{one}{way}").status_code == 404
        assert world.api(token, "POST", f"{one}/pin", {"replicas": 1}).status_code == 404
    assert world.api(world.acme.tokens["viewer"], "POST", f"{one}/pin", {"replicas": 1}).status_code == 403


def test_pages_of_revisions_and_replicas(world: Any) -> None:
    admin = world.acme.admin
    service = world.service()
    one = f"/v1/services/{service['id']}"
    for port in (1, 2):
        body = service["spec"] | {"run": RUN | {"port": port}}
        assert world.api(admin, "PUT", one, body, headers={"If-Match": "*"}).status_code == 200
    first = world.api(admin, "GET", f"{one}/revisions", params={"limit": 2}).json()
    assert [found["number"] for found in first["items"]] == [3, 2]
    rest = world.api(admin, "GET", f"{one}/revisions", params={"cursor": first["next"]}).json()
    assert ([found["number"] for found in rest["items"]], rest["next"]) == ([1], None)
    assert world.api(admin, "GET", f"{one}/replicas").status_code == 200


def test_a_replica_is_a_job_that_only_its_service_ends(world: Any) -> None:
    admin = world.acme.admin
    service, replica, job = world.replica()
    refused = world.api(admin, "POST", f"/v1/jobs/{job}/cancel")
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:kumoi:error:job_of_service"
    jobs = f"/v1/projects/{world.acme.project}/jobs"
    assert job not in [one["id"] for one in world.api(admin, "GET", jobs).json()["items"]]
    of_service = world.api(admin, "GET", jobs, params={"service": service}).json()["items"]
    assert job in [one["id"] for one in of_service]
    stopped = world.api(admin, "POST", f"/v1/services/{service}/replicas/{replica}/stop")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "draining")


def test_a_token_for_services_reaches_services_alone(world: Any) -> None:
    made = world.api(world.acme.admin, "POST", "/v1/tokens", {"scopes": ["services"]})
    token = made.json()["secret"]
    assert world.api(token, "GET", path(world)).status_code == 200
    assert world.api(token, "GET", f"/v1/projects/{world.acme.project}/jobs").status_code in (403, 404)


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ({"run": RUN | {"port": 0}}, "/run/port"),
        ({"run": RUN | {"command": []}}, "/run/command"),
        ({"run": RUN | {"image": "nginx:latest"}}, "/run/image"),
        ({"run": RUN, "scale": {"min_replicas": 2, "max_replicas": 1}}, "/scale/min_replicas"),
        ({"run": RUN, "route": {"hosts": ["Not.Lower"]}}, "/route/hosts/0"),
        ({"run": RUN, "route": {"path": "relative"}}, "/route/path"),
        ({"run": RUN, "colour": "red"}, None),
        ({}, None),
    ],
)
def test_bad_bodies_are_refused(world: Any, body: dict[str, Any], at: str | None) -> None:
    refused = create(world, {"name": world.name("bad")} | body)
    assert refused.status_code == 422, refused.text
    assert at is None or refused.json()["at"] == at


def test_errors_speak_japanese(world: Any) -> None:
    refused = create(
        world,
        {"name": world.name("bad"), "run": RUN, "scale": {"pin": 99}},
        **{"Accept-Language": "ja"},
    )
    assert refused.json()["type"] == "urn:kumoi:error:pin_above_max"
    assert "レプリカ" in refused.json()["detail"]


JAPANESE = {"Accept-Language": "ja"}
PAUSED = Condition("rollout_paused", "2027-01-15T08:00:00Z", {"revision": "4"})
PAUSED_EN = "the rollout of revision 4 is paused; `kumoi service rollout resume` goes on with it"
PAUSED_JA = "リビジョン4への切り替えは一時停止中。`kumoi service rollout resume`で再開する"


def told_of(world: Any, *conditions: Condition) -> str:
    """A service that no loop looks at any more, with conditions."""
    service, _, _ = world.replica()
    table = schema.services
    kept = msgspec.json.encode(conditions).decode()
    values = {"conditions": kept, "state": "deleted", "deleted_us": 1}
    world.plane.store.transact_wait(
        None, lambda c: c.execute(table.update().where(table.c.id == service).values(values))
    )
    return str(service)


def test_conditions_are_told_in_the_language_asked_for(world: Any) -> None:
    one = f"/v1/services/{told_of(world, PAUSED)}"
    english = world.api(world.acme.admin, "GET", one)
    japanese = world.api(world.acme.admin, "GET", one, headers=JAPANESE)
    assert english.json()["conditions"] == [msgspec.to_builtins(PAUSED) | {"text": PAUSED_EN}]
    assert japanese.json()["conditions"] == [msgspec.to_builtins(PAUSED) | {"text": PAUSED_JA}]
    assert [one.headers["content-language"] for one in (english, japanese)] == ["en", "ja"]
    assert japanese.headers["vary"] == "accept-language"


def test_what_a_write_answers_is_told_in_the_language_asked_for(world: Any) -> None:
    one = f"/v1/services/{told_of(world, PAUSED)}"
    told = world.api(world.acme.admin, "DELETE", one, headers=JAPANESE | {"If-Match": "*"})
    assert (told.status_code, told.headers["etag"]) == (202, '"1"')
    assert told.json()["conditions"][0]["text"] == PAUSED_JA


def test_a_condition_of_another_version_is_told_by_its_code(world: Any) -> None:
    unknown = Condition("of_tomorrow", PAUSED.at), Condition("slow_start", PAUSED.at, {"of": "tomorrow"})
    shown = world.api(world.acme.admin, "GET", f"/v1/services/{told_of(world, *unknown)}")
    assert [one["text"] for one in shown.json()["conditions"]] == ["of_tomorrow", "slow_start"]


def test_why_is_told_in_the_language_asked_for(world: Any) -> None:
    service = told_of(world, PAUSED)
    path = f"/v1/services/{service}/why"
    gone = world.api(world.acme.admin, "GET", path, headers=JAPANESE).json()
    assert gone["explanation"] == f"サービスは削除済みである。{PAUSED_JA}"
    service = world.service()["id"]
    world.scaling(service)
    path = f"/v1/services/{service}/why"
    said = world.api(world.acme.admin, "GET", path, headers=JAPANESE).json()
    assert [one["reason"][:4] for one in said["steps"]] == ["レプリカ"] * len(said["steps"])
    assert said["explanation"].startswith(said["steps"][-1]["reason"])
    assert {one["code"] for one in said["steps"]} <= REASONS.keys()
