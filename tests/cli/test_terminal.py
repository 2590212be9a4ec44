"""On a terminal: tables and colours; nothing of that in a pipe."""

import os
import pty
import subprocess
import sys

import fake_rows as rows
import pytest
from msgspec.structs import replace

from kumoi.model.services import RevisionSpec, ServiceSpec

RUN = [sys.executable, "-c", "from kumoi.cli.root import run; run()"]
pytestmark = pytest.mark.usefixtures("logged_in")


def on_terminal(*arguments: str) -> str:
    """What `kumoi` prints where standard output and error are a terminal of 120 columns."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "PYTHONWARNINGS": "error"}
    process = subprocess.Popen(
        [*RUN, *arguments], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    printed = bytearray()
    try:
        while chunk := os.read(master, 65_536):
            printed += chunk
    except OSError:
        pass  # Linux says EIO where the other end of a terminal was closed
    finally:
        os.close(master)
    assert process.wait(timeout=60) == 0, printed
    return printed.decode()


def test_lists_are_tables_with_titles_and_colours(plane):
    text = on_terminal("host", "list")
    assert "NAME" in text
    assert "8.0 GiB" in text
    assert "\x1b[32mschedulable\x1b[0m" in text


def test_details_are_aligned_and_json_is_indented(plane):
    assert "\x1b[1mname" in on_terminal("host", "show", "local")
    assert '"name": "local"' in on_terminal("host", "show", "local", "--json")


def test_progress_is_shown_while_files_move(plane, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.bin").write_bytes(bytes(100_000))
    text = on_terminal("file", "put", str(tmp_path), "data")
    assert "300.0/300.0 kB" in text
    assert sorted(plane.files) == ["data/0.bin", "data/1.bin", "data/2.bin"]


def test_a_job_array_shows_how_far_it_is(plane):
    text = on_terminal("job", "run", "--array", "4", "--name", "shards", "--", "true")
    assert "4/4" in text
    assert "shards succeeded" in text


def test_a_reader_that_goes_away_is_no_fault(plane):
    for number in range(300):
        plane.organizations.append(rows.organization_row(f"org-{number}", number + 2))
    process = subprocess.Popen(
        [*RUN, "org", "list", "--limit", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)


def test_a_service_is_drawn_again_until_it_is_deleted(plane):
    web = plane.services.add(ServiceSpec(RevisionSpec(8_080, ("serve",)), "web"))
    plane.services.steps = 9
    plane.services.rows[web.id] = replace(web, state="deleting", ready=3)
    text = on_terminal("service", "show", "web", "--follow")
    assert "web is deleting" in text
    assert "web is deleted" in text
    assert "requests for" in text
    assert "replicas ready" in text


def test_ids_of_replicas_stay_on_one_line(plane):
    web = plane.services.add(ServiceSpec(RevisionSpec(8_080, ("serve",)), "web"))
    reason = "it could not be started: " + "no such image " * 20
    replicas = tuple(replace(one, reason=reason) for one in plane.services._replicas())
    plane.services.rows[web.id] = replace(web, replicas=replicas)
    text = on_terminal("service", "show", "web")
    assert all(f"{one.id} " in text for one in replicas)
    assert "no such image no such image" not in text
    listed = on_terminal("service", "replicas", "web")
    assert all(f"{one.id} " in listed for one in plane.services._replicas())


def test_why_draws_what_was_decided(plane):
    plane.services.add(ServiceSpec(RevisionSpec(8_080, ("serve",)), "web"))
    text = on_terminal("service", "why", "web")
    assert "replicas: 3, unchanged since the last look" in text
    assert "08:00:02" in text
    assert "kumoi replay scl_" in text
