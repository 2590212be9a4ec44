"""Tasks and their logs."""

from typing import Any

import pytest

from kumoi.engines.base import Stream
from kumoi.model.jobs import AttemptOutcome


@pytest.fixture(scope="module")
def finished(world: Any) -> str:
    """A job of two tasks that wrote to both streams and ended."""
    job = str(world.job(array_size=2))

    def started() -> set[str]:
        tasks = world.api(world.acme.admin, "GET", f"/v1/jobs/{job}/tasks").json()["items"]
        attempts = {attempt["id"] for task in tasks for attempt in task["attempts"]}
        return attempts & set(world.engine.running())

    refs = world.wait(lambda: len(found := started()) == 2 and found)
    for ref in refs:
        world.engine.log_append(ref, Stream.STDOUT, "雲居\n".encode() * 10)
        world.engine.log_append(ref, Stream.STDERR, b"\xff\x00warning")
        world.engine.finish(ref)
    world.wait(lambda: world.api(world.acme.admin, "GET", f"/v1/jobs/{job}").json()["state"] == "succeeded")
    return job


def test_tasks_are_listed_by_index_with_their_attempts(world: Any, finished: str) -> None:
    path = f"/v1/jobs/{finished}/tasks"
    tasks = world.api(world.acme.tokens["viewer"], "GET", path).json()["items"]
    assert [task["index"] for task in tasks] == [0, 1]
    for task in tasks:
        (attempt,) = task["attempts"]
        assert attempt["outcome"] == AttemptOutcome.EXITED
        assert attempt["exit_code"] == 0
    first = world.api(world.acme.admin, "GET", path, params={"limit": 1}).json()
    rest = world.api(world.acme.admin, "GET", path, params={"cursor": first["next"]}).json()
    assert first["items"] + rest["items"] == tasks


def test_logs_are_bytes_read_on_from_an_offset(world: Any, finished: str) -> None:
    path = f"/v1/jobs/{finished}/tasks/0/log"
    whole = world.api(world.acme.admin, "GET", path)
    assert whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert whole.text == "雲居\n" * 10
    assert whole.headers["kumoi-next-offset"] == "70"
    assert whole.headers["kumoi-ended"] == "true"
    parts, offset = b"", 0
    for _ in range(100):
        part = world.api(world.acme.admin, "GET", path, params={"offset": offset, "limit": 9})
        parts += part.content
        assert int(part.headers["kumoi-next-offset"]) == offset + len(part.content)
        offset += len(part.content)
        if part.headers["kumoi-ended"] == "true":
            break
    assert parts == whole.content
    errors = world.api(world.acme.admin, "GET", path, params={"stream": "stderr", "attempt": 1})
    assert errors.content == b"\xff\x00warning"


@pytest.mark.parametrize(
    ("params", "at"),
    [
        ({"stream": "stdin"}, "stream"),
        ({"attempt": 0}, "attempt"),
        ({"attempt": "last"}, "attempt"),
        ({"offset": -1}, "offset"),
        ({"offset": 10**30}, "offset"),
        ({"limit": 0}, "limit"),
        ({"limit": (1 << 20) + 1}, "limit"),
        ({"follow": "true"}, "follow"),
    ],
)
def test_bad_parameters_are_refused(world: Any, finished: str, params: dict[str, Any], at: str) -> None:
    answer = world.api(world.acme.admin, "GET", f"/v1/jobs/{finished}/tasks/0/log", params=params)
    assert answer.status_code == 422
    assert answer.json()["at"] == at


@pytest.mark.parametrize("index", ["2", "9999", "10000", "-1", "01", "x", "99999999999999999999"])
def test_tasks_that_are_not_there_are_not_found(world: Any, finished: str, index: str) -> None:
    answer = world.api(world.acme.admin, "GET", f"/v1/jobs/{finished}/tasks/{index}/log")
    assert answer.status_code == 404


def test_attempts_that_are_not_there_are_not_found(world: Any, finished: str) -> None:
    answer = world.api(world.acme.admin, "GET", f"/v1/jobs/{finished}/tasks/0/log", params={"attempt": 2})
    assert answer.status_code == 404


def test_an_auditor_reads_no_logs(world: Any, finished: str) -> None:
    token = world.acme.tokens["auditor"]
    assert world.api(token, "GET", f"/v1/jobs/{finished}/tasks/0/log").status_code in (403, 404)
