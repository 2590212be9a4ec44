"""Events: lists, one of them, its receipt, and the watch."""

import asyncio
import base64
import json
from typing import Any, cast

import pytest

from kumoi.ledger.errors import LedgerError
from kumoi.ledger.event import event_commit
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.receipt import receipt_parse, receipt_verify


def events_path(world: Any) -> str:
    return f"/v1/organizations/{world.acme.id}/events"


def newest(world: Any, action: str) -> dict[str, Any]:
    listed = world.api(world.acme.admin, "GET", events_path(world), params={"limit": 1_000}).json()["items"]
    found: dict[str, Any] = next(event for event in listed if event["action"] == action)
    return found


def logged(world: Any, action: str) -> dict[str, Any]:
    """The newest event of the action, once it has its place in the log."""
    event_id = newest(world, action)["id"]

    def read() -> Any:
        event = world.api(world.acme.admin, "GET", f"/v1/events/{event_id}").json()
        return event if event["log_index"] is not None else None

    found: dict[str, Any] = world.wait(read)
    return found


def messages(body: bytes) -> list[dict[str, Any]]:
    """The events in a stream, each with its id; comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line != ":")
        if fields:
            assert fields.keys() == {"id", "data"}
            event = json.loads(fields["data"])
            assert int(fields["id"]) == event["log_index"]
            found.append(event)
    return found


def test_a_write_is_an_event_with_a_receipt(world: Any) -> None:
    job = world.job(name="witnessed")
    event = newest(world, "job_create")
    assert event["resource"] == job
    assert event["actor"] == world.acme.principals["admin"]
    assert event["outcome"] == "done"
    event = logged(world, "job_create")
    receipt = world.api(world.acme.admin, "GET", f"/v1/events/{event['id']}/receipt")
    assert receipt.status_code == 200
    assert receipt.json()["event"] == event
    found = receipt.json()
    canonical, salt = (base64.b64decode(found[name]) for name in ("canonical", "salt"))
    key = vkey_parse(world.api(None, "GET", "/log/vkey").text)
    proof = receipt_parse(found["proof"].encode())
    receipt_verify(proof, event_commit(salt, canonical), key)
    assert proof.index == event["log_index"]
    assert json.loads(canonical)["resource"] == job
    with pytest.raises(LedgerError):
        receipt_verify(proof, event_commit(salt, canonical.replace(b"job", b"jab")), key)


def test_lists_are_newest_first_in_pages(world: Any) -> None:
    world.job(name="paged")
    page = world.api(world.acme.admin, "GET", events_path(world), params={"limit": 3}).json()
    rest = world.api(
        world.acme.admin, "GET", events_path(world), params={"limit": 3, "cursor": page["next"]}
    ).json()
    ids = [event["id"] for event in page["items"] + rest["items"]]
    assert len(set(ids)) == 6
    assert ids == sorted(ids, reverse=True)


def test_unknown_and_foreign_events_are_not_found(world: Any) -> None:
    world.job(world.rival)
    foreign = world.api(world.rival.admin, "GET", f"/v1/organizations/{world.rival.id}/events").json()
    for event in (foreign["items"][0]["id"], "evt_00000000000000000000000000", "nothing"):
        for path in (f"/v1/events/{event}", f"/v1/events/{event}/receipt"):
            assert world.api(world.acme.admin, "GET", path).status_code == 404


def test_the_platforms_events_are_none_of_the_tenants(world: Any) -> None:
    listed = world.api(world.operator, "GET", "/v1/events", params={"limit": 1_000}).json()["items"]
    assert {event["organization"] for event in listed} == {
        world.api(world.operator, "GET", "/v1/whoami").json()["organization"]
    }
    assert world.api(world.acme.admin, "GET", "/v1/events").status_code in (403, 404)


def test_a_watch_goes_on_after_the_last_event_seen(world: Any) -> None:
    world.job(name="seen-1")
    first = logged(world, "job_create")
    world.job(name="seen-2")
    second = logged(world, "job_create")
    path = f"{events_path(world)}/watch"

    def both(body: bytes) -> bool:
        return second["id"].encode() in body

    status, headers, body = world.api.watch(
        world.acme.admin, path, both, **{"Last-Event-ID": str(first["log_index"] - 1)}
    )
    assert status == 200
    assert headers["content-type"] == "text/event-stream"
    seen = messages(body)
    assert seen[0] == first
    assert second in seen
    assert [event["log_index"] for event in seen] == sorted({event["log_index"] for event in seen})
    _, _, body = world.api.watch(world.acme.admin, path, both, **{"Last-Event-ID": str(first["log_index"])})
    assert first["id"] not in body.decode()


def test_an_idle_watch_is_kept_alive_by_comments(world: Any) -> None:
    path = f"/v1/organizations/{world.rival.id}/events/watch"
    _, _, body = world.api.watch(world.rival.admin, path, lambda body: body.count(b":\n\n") >= 3)
    assert body.startswith(b":\n\n")


@pytest.mark.parametrize("given", ["", "x", "-1", "1.5", "9" * 30])
def test_a_bad_place_to_resume_is_refused(world: Any, given: str) -> None:
    answer = world.api(
        world.acme.admin, "GET", f"{events_path(world)}/watch", headers={"Last-Event-ID": given}
    )
    assert answer.status_code == 422
    assert answer.json()["at"] == "Last-Event-ID"


def test_watches_are_bounded_for_each_organization_and_for_all(world: Any) -> None:
    path, rivals = (f"/v1/organizations/{tenant.id}/events/watch" for tenant in (world.acme, world.rival))

    async def crowd() -> list[int]:
        enough = asyncio.Event()
        begun = []

        async def watch(path: str, token: str, until: Any) -> tuple[int, dict[str, str], bytes]:
            answer = await world.api.stream_read(path, {"authorization": f"Bearer {token}"}, until)
            return cast(tuple[int, dict[str, str], bytes], answer)

        def hold(path: str, token: str) -> asyncio.Task[tuple[int, dict[str, str], bytes]]:
            seen = asyncio.Event()
            begun.append(seen.wait())

            def until(_: bytes) -> bool:
                seen.set()
                return enough.is_set()

            return asyncio.create_task(watch(path, token, until))

        held = [hold(path, world.acme.admin) for _ in range(2)]
        await asyncio.gather(*begun)
        status, _, body = await watch(path, world.acme.admin, lambda _: True)
        assert (status, b"error:organization_watchers_full" in body) == (503, True)
        held.append(hold(rivals, world.rival.admin))
        await begun[-1]
        status, _, body = await watch(rivals, world.rival.admin, lambda _: True)
        assert (status, b"error:watchers_full" in body) == (503, True)
        enough.set()
        return [status for status, _, _ in await asyncio.gather(*held)]

    assert world.api.runner.run(crowd()) == [200, 200, 200]
    assert not world.api.application._watchers_of
    status, _, _ = world.api.watch(world.acme.admin, path, lambda body: len(body) > 0)
    assert status == 200
