"""Exit codes: the documented table is the code's, and each code is reached by what it is for."""

import json
import re
from pathlib import Path

import click
import fake_rows as rows
import pytest

from kumoi.cli import failures
from kumoi.cli.command import Globals
from kumoi.cli.exits import Exit
from kumoi.client import errors
from kumoi.client.errors import ClientError, KumoiAPIError
from kumoi.ledger.errors import LedgerError
from kumoi.model.jobs import JobSpec

PAGE = Path(__file__).parents[2] / "docs" / "tenant" / "cli.md"


def test_the_documented_table_is_the_table_of_the_code():
    text = PAGE.read_text("utf-8")
    rows_found = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| .{10,} \|$", text, re.MULTILINE)
    assert {(int(code), name) for code, name in rows_found} == {(int(code), code.name) for code in Exit}


def test_every_expected_error_has_a_code():
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ClientError)
    ]
    assert len(kinds) > 15
    for kind in {*kinds, LedgerError} - {ClientError}:
        assert any(issubclass(kind, known) for known, _ in failures.EXITS), kind


def test_ok(kumoi, logged_in):
    assert kumoi("whoami").code == Exit.OK


def test_refused(kumoi, logged_in, monkeypatch):
    monkeypatch.setenv("KUMOI_PROJECT", rows.PROJECT)
    ran = kumoi("file", "put", "/dev/null/none")
    assert ran.code == Exit.USAGE
    ran = kumoi("log", "receipt", rows.id_make("evt"), "-o", "/nonexistent/x")
    assert ran.code == Exit.REFUSED
    assert "/nonexistent/x" in ran.err


def test_unreachable(kumoi, running, logged_in, at_once):
    running.stop()
    ran = kumoi("whoami")
    assert ran.code == Exit.UNREACHABLE
    assert running.url in ran.err
    assert "kumoi up" in ran.err


@pytest.mark.parametrize("url", ["plane", "http://a\u200bb", "ftp://plane"])
def test_a_url_that_is_none_is_a_usage_error(kumoi, logged_in, url):
    ran = kumoi("whoami", "--url", url)
    assert ran.code == Exit.USAGE
    assert "write it like" in ran.err


def test_authentication(kumoi, logged_in, monkeypatch):
    monkeypatch.setenv("KUMOI_TOKEN", "kumoi_wrong")
    ran = kumoi("whoami")
    assert ran.code == Exit.AUTHENTICATION
    assert "kumoi login" in ran.err
    assert "kumoi_wrong" not in ran.err
    monkeypatch.delenv("KUMOI_TOKEN")
    ran = kumoi("whoami")
    assert ran.code == Exit.AUTHENTICATION
    assert "kumoi login" in ran.err


def test_not_found_says_what_where_and_which_request(kumoi, logged_in):
    ran = kumoi("job", "show", "job_x")
    assert ran.code == Exit.NOT_FOUND
    assert ran.err.splitlines() == [
        "kumoi: refused (404 not_found): there is no job_x, or you may not see it; check the name",
        "  request: req-1",
    ]
    assert ran.out == ""


def test_errors_are_json_where_json_is_asked_for(kumoi, logged_in):
    ran = kumoi("job", "show", "job_x", "--json")
    error = json.loads(ran.err)["error"]
    assert (ran.code, ran.out) == (Exit.NOT_FOUND, "")
    assert (error["exit_code"], error["code"], error["request_id"]) == (5, "not_found", "req-1")


def test_conflict(kumoi, logged_in):
    assert kumoi("org", "suspend", "acme").code == Exit.OK
    ran = kumoi("org", "suspend", "acme")
    assert ran.code == Exit.CONFLICT
    assert "suspended already" in ran.err


def test_job_failed(kumoi, plane, logged_in):
    plane.outcome = ("failed", 3)
    assert kumoi("job", "run", "--", "false").code == Exit.JOB_FAILED


def test_timeout(kumoi, plane, logged_in):
    plane.polls_to_end = 10**9
    job = plane.job_add(JobSpec(("true",))).id
    ran = kumoi("job", "wait", job, "--timeout", "0.2")
    assert ran.code == Exit.TIMEOUT
    assert "kumoi job why" in ran.err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, click.Abort])
def test_interrupted(kumoi, logged_in, monkeypatch, interruption):
    def interrupt(*_: object) -> None:
        raise interruption

    monkeypatch.setattr("kumoi.cli.jobs.job_follow", interrupt)
    ran = kumoi("job", "run", "--", "sleep", "9")
    assert ran.code == Exit.INTERRUPTED
    if interruption is KeyboardInterrupt:
        assert "kumoi job cancel job_" in ran.err


def test_a_fault_of_ours_keeps_its_traceback(kumoi, logged_in, monkeypatch):
    monkeypatch.setattr("kumoi.cli.session.Session.organization", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kumoi("org", "show")
    assert failures.failure_from(ZeroDivisionError(), Globals()) is None
    assert failures.failure_from(BrokenPipeError(32, "Broken pipe"), Globals()) is None
    assert isinstance(
        failures.failure_from(KumoiAPIError(500, "x", "t", "d", None, None), Globals()), failures.Failure
    )
