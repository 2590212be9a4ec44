"""Tries: by hand for the rules, over real sockets for what they are good for."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import fake_rows as rows
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kumoi.client import AsyncKumoi, Kumoi, retries
from kumoi.client.errors import (
    AuthenticationError,
    ConflictError,
    KumoiAPIError,
    NotFoundError,
    TooManyError,
    UnavailableError,
    Unreachable,
    WaitTimeout,
)
from kumoi.client.flows import Answer, Pause, Request
from kumoi.client.retries import KEY_HEADER, Patience, exchange
from kumoi.model.jobs import JobSpec

SPEC = JobSpec(("true",))
POST = Request("POST", "/v1/jobs")
GET = Request("GET", "/v1/jobs")


def key_of(request):
    return dict(request.headers).get(KEY_HEADER)


def answer(status, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(GET, status, named, b"")


def drive(flow, outcomes):
    """Perform `flow` with one outcome per try; the requests, the delays and the result or error."""
    requests, delays = [], []
    left = list(outcomes)
    effect = next(flow)
    while True:
        try:
            if isinstance(effect, Pause):
                delays.append(effect.delay_s)
                effect = flow.send(None)
                continue
            requests.append(effect)
            outcome = left.pop(0)
            effect = flow.throw(outcome) if isinstance(outcome, Exception) else flow.send(outcome)
        except StopIteration as stop:
            return requests, delays, stop.value
        except Exception as error:
            return requests, delays, error


def lost():
    return Unreachable("http://plane", "reset")


def test_every_try_of_a_post_is_the_same_request():
    requests, delays, result = drive(exchange(POST), [lost(), answer(503), lost(), answer(201)])
    assert result.status == 201
    assert len(delays) == 3
    assert len({key_of(request) for request in requests}) == 1
    assert key_of(requests[0])


def test_two_posts_are_two_requests():
    first, second = (drive(exchange(POST), [answer(201)])[0][0] for _ in range(2))
    assert key_of(first) != key_of(second)
    assert key_of(drive(exchange(GET), [answer(200)])[0][0]) is None


def test_a_key_that_is_given_is_used():
    keyed = Request("POST", "/v1/jobs", (), ((KEY_HEADER, "mine"),))
    assert key_of(drive(exchange(keyed), [answer(200)])[0][0]) == "mine"


def test_tries_end_and_the_error_says_how_many_there_were():
    requests, delays, error = drive(exchange(POST), [lost() for _ in range(9)])
    assert (len(requests), len(delays)) == (5, 4)
    assert isinstance(error, Unreachable)
    assert error.tries == 5
    assert "http://plane" in str(error)


@given(st.integers(1, 30))
def test_delays_double_within_bounds(number):
    full = min(16.0, 0.5 * 2 ** (number - 1))
    assert full / 2 <= Patience().delay_s(number) <= full


def test_no_try_begins_after_the_time_is_over():
    now = iter([0.0, 59.9, 61.0])
    requests, delays, error = drive(exchange(POST, clock_s=lambda: next(now)), [lost(), lost()])
    assert (len(requests), delays) == (1, [])
    assert isinstance(error, Unreachable)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status):
    _, delays, result = drive(exchange(GET), [answer(status, retry_after="7"), answer(200)])
    assert result.status == 200
    assert 7 <= delays[0] <= 7.5


def test_retry_after_as_a_date():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    _, delays, _ = drive(exchange(GET), [answer(503, retry_after=soon), answer(200)])
    assert 20 <= delays[0] <= 30.5


def test_a_longer_retry_after_than_there_is_time_is_not_waited_for():
    _, delays, error = drive(exchange(GET), [answer(503, retry_after="3600")])
    assert delays == []
    assert isinstance(error, UnavailableError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationError), (409, ConflictError), (429, TooManyError), (500, KumoiAPIError)],
)
def test_what_time_does_not_mend_is_not_tried_again(status, kind):
    requests, _, error = drive(exchange(GET), [answer(status)])
    assert len(requests) == 1
    assert type(error) is kind


def test_a_refused_certificate_is_not_tried_again():
    refused = Unreachable("https://plane", "certificate", permanent=True)
    requests, _, error = drive(exchange(GET), [refused])
    assert len(requests) == 1
    assert isinstance(error, Unreachable)


def test_not_now_ends_sooner_than_no_answer():
    patience = Patience(tries=50, busy_tries=2)
    requests, _, error = drive(
        exchange(GET, patience), [lost(), answer(503), lost(), answer(503), answer(200)]
    )
    assert len(requests) == 4
    assert isinstance(error, UnavailableError)


def test_a_delete_whose_answer_was_lost_is_done():
    gone = Request("DELETE", "/v1/x")
    assert drive(exchange(gone), [lost(), answer(404)])[2].status == 204
    assert isinstance(drive(exchange(gone), [answer(404)])[2], NotFoundError)
    assert isinstance(drive(exchange(GET), [lost(), answer(404)])[2], NotFoundError)


@pytest.fixture
def at_once(monkeypatch):
    """Tries that follow each other without delay."""

    class Low:
        def uniform(self, low, high):
            return 0.0

    monkeypatch.setattr(retries, "_random", Low())


def create_sync(url):
    with Kumoi(url, rows.TOKEN) as client:
        return client.jobs.create(rows.PROJECT, SPEC)


def create_async(url):
    async def inside():
        async with AsyncKumoi(url, rows.TOKEN) as client:
            return await client.jobs.create(rows.PROJECT, SPEC)

    return asyncio.run(inside())


create_each = pytest.mark.parametrize("create", [create_sync, create_async], ids=["sync", "async"])


@create_each
@pytest.mark.parametrize(
    "faults", [["lose"], ["drop"], ["cut"], ["lose", "lose", "cut", "lose"], ["503", "lose", "429", "502"]]
)
def test_a_job_is_created_once_whatever_happens_to_the_connection(running, plane, at_once, create, faults):
    plane.faults.extend(faults)
    made = create(running.url)
    assert list(plane.jobs) == [made.id]
    assert len(plane.asked) == len(faults) + 1
    assert len({asked.headers["idempotency-key"] for asked in plane.asked}) == 1


@create_each
def test_a_plane_that_restarts_is_waited_for(running, plane, create):
    running.stop()
    threading.Timer(0.3, running.start).start()
    made = create(running.url)
    assert list(plane.jobs) == [made.id]


@create_each
def test_nobody_there_is_said(running, at_once, create):
    running.stop()
    with pytest.raises(Unreachable, match="tried 5 times"):
        create(running.url)


def test_a_download_that_is_cut_starts_again(running, plane, at_once, tmp_path):
    plane.files["big"] = b"x" * 300_000
    plane.faults.extend(["cut", "cut"])
    target = tmp_path / "big"
    with Kumoi(running.url, rows.TOKEN) as client:
        assert client.files.save(rows.PROJECT, "big", target) == 300_000
        assert target.read_bytes() == plane.files["big"]
        plane.faults.append("cut")
        with pytest.raises(Unreachable):
            list(client.files.stream(rows.PROJECT, "big"))
    assert list(tmp_path.iterdir()) == [target]


def test_a_download_that_fails_leaves_what_was_there(running, plane, at_once, tmp_path):
    plane.files["big"] = b"x" * 1000
    plane.faults.extend(["cut"] * 5)
    target = tmp_path / "big"
    target.write_bytes(b"before")
    with Kumoi(running.url, rows.TOKEN) as client, pytest.raises(Unreachable):
        client.files.save(rows.PROJECT, "big", target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_waiting_outlasts_a_restart_and_ends_in_time(running, plane, at_once):
    plane.polls_to_end = 10**9
    job = plane.job_add(SPEC).id
    with Kumoi(running.url, rows.TOKEN) as client:
        plane.faults.extend(["drop"] * 8)
        with pytest.raises(WaitTimeout, match="pending"):
            client.jobs.wait(job, timeout_s=0.3)
