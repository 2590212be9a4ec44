"""What is read: open answers, refusals, and what is no answer of a plane at all."""

import fake_rows as rows
import httpx
import pytest

from kumoi.client import Kumoi, errors
from kumoi.client.answers import decode_json, error_from
from kumoi.client.drivers import Endpoint
from kumoi.client.errors import API_ERRORS, AnswerUnexpected, BadRequestError, KumoiAPIError, NotFoundError
from kumoi.client.flows import Answer, Request
from kumoi.client.requests import file_path, path
from kumoi.client.server_events import MAX_MESSAGE_BYTES, Message, MessageReader
from kumoi.model.errors import KumoiError
from kumoi.model.jobs import JobSpec, Resources

GET = Request("GET", "/v1/x")


def answering(status, body=b"", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.MockTransport(lambda request: httpx.Response(status, content=body, headers=named))


def test_fields_of_a_newer_plane_are_ignored_also_in_closed_structs():
    spec = decode_json(
        JobSpec,
        b'{"command":["a"],"new":1,"resources":{"cpu_milli":5,"new":[]},'
        b'"depends_on":[{"job":"b","new":{}}],"environment":{"new":"kept"}}',
        "a job",
    )
    assert spec.resources == Resources(cpu_milli=5)
    assert spec.depends_on[0].job == "b"
    assert spec.environment == {"new": "kept"}


@pytest.mark.parametrize("body", [b'{"command":[]}', b'{"command":7}', b"[]", b"{}", b"<html>", b"", b"\xff"])
def test_what_is_no_answer_of_a_plane_is_said(body):
    client = Kumoi("http://plane", transport=answering(200, body))
    with client, pytest.raises(AnswerUnexpected, match="GET /v1/whoami"):
        client.whoami()


def test_a_refusal_keeps_everything_that_finds_its_cause():
    with (
        Kumoi("http://plane", transport=_problem_transport()) as client,
        pytest.raises(NotFoundError) as found,
    ):
        client.jobs.get("job_x")
    error = found.value
    assert (error.status, error.code, error.title) == (404, "not_found", "No")
    assert error.request_id == "req-1"
    assert "check the name" in error.detail


def _problem_transport():
    made = rows.missing("job_x")
    return answering(made.status, made.body, content_type=made.kind)


@pytest.mark.parametrize(
    ("status", "title"), [(502, "Bad Gateway"), (413, "Request Entity Too Large"), (599, "")]
)
def test_a_refusal_by_something_before_the_plane(status, title):
    error = error_from(Answer(GET, status, {"kumoi-request-id": "r"}, b"<h1>no</h1>"))
    assert type(error) is API_ERRORS.get(status, KumoiAPIError)
    assert (error.code, error.detail, error.request_id) == (f"http_{status}", "<h1>no</h1>", "r")
    assert title in error.title or status == 599


def test_a_redirect_is_not_followed_with_a_token():
    client = Kumoi("http://plane", rows.TOKEN, transport=answering(307, location="http://evil/"))
    with client, pytest.raises(AnswerUnexpected, match="http://evil/"):
        client.whoami()


def test_the_tree_has_an_error_for_each_status_of_the_plane():
    statuses = {kind.status for kind in KumoiError.__subclasses__()} - {405, 500}
    assert statuses == set(API_ERRORS)
    named = {
        name for name in vars(errors) if name.endswith("Error") or name in {"Unreachable", "WaitTimeout"}
    }
    assert all(name in (errors.__doc__ or "") for name in named)
    assert issubclass(BadRequestError, KumoiAPIError)


@pytest.mark.parametrize("segment", ["", ".", ".."])
def test_a_segment_never_names_another_route(segment):
    with pytest.raises(ValueError, match="names no resource"):
        path("jobs", segment, "cancel")
    with pytest.raises(ValueError, match="not a file's path"):
        file_path("prj", f"a/{segment}/b")


def test_segments_are_quoted():
    assert path("jobs", "a/b?c#d") == "/v1/jobs/a%2Fb%3Fc%23d"
    assert file_path("p", "日本/a b%.csv") == "/v1/projects/p/files/%E6%97%A5%E6%9C%AC/a%20b%25.csv"


@pytest.mark.parametrize(
    "url", ["", "plane:8080", "ftp://plane", "http://", "http://a\u200bb", "http://[::1", "http://a:x"]
)
def test_a_url_must_be_one(url):
    with pytest.raises(ValueError, match="write it like"):
        Kumoi(url)


def test_the_token_is_not_shown_and_not_sent_to_the_public_log():
    assert rows.TOKEN not in repr(Endpoint("http://plane", rows.TOKEN, 1, "en"))
    seen = []

    def handle(request):
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200, content=b"x")

    with Kumoi("http://plane", rows.TOKEN, transport=httpx.MockTransport(handle)) as client:
        client.log.checkpoint()
        client.files.get(rows.PROJECT, "a")
        assert rows.TOKEN not in repr(client)
    assert seen == [None, f"Bearer {rows.TOKEN}"]


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "雲", "x" * 1001])
def test_a_token_that_no_header_can_carry_is_refused_unseen(token):
    with pytest.raises(ValueError, match="copy it again") as found:
        Kumoi("http://plane", token)
    assert token == "" or token not in str(found.value)


@pytest.mark.parametrize("at", ["../v1/whoami", "tile/../x", "tile/0/000?x", "http://evil/", ""])
def test_only_the_log_is_read_as_the_log(at):
    with (
        Kumoi("http://plane", transport=answering(200)) as client,
        pytest.raises(ValueError, match="path of the log"),
    ):
        client.log.read(at)


def test_server_sent_events_are_read_at_any_cut():
    text = ": hi\n\nid: 1\ndata: a\ndata:b\r\n\r\nevent: x\ndata\n\nid: 2\n\ndata: 雲\n\ndata: rest".encode()
    wanted = [Message("message", "a\nb", "1"), Message("x", "", "1"), Message("message", "雲", "2")]
    for cut in range(len(text)):
        reader = MessageReader()
        assert [*reader.feed(text[:cut]), *reader.feed(text[cut:])] == wanted, cut


def test_an_endless_message_is_refused():
    reader = MessageReader()
    line = b"data: " + b"x" * (MAX_MESSAGE_BYTES // 2) + b"\n"
    assert reader.feed(line) == reader.feed(line) == []
    with pytest.raises(AnswerUnexpected, match="more than"):
        reader.feed(line)
