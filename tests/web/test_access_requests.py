"""Operator access: what a tenant signs is what an operator gets, no more, no longer, and never unrecorded."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from access_office import REASON, Office, operator_new
from approver import Approver

from kumoi.ledger.statements import statement_parse
from kumoi.loops.access import access_activate
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.web.api.events import HEARTBEAT

DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def office(own_world: Any) -> Office:
    return Office(own_world)


@pytest.fixture
def clock(office: Office) -> Iterator[list[int]]:
    """How many microseconds the plane's clock is ahead."""
    ahead, before = [0], office.world.plane.clock_us
    office.world.plane.clock_us = lambda: before() + ahead[0]
    yield ahead
    office.world.plane.clock_us = before


def written_job(office: Office) -> str:
    """A job whose first task has a log."""
    job = str(office.world.job(office.tenant))

    def attempts() -> Any:
        tasks = office.world.api(office.tenant.admin, "GET", f"/v1/jobs/{job}/tasks").json()["items"]
        return tasks and tasks[0]["attempts"]

    office.world.wait(attempts)
    return job


def test_an_operator_reads_only_between_approval_and_revocation(office: Office) -> None:
    job, other = written_job(office), written_job(office)
    assert office.log_status(job) == 404
    asked = office.ask(job)
    assert office.log_status(job) == 404
    approved = office.step(asked, "approve", office.approver.approval(asked))
    assert approved["state"] == "approved"
    assert approved["signature"] == office.approver.sign(approved["statement"])
    assert office.log_status(job) == 200
    assert office.log_status(other) == 404
    assert office.log_status(job, office.colleague) == 404
    assert office.step(asked, "revoke")["state"] == "revoked"
    assert office.log_status(job) == 404


def test_every_answer_is_recorded_with_its_digest_before_it_is_sent(office: Office) -> None:
    job = written_job(office)
    approved = office.approved(job, "logs", "inspect")
    log = office.world.api(office.operator, "GET", f"/v1/jobs/{job}/tasks/0/log", params={"limit": 7})
    job_read = office.world.api(office.operator, "GET", f"/v1/jobs/{job}")
    uses = office.uses(approved)
    assert [(use["action"], use["resource"], use["status"]) for use in uses] == [
        ("job_log_read", job, 200),
        ("job_read", job, 200),
    ]
    assert uses[0]["call"] == f"GET /v1/jobs/{job}/tasks/0/log?limit=7"
    for use, answer in zip(uses, (log, job_read), strict=True):
        assert use["sha256"] == hashlib.sha256(answer.content).hexdigest()
        assert use["size_bytes"] == len(answer.content)
    event = office.events("access_use")[0]
    assert event["detail"]["request"] == approved["id"]
    assert event["detail"]["sha256"] == uses[1]["sha256"]


def test_what_cannot_be_recorded_is_not_answered(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    job = written_job(office)
    office.approved(job)

    async def refuse(*_: Any, **__: Any) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr("kumoi.web.api.operator_session.use_record", refuse)
        answer = office.world.api(office.operator, "GET", f"/v1/jobs/{job}/tasks/0/log")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_what_took_longer_than_the_access_is_not_answered(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = written_job(office)
    approved = office.approved(job)
    read = office.world.engine.log_read

    def slow(*words: Any) -> Any:
        revoked = schema.access_requests.update().where(schema.access_requests.c.id == approved["id"])
        office.world.plane.store.transact_wait(
            None, lambda connection: connection.execute(revoked.values(state="revoked"))
        )
        return read(*words)

    with monkeypatch.context() as patch:
        patch.setattr(office.world.engine, "log_read", slow)
        answer = office.world.api(office.operator, "GET", f"/v1/jobs/{job}/tasks/0/log")
    assert answer.status_code == 404
    assert office.uses(approved) == []


def test_forged_replayed_widened_and_strangers_approvals_are_refused(office: Office) -> None:
    job, other = written_job(office), written_job(office)
    asked, second = office.ask(job), office.ask(other)
    good = office.approver.approval(asked)
    stranger = Approver(office.approver.origin, office.tenant.id)
    forged = good | {"signature": stranger.sign(asked["statement"])}
    moved = good | {"signature": office.approver.sign(second["statement"])}
    widened = good | {"sets": ["logs", "files"]}
    narrowed_text = good | {"duration_s": 60}
    longer = good | {"duration_s": 7_200}
    for body in (forged, moved, widened, narrowed_text, longer, good | {"key": stranger_key(office)}):
        answer = office.step(asked, "approve", body, status=422)
        assert answer["type"].startswith("urn:kumoi:error:access_")
        assert office.log_status(job) == 404
    office.step(asked, "approve", good)
    office.step(asked, "approve", good, status=409)
    office.step(second, "approve", good, status=422)
    office.step(asked, "revoke")
    office.step(asked, "approve", good, status=409)
    assert [office.log_status(one) for one in (job, other)] == [404, 404]


def stranger_key(office: Office) -> str:
    """The id of a key of another organization."""
    rival = office.world.rival
    approver = Approver(office.approver.origin, rival.id)
    body = {"name": office.world.name("key"), "public_key": approver.public}
    known = office.world.api(rival.admin, "GET", f"/v1/organizations/{rival.id}/access-keys").json()["items"]
    if known:
        return str(known[0]["id"])
    made = office.world.api(rival.admin, "POST", f"/v1/organizations/{rival.id}/access-keys", body)
    return str(made.json()["id"])


def test_a_tenant_may_grant_less_than_was_asked(office: Office) -> None:
    job = written_job(office)
    asked = office.ask(job, "logs", "inspect", duration_s=3_600)
    less = asked["statement"].replace("sets inspect,logs", "sets inspect").replace("s 3600", "s 60")
    body = office.approver.approval(asked) | {"signature": office.approver.sign(less)}
    approved = office.step(asked, "approve", body | {"sets": ["inspect"], "duration_s": 60})
    assert (approved["sets"], approved["duration_s"], approved["statement"]) == (["inspect"], 60, less)
    assert office.log_status(job) == 404
    assert office.world.api(office.operator, "GET", f"/v1/jobs/{job}").status_code == 200


def test_access_ends_by_the_clock_and_then_by_the_loop(office: Office, clock: list[int]) -> None:
    job = written_job(office)
    approved, waiting = office.approved(job, duration_s=60), office.ask(job)
    clock[0] = 61_000_000
    assert office.log_status(job) == 404
    clock[0] = 8 * DAY_US
    late = office.approver.approval(waiting)
    assert office.step(waiting, "approve", late, status=409)["type"].endswith("access_request_lapsed")
    clock[0] = 0
    office.world.plane.store.transact_wait(
        None,
        lambda connection: [
            connection.execute(
                schema.access_requests.update()
                .where(schema.access_requests.c.id == request["id"])
                .values(expires_us=1 if request is approved else None, answer_by_us=1)
            )
            for request in (approved, waiting)
        ],
    )

    def states() -> list[str]:
        at = [f"access-requests/{request['id']}" for request in (approved, waiting)]
        return [office.call(office.tenant.admin, path, method="GET")["state"] for path in at]

    office.world.wait(lambda: states() == ["expired", "lapsed"])
    for action, request in (("access_request_expire", approved), ("access_request_lapse", waiting)):
        assert [event["resource"] for event in office.events(action)].count(request["id"]) == 1


def test_a_signed_rule_approves_what_it_covers_and_nothing_else(office: Office) -> None:
    job, other = written_job(office), written_job(office)
    until = time_format(office.world.plane.clock_us() + DAY_US)
    body = office.approver.rule(office.world.name("rule"), job, ("logs",), until, duration_s=600)
    rule = office.call(office.tenant.admin, "access-rules", body, status=201)
    covered = office.ask(job, duration_s=600)
    assert (covered["state"], covered["rule"], covered["decided_by"]) == ("approved", rule["id"], rule["id"])
    assert covered["statement"] == rule["statement"]
    assert office.log_status(job) == 200
    for resource, sets, duration_s in ((job, ("logs",), 601), (job, ("files",), 60), (other, ("logs",), 60)):
        assert office.ask(resource, *sets, duration_s=duration_s)["state"] == "requested"
    office.call(office.tenant.admin, f"access-rules/{rule['id']}/revoke")
    assert office.ask(job, duration_s=600)["state"] == "requested"
    again = office.call(office.tenant.admin, "access-rules", body, status=409)
    assert again["type"].endswith("name_in_use")
    assert office.log_status(job) == 404
    assert office.step(covered, "revoke", status=409)["type"].endswith("access_request_state")


def test_a_rule_for_one_operator_is_for_nobody_else(office: Office) -> None:
    job = written_job(office)
    me = office.world.api(office.operator, "GET", "/v1/whoami").json()["id"]
    until = time_format(office.world.plane.clock_us() + DAY_US)
    body = office.approver.rule(
        office.world.name("rule"), office.tenant.project, ("logs",), until, operator=me
    )
    forged = body | {"operator": "any"}
    office.call(office.tenant.admin, "access-rules", forged, status=422)
    made = office.call(office.tenant.admin, "access-rules", body, status=201)
    assert office.ask(job)["state"] == "approved"
    assert office.ask(job, by=office.colleague)["state"] == "requested"
    office.call(office.tenant.admin, f"access-rules/{made['id']}/revoke")


def test_a_stolen_administrators_token_adds_no_key(office: Office) -> None:
    thief = Approver(office.approver.origin, office.tenant.id)
    plain = {"name": office.world.name("key"), "public_key": thief.public}
    own = thief.addition(plain["name"], thief) | {"signed_with": office.approver.id}
    for body in (plain, own):
        office.call(office.tenant.admin, "access-keys", body, status=422)
    office.call(office.tenant.admin, f"access-keys/{office.approver.id}/retire", status=409)
    second = office.approver.addition(plain["name"], thief)
    made = office.call(office.tenant.admin, "access-keys", second, status=201)
    thief.id = made["id"]
    job = written_job(office)
    asked = office.ask(job)
    office.step(asked, "approve", thief.approval(asked))
    assert office.log_status(job) == 200
    office.call(office.tenant.admin, f"access-keys/{made['id']}/retire")
    assert office.log_status(job) == 404
    asked = office.ask(job)
    office.step(asked, "approve", thief.approval(asked), status=422)


def test_a_refusal_under_a_grant_is_recorded_too(office: Office) -> None:
    project = office.tenant.project
    approved = office.approved(project, "files", "stop")
    job = written_job(office)
    missing = office.world.api(office.operator, "GET", f"/v1/projects/{project}/files/missing")
    assert office.world.api(office.operator, "POST", f"/v1/jobs/{job}/cancel").status_code == 200
    assert [(use["action"], use["status"]) for use in office.uses(approved)] == [
        ("file_read", missing.status_code),
        ("job_cancel", 200),
    ]
    assert missing.status_code == 404
    cancelled = next(event for event in office.events("job_cancel") if event["resource"] == job)
    assert cancelled["detail"] == {"access_requests": [approved["id"]]}
    office.step(approved, "revoke")


def test_an_operator_whose_role_was_taken_is_cut_off(office: Office) -> None:
    events = f"/v1/organizations/{office.tenant.id}/events/watch"
    approved = office.approved(office.tenant.id, "events", by=office.colleague)
    bindings = "/v1/organizations/platform/role-bindings"
    me = office.world.api(office.colleague, "GET", "/v1/whoami").json()

    async def role_take(client: Any) -> None:
        path = f"/v1/role-bindings/{me['roles'][0]['id']}"
        answer = await client.delete(path, headers={"Authorization": f"Bearer {office.operator}"})
        assert answer.status_code == 204

    try:
        _, cut = office.world.api.runner.run(cut_off(office, events, role_take, office.colleague))
        assert cut
    finally:
        binding = {"principal": me["id"], "role": "platform_operator"}
        assert office.world.api(office.operator, "POST", bindings, binding).status_code == 201
        office.step(approved, "revoke")


def test_glass_is_broken_by_two_told_at_once_and_explained(office: Office) -> None:
    job = written_job(office)
    asked = office.ask(job, kind="emergency")
    office.step(asked, "approve", office.approver.approval(asked), status=409)
    office.step(asked, "confirm", by=office.operator, status=409)
    office.step(asked, "confirm", by=operator_new(office.world), status=409)
    colleague = office.world.api(office.colleague, "POST", "/v1/tokens", {}).json()["secret"]
    office.step(asked, "confirm", by=colleague, status=409)
    confirmed = office.step(asked, "confirm", by=office.colleague)
    assert (confirmed["state"], confirmed["signature"]) == ("approved", None)
    assert office.log_status(job) == 200
    told = office.events("access_request_confirm")[0]
    assert told["resource"] == asked["id"]
    assert told["detail"]["confirmed_by"] == confirmed["decided_by"]
    notices = office.world.plane.store.read_wait(
        lambda connection: connection.execute(schema.notices.select()).all()
    )
    assert ("break_glass", told["id"]) in [(row.kind, row.event_id) for row in notices]
    office.step(asked, "revoke")
    assert office.log_status(job) == 404
    explained = office.step(
        asked, "explain", {"explanation": "the memory limit was 1 GiB too low"}, by=office.operator
    )
    assert explained["incident_at"] is None
    office.step(asked, "explain", {"explanation": "another explanation"}, by=office.operator, status=409)


def test_glass_that_nobody_explains_is_an_incident_once(office: Office) -> None:
    asked = office.ask(written_job(office), kind="legal_order")
    office.step(asked, "confirm", by=office.colleague)
    store, table = office.world.plane.store, schema.access_requests
    overdue = table.update().where(table.c.id == asked["id"]).values(explain_by_us=1)
    store.transact_wait(None, lambda connection: connection.execute(overdue))

    def read() -> Any:
        return office.call(office.tenant.admin, f"access-requests/{asked['id']}", method="GET")

    office.world.wait(lambda: read()["incident_at"])
    assert read()["state"] == "approved"
    again = Context(office.world.plane)
    assert not access_activate(again, None)  # type: ignore[arg-type]
    told = [event["resource"] for event in office.events("access_request_incident")]
    assert told.count(asked["id"]) == 1
    office.step(asked, "explain", {"explanation": "too late, but here it is"}, by=office.operator)


class Context:
    """What the loop needs of its context."""

    def __init__(self, plane: Any) -> None:
        self.store = plane.store
        self.platform_organization_id = plane.region.platform_organization_id
        self.clock_us = plane.clock_us

    def nudge(self, *_names: str) -> None:
        """Nobody listens."""


def test_a_revocation_cuts_a_download_and_a_watch_off(office: Office) -> None:
    content = bytes(8 << 20)
    path = f"/v1/projects/{office.tenant.project}/files/large"
    assert office.world.api(office.tenant.admin, "PUT", path, content=content).status_code == 200
    events = f"/v1/organizations/{office.tenant.id}/events/watch"
    for url, sets in ((path, "files"), (events, "events")):
        approved = office.approved(office.tenant.id, sets)
        revoke = f"/v1/organizations/{office.tenant.id}/access-requests/{approved['id']}/revoke"

        async def end(client: Any, path: str = revoke) -> None:
            answer = await client.post(path, headers={"Authorization": f"Bearer {office.tenant.admin}"})
            assert answer.status_code == 200

        sent, cut = office.world.api.runner.run(cut_off(office, url, end, office.operator))
        assert cut
        assert len(sent) < len(content)
        # Of the heartbeats only the first is of the stream; the others keep the connection alive.
        told = sent if url == path else HEARTBEAT + sent.replace(HEARTBEAT, b"")
        begun, ended = office.uses(approved)
        assert (begun["phase"], ended["phase"]) == ("begin", "end")
        assert begun["size_bytes"] == (len(content) if url == path else 0)
        assert ended["size_bytes"] == len(told)
        assert ended["sha256"] == hashlib.sha256(told).hexdigest()


async def cut_off(
    office: Office, path: str, end: Callable[[Any], Awaitable[None]], token: str
) -> tuple[bytes, bool]:
    """Read until the first bytes came, have the access ended, and say what came and whether it was cut."""
    body, first = bytearray(), asyncio.Event()
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        return next(asked, None) or await asyncio.Event().wait()

    async def send(event: Any) -> None:
        body.extend(event.get("body", b""))
        if body:
            first.set()
        if len(body) > 1 << 16:
            await asyncio.sleep(0.05)  # a reader that takes its time

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode())],
    }
    serving = asyncio.create_task(office.world.api.application(scope, receive, send))
    await asyncio.wait_for(first.wait(), 20)
    await end(office.world.api._client)
    done, _ = await asyncio.wait({serving}, timeout=20)
    return bytes(body), bool(done) and serving.exception() is not None


def test_the_statement_says_what_is_asked(office: Office) -> None:
    asked = office.ask(office.tenant.project, "files", "inspect")
    said = statement_parse(asked["statement"].encode())
    assert said.request == asked["id"]  # type: ignore[union-attr]
    assert said.scope.sets == ("files", "inspect")  # type: ignore[union-attr]
    assert json.dumps(REASON) not in asked["statement"]
    office.step(asked, "deny", {"reason": "not now"})
    office.step(asked, "end", by=office.operator, status=409)


def test_what_is_not_the_organizations_cannot_be_asked_for(office: Office) -> None:
    for resource in (office.world.rival.project, office.world.rival.id, office.world.job(office.world.rival)):
        assert office.ask(resource, status=422)["type"].endswith("resource_unknown")
    path = "/v1/organizations/platform/access-requests"
    body = {"resource": office.tenant.id, "sets": ["logs"], "reason": REASON}
    assert office.world.api(office.operator, "POST", path, body).status_code == 422
