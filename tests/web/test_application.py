"""What every request gets: problems for all that is wrong, limits, languages, request ids, log lines."""

import asyncio
import json
import logging
import threading
from typing import Any

import httpx
import msgspec
import pytest

from kumoi.model.access import Action, Actor, PrincipalKind
from kumoi.model.errors import Invalid
from kumoi.web.api.access_log import AccessLog
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.application import application_create
from kumoi.web.api.decoding import LOOP_BYTES_MAX, TEXTS_MAX, body_decode, body_take
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.request import Request
from kumoi.web.api.route import Media, Route
from kumoi.web.settings import WebSettings

SPEC = {"command": ["/bin/true"]}


def jobs_path(world: Any) -> str:
    return f"/v1/projects/{world.acme.project}/jobs"


def batches_path(world: Any) -> str:
    return f"/v1/projects/{world.acme.project}/job-batches"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in `answer`, in the whole form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["type"] == f"urn:kumoi:error:{code}"
    assert found["status"] == status
    assert found["title"]
    assert found["detail"]
    assert found["request_id"] == answer.headers["kumoi-request-id"]
    return found


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v2/jobs", "/healthz/", "/V1/whoami", "/v1/%ff"])
def test_unknown_paths_are_not_found_for_anybody(world: Any, path: str) -> None:
    for token in (None, world.acme.admin):
        found = problem(world.api(token, "GET", path), 404, "path_unknown")
        assert found["instance"] == path


def test_a_path_of_many_segments_is_not_found(api: Any) -> None:
    problem(api(None, "GET", "/a" * 20_000), 404, "path_unknown")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused_with_what_is_allowed(world: Any, method: str) -> None:
    answer = world.api(None, method, "/v1/organizations")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


def test_a_malformed_id_is_not_found(world: Any) -> None:
    for path in (
        "/v1/jobs/nothing",
        "/v1/jobs/prj_00000000000000000000000000",
        "/v1/jobs/%00",
        "/v1/jobs/%ff",
    ):
        problem(world.api(world.acme.admin, "GET", path), 404, "not_found")


def test_an_escaped_slash_never_changes_the_shape_of_a_path(world: Any) -> None:
    problem(world.api(world.acme.admin, "GET", "/v1%2Fwhoami"), 404, "path_unknown")
    problem(world.api(world.acme.admin, "GET", "/v1/jobs/a%2Fwhy"), 404, "not_found")


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "json_invalid"),
        (b"{", "json_invalid"),
        (b"{'command': []}", "json_invalid"),
        (b"\xff", "json_invalid"),
        (b"\xef\xbb\xbf{}", "json_invalid"),
        (b'{"command":["a"]}x', "json_invalid"),
        (b'{"command":["\\ud800"]}', "json_invalid"),
        (b'{"command":["\xff"]}', "utf8_invalid"),
        (b'{"comm\xc3\x28and":["a"]}', "utf8_invalid"),
    ],
)
def test_bodies_that_are_no_json_are_400(world: Any, raw: bytes, code: str) -> None:
    answer = world.api(
        world.acme.admin, "POST", jobs_path(world), content=raw, headers={"Content-Type": "application/json"}
    )
    problem(answer, 400, code)


def test_endless_nesting_is_refused_at_its_first_step(world: Any) -> None:
    raw = b'{"command":' + b"[" * 500_000
    answer = world.api(
        world.acme.admin, "POST", jobs_path(world), content=raw, headers={"Content-Type": "application/json"}
    )
    assert problem(answer, 422, "type_mismatch")["at"] == "/command/0"


@pytest.mark.parametrize(
    ("change", "code", "at"),
    [
        ({"nothing": 1}, "field_unknown", "/nothing"),
        ({"a/b~c": 1}, "field_unknown", "/a~1b~0c"),
        ({"command": "ls"}, "type_mismatch", "/command"),
        ({"command": ["ls"] * 1_025}, "length_out_of_range", "/command"),
        ({"command": ["ls", 1]}, "type_mismatch", "/command/1"),
        ({"command": ["a\0b"]}, "nul_in_text", "/command/0"),
        ({"name": "Not A Name"}, "pattern_mismatch", "/name"),
        ({"resources": {"cpu_milli": -1}}, "out_of_range", "/resources/cpu_milli"),
        ({"resources": {"cpu_milli": 10**30}}, "out_of_range", "/resources/cpu_milli"),
        ({"resources": {"memory_bytes": 1.5}}, "type_mismatch", "/resources/memory_bytes"),
        ({"resources": {"memory_bytes": 0}}, "out_of_range", "/resources/memory_bytes"),
        ({"resources": {"cpu": 1}}, "field_unknown", "/resources/cpu"),
        (
            {"resources": {"devices": [{"kind": "gpu", "count": 65}]}},
            "out_of_range",
            "/resources/devices/0/count",
        ),
        ({"array_size": 0}, "out_of_range", "/array_size"),
        ({"array_size": True}, "type_mismatch", "/array_size"),
        ({"work_class": "best"}, "value_unknown", "/work_class"),
        ({"environment": {"1A": "x"}}, "pattern_mismatch", "/environment"),
        ({"priority": None}, "type_mismatch", "/priority"),
    ],
)
def test_bodies_that_make_no_sense_are_422_at_their_place(
    world: Any, change: dict[str, Any], code: str, at: str
) -> None:
    found = problem(world.api(world.acme.admin, "POST", jobs_path(world), SPEC | change), 422, code)
    assert found["at"] == at


def test_an_image_by_tag_is_told_to_be_named_by_digest(world: Any) -> None:
    path = f"/v1/projects/{world.acme.project}/services"
    body = {"name": "web", "run": {"port": 80, "image": "nginx:1"}}
    found = problem(world.api(world.acme.admin, "POST", path, body), 422, "pattern_mismatch")
    assert (found["at"], "NAME@sha256:HEX" in found["detail"]) == ("/run/image", True)


def test_a_missing_field_is_named(world: Any) -> None:
    path = f"/v1/projects/{world.acme.project}/services"
    found = problem(world.api(world.acme.admin, "POST", path, {}), 422, "field_missing")
    assert found["at"] == "/run"


def test_nul_is_refused_everywhere_and_its_escape_as_text_is_not(world: Any) -> None:
    body = {"name": world.name(), "display_name": "a\0b"}
    found = problem(world.api(world.operator, "POST", "/v1/organizations", body), 422, "nul_in_text")
    assert found["at"] == "/display_name"
    body = {"name": world.name(), "display_name": "a\\u0000b"}
    assert world.api(world.operator, "POST", "/v1/organizations", body).status_code == 201


def test_only_an_escape_of_nul_counts_as_one() -> None:
    decoder = msgspec.json.Decoder(list[str])
    for body in (rb'["\\u0000"]', rb'["\\\\u0000", "u0000"]', rb'["\\", "u0000"]'):
        assert body_decode(decoder, body)
    for body in (rb'["\u0000"]', rb'["", "\\\u0000"]', rb'["\n\u0000"]'):
        with pytest.raises(Invalid) as refused:
            body_decode(decoder, body)
        assert refused.value.code == "nul_in_text"


def test_large_bodies_are_decoded_beside_the_loop_and_small_ones_in_it() -> None:
    class Decoder:
        def decode(self, raw: bytes) -> int:
            return threading.get_ident()

    async def work(raw: bytes) -> bool:
        return bool(await body_take(Decoder(), raw) == threading.get_ident())  # type: ignore[arg-type]

    assert asyncio.run(work(b" " * LOOP_BYTES_MAX))
    assert not asyncio.run(work(b" " * (LOOP_BYTES_MAX + 1)))


def test_a_batch_of_very_many_texts_is_refused_before_any_is_looked_at(world: Any) -> None:
    job = b'{"command":[' + b",".join([b'"a"'] * 1_024) + b"]}"
    content = b'{"jobs":[' + b",".join([job] * 1_000) + b"]}"
    path, headers = batches_path(world), {"Content-Type": "application/json"}
    answer = world.api(world.acme.admin, "POST", path, content=content, headers=headers)
    assert problem(answer, 413, "body_too_many_texts")["detail"].startswith(
        f"the body holds more than {TEXTS_MAX}"
    )


def test_a_batch_is_not_read_from_whoever_may_not_send_it(world: Any) -> None:
    asked = []

    async def content() -> Any:
        asked.append(True)
        yield b" " * (1 << 20)

    headers = {"Content-Type": "application/json"}
    for token, status, code in (
        (world.acme.tokens["viewer"], 403, "action_forbidden"),
        (world.rival.admin, 404, "not_found"),
    ):
        answer = world.api(token, "POST", batches_path(world), content=content(), headers=headers)
        problem(answer, status, code)
    assert not asked


@pytest.mark.parametrize(
    "given", [None, "text/plain", "application/jsonx", "application/json; charset=latin-1"]
)
def test_a_body_must_say_that_it_is_json(world: Any, given: str | None) -> None:
    headers = {} if given is None else {"Content-Type": given}
    answer = world.api(world.acme.admin, "POST", jobs_path(world), content=b"{}", headers=headers)
    problem(answer, 415, "content_type_unsupported")


def test_json_may_name_its_only_charset(world: Any) -> None:
    headers = {"Content-Type": "Application/JSON; Charset=UTF-8"}
    body = json.dumps(SPEC).encode()
    answer = world.api(world.acme.admin, "POST", jobs_path(world), content=body, headers=headers)
    assert answer.status_code == 201


def test_large_bodies_are_refused_whether_they_say_so_or_not(world: Any) -> None:
    async def unannounced() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    for content in (b" " * ((1 << 20) + 1), unannounced()):
        answer = world.api(world.acme.admin, "POST", jobs_path(world), content=content, headers=headers)
        problem(answer, 413, "body_too_large")


def test_a_body_where_none_is_taken_is_refused(world: Any) -> None:
    path = f"/v1/projects/{world.acme.project}/archive"
    problem(world.api(world.acme.admin, "POST", path, {"really": True}), 422, "body_unexpected")


@pytest.mark.parametrize(
    ("query", "status", "code", "at"),
    [
        ("limit=0", 422, "out_of_range", "limit"),
        ("limit=1001", 422, "out_of_range", "limit"),
        ("limit=-1", 422, "out_of_range", "limit"),
        ("limit=ten", 422, "type_mismatch", "limit"),
        ("limit=", 422, "type_mismatch", "limit"),
        ("limit=1&limit=2", 422, "parameter_repeated", "limit"),
        ("Limit=1", 422, "field_unknown", "Limit"),
        ("a=b", 422, "field_unknown", "a"),
        ("cursor=nothing", 422, "cursor_invalid", "cursor"),
        ("cursor=%00", 422, "nul_in_text", "cursor"),
        ("cursor=", 422, "length_out_of_range", "cursor"),
        ("cursor=%ff", 400, "query_invalid", None),
        ("&".join(f"p{n}=1" for n in range(100)), 400, "query_invalid", None),
    ],
)
def test_queries_are_checked(world: Any, query: str, status: int, code: str, at: str | None) -> None:
    answer = world.api(world.acme.admin, "GET", f"{jobs_path(world)}?{query}")
    assert problem(answer, status, code)["at"] == at


def test_routes_without_parameters_refuse_any(api: Any) -> None:
    problem(api(None, "GET", "/healthz?verbose=1"), 422, "field_unknown")


def test_texts_follow_accept_language(api: Any) -> None:
    answer = api(None, "GET", "/v1/whoami", headers={"Accept-Language": "ja, en;q=0.5"})
    assert answer.headers["content-language"] == "ja"
    assert "accept-language" in answer.headers["vary"]
    answer = api(None, "GET", "/v1/whoami", headers={"Accept-Language": "de"})
    assert answer.headers["content-language"] == "en"
    assert answer.json()["title"] == "A valid token is needed"


def test_request_ids_are_kept_if_sane_and_made_if_not(api: Any) -> None:
    assert (
        api(None, "GET", "/healthz", headers={"Kumoi-Request-Id": "run-7.a_b"}).headers["kumoi-request-id"]
        == "run-7.a_b"
    )
    seen = {
        api(None, "GET", "/healthz", headers={"Kumoi-Request-Id": given}).headers["kumoi-request-id"]
        for given in ("", "a b", "x" * 65, "<script>")
    }
    assert len(seen) == 4
    assert not seen & {"", "a b", "<script>"}


@pytest.mark.parametrize("given", ["", "a" * 256, "tab\there", "é"])
def test_idempotency_keys_must_be_printable(world: Any, given: str) -> None:
    headers = {"Idempotency-Key": given.encode("latin-1")}
    answer = world.api(world.acme.admin, "POST", jobs_path(world), SPEC, headers=headers)
    problem(answer, 422, "idempotency_key_invalid")


def test_a_key_replays_the_answer_and_refuses_another_body(world: Any) -> None:
    headers = {"Idempotency-Key": "~ once !"}
    first, again = (
        world.api(world.acme.admin, "POST", jobs_path(world), SPEC, headers=headers) for _ in range(2)
    )
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = world.api(world.acme.admin, "POST", jobs_path(world), SPEC | {"name": "x"}, headers=headers)
    problem(other, 409, "idempotency_key_reused")


def test_a_key_is_the_callers_and_the_routes_own(world: Any) -> None:
    headers = {"Idempotency-Key": "shared"}
    ids = {
        world.api(token, "POST", jobs_path(world), SPEC, headers=headers).json()["id"]
        for token in (world.acme.admin, world.acme.tokens["member"])
    }
    assert len(ids) == 2
    job = ids.pop()
    answer = world.api(world.acme.admin, "POST", f"/v1/jobs/{job}/cancel", headers=headers)
    assert answer.status_code == 200


class Echo(msgspec.Struct):
    """What the routes of these tests answer."""

    text: str


class PlaneOfOne:
    """Knows everybody."""

    async def authenticate(self, token: str) -> Actor:
        return Actor("usr_one", PrincipalKind.USER, "org_one", (), token)

    def session_begin(self, actor: Actor) -> Actor:
        return actor


async def answer_late(_plane: Any, _request: Request[None, NoQuery]) -> Answer:
    await asyncio.sleep(60)
    return answer_json(Echo("late"))


async def answer_never(_plane: Any, _request: Request[None, NoQuery]) -> Answer:
    raise RuntimeError("a fault with a secret in it")


async def answer_cut(_plane: Any, _request: Request[None, NoQuery]) -> Answer:
    async def parts() -> Any:
        yield b"first"
        raise OSError("the disk is gone")

    return Answer(200, (), stream=parts())


ODD_ROUTES = (
    Route("GET", "/late", answer_late, Action.SELF_READ, Echo),
    Route("GET", "/never", answer_never, None, Echo),
    Route("GET", "/cut", answer_cut, None, Media.BYTES),
)


async def ask(path: str) -> httpx.Response:
    application = application_create(
        PlaneOfOne(), WebSettings(request_timeout_s=0.01, access_log_flush_s=0), ODD_ROUTES
    )
    transport = httpx.ASGITransport(application)
    async with httpx.AsyncClient(transport=transport, base_url="http://plane") as client:
        answer = await client.get(path, headers={"Authorization": "Bearer tok"})
        application.stop()
        return answer


def test_a_request_that_takes_too_long_is_503() -> None:
    answer = asyncio.run(ask("/late"))
    problem(answer, 503, "timed_out")
    assert answer.headers["retry-after"] == "1"


def test_a_fault_is_500_and_tells_nothing_but_the_request_id(caplog: pytest.LogCaptureFixture) -> None:
    answer = asyncio.run(ask("/never"))
    assert "secret" not in answer.text
    found = problem(answer, 500, "failed")
    (record,) = (record for record in caplog.records if record.name == "kumoi.web")
    assert found["request_id"] in record.getMessage()
    assert record.exc_info is not None


def test_a_stream_that_fails_is_cut_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        asyncio.run(ask("/cut"))
    assert any("cut short" in record.getMessage() for record in caplog.records)


def test_log_lines_name_the_route_and_never_what_was_asked(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    secret_path = f"/v1/projects/{world.acme.project}/jobs?cursor=private"
    with caplog.at_level(logging.INFO, logger="kumoi.access"):
        answer = world.api(world.acme.admin, "GET", secret_path)
        world.api(None, "GET", "/nowhere/private")
        world.api.application._access_log.flush()
    lines = [
        json.loads(line)
        for record in caplog.records
        if record.name == "kumoi.access"
        for line in record.getMessage().splitlines()
    ]
    line = next(line for line in lines if line["request_id"] == answer.headers["kumoi-request-id"])
    assert line["route"] == "/v1/projects/{project}/jobs"
    assert line["method"] == "GET"
    assert line["status"] == 422
    assert line["actor"] == world.acme.principals["admin"]
    assert line["ms"] >= 0
    assert any(line["route"] == "-" and line["status"] == 404 for line in lines)
    text = json.dumps(lines)
    for hidden in ("private", world.acme.admin, world.acme.project):
        assert hidden not in text


def test_log_batches_are_written_when_full(caplog: pytest.LogCaptureFixture) -> None:
    async def many() -> None:
        log = AccessLog(60.0)
        for number in range(2_500):
            log.add("GET", "/", 200, 0.001, str(number), None)
        log.flush()

    with caplog.at_level(logging.INFO, logger="kumoi.access"):
        asyncio.run(many())
    sizes = [len(record.getMessage().splitlines()) for record in caplog.records]
    assert sizes == [1_000, 1_000, 500]
