"""The quickstart on a real region: a plane of its own process, real files, real jobs, the real log."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from kumoi.client import Kumoi
from kumoi.main.memory_place import memory_place

READY_S = 30


@dataclass
class Region:
    """A region that `kumoi up` runs. Killed and started again it keeps its port and its data."""

    data: Path
    port: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["up", "--data-dir", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        arguments += ["--gateway-listen", "127.0.0.1:0"]
        with (self.data.parent / "plane.log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from kumoi.main import main; main()",
                    *arguments,
                    "--log-interval-s",
                    "0.2",
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"KUMOI_VOLUME_ENCRYPTION": "no"},
                start_new_session=True,
            )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert "is ready" in first, first

    def stop(self, number: int = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(timeout=READY_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def gateway(self) -> dict[str, Any]:
        """What the gateway says of itself, while there is one: its process outlives the plane."""
        place = self.data / "run" / "gateway.json"
        return dict(json.loads(place.read_text())) if place.exists() else {}


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Region]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Region(tmp_path_factory.mktemp("region") / "data", port)
    found.start()
    yield found
    found.stop()
    with contextlib.suppress(ProcessLookupError, KeyError):
        os.kill(found.gateway["pid"], signal.SIGTERM)
    shutil.rmtree(memory_place(found.data), ignore_errors=True)


@pytest.fixture
def tenant(region, kumoi):
    """Logged in as the administrator of an organization with a project."""
    name = f"t-{uuid.uuid4().hex}"
    ran = kumoi("login", "--url", region.url, "--token-file", region.data / "admin.token")
    assert ran.code == 0, ran.err
    token = kumoi("org", "create", name, "--json").json["admin_token"]
    assert kumoi("login", "--url", region.url, "--token", "-", stdin=token + "\n").code == 0
    assert kumoi("project", "create", "genome").code == 0
    assert kumoi("project", "use", "genome").code == 0
    return token


@pytest.fixture
def running_jobs(region, tenant):
    """Skips where this machine runs no jobs."""
    with Kumoi(region.url, (region.data / "admin.token").read_text().strip()) as client:
        if not any(host.state == "schedulable" for host in client.hosts.list()):
            pytest.skip("this machine has no engine that runs jobs (bubblewrap is missing or not allowed)")


def test_secrets_files_and_records_without_any_job(kumoi, tenant, region, tmp_path):
    assert kumoi("secret", "put", "key", stdin=b"v").code == 0
    assert kumoi("secret", "rm", "key").code == 0
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b 雲.csv").write_bytes(b"1,2\n")
    assert kumoi("file", "put", tmp_path / "in", "data").code == 0
    assert kumoi("file", "get", "data/a b 雲.csv", "-").out == "1,2\n"
    assert kumoi("file", "rm", "data/a b 雲.csv").code == 0
    assert kumoi("usage").code == 0
    actions = [line[1] for line in kumoi("event", "list").lines]
    assert actions[:2] == ["file_delete", "file_write"]
    assert kumoi("host", "list").code == 1
    assert kumoi("job", "show", "job_" + "0" * 26).code == 5


def test_the_log_verifies_and_a_tampered_mirror_does_not(kumoi, tenant, tmp_path):
    event = kumoi("event", "list", "--limit", 1, "--json").json["items"][0]["id"]
    receipt, mirror = tmp_path / "receipt", tmp_path / "mirror"
    assert kumoi("log", "receipt", event, "-o", receipt).code == 0
    vkey = kumoi("log", "vkey").out.strip()
    assert kumoi("log", "verify", "--vkey", vkey, "--receipt", receipt).code == 0
    assert kumoi("log", "mirror", mirror, "--vkey", vkey).code == 0
    ran = kumoi("log", "verify", "--dir", mirror, "--vkey", vkey, "--receipt", receipt, "--json")
    assert ran.json["receipts"][0]["id"] == event
    tile = next(path for path in (mirror / "tile" / "entries").rglob("*") if path.is_file())
    tile.write_bytes(tile.read_bytes()[::-1])
    assert kumoi("log", "verify", "--dir", mirror, "--vkey", vkey).code == 8


def test_the_quickstart(kumoi, tenant, running_jobs, region, tmp_path):
    ran = kumoi("job", "run", "--", "sh", "-c", "echo hello; echo careful >&2")
    assert (ran.code, ran.out) == (0, "hello\n")
    assert "careful\n" in ran.err
    (tmp_path / "a.csv").write_text("1\n2\n")
    kumoi("file", "put", tmp_path / "a.csv", "input/a.csv")
    assert kumoi("job", "run", "--", "sh", "-c", "wc -l input/*.csv > totals.txt").code == 0
    assert kumoi("file", "get", "totals.txt", "-").out.split() == ["2", "input/a.csv"]
    kumoi("secret", "put", "registry-key", stdin=b"12345")
    ran = kumoi(
        "job", "run", "--secret", "API_KEY=registry-key", "--", "sh", "-c", "wc -c < /run/secrets/API_KEY"
    )
    assert ran.out.strip() == "5"
    shards = kumoi("job", "submit", "--name", "shards", "--array", 3, "--", "true").out.strip()
    merge = kumoi("job", "submit", "--after", shards, "--", "false").out.strip()
    assert kumoi("job", "wait", merge, "--timeout", "60").code == 7
    assert len(kumoi("job", "tasks", shards).lines) == 3
    placed = kumoi("job", "why", shards, "--json").json["placements"][0]
    assert placed["best"]
    saved = tmp_path / "plan.json"
    operator = ("--token-file", region.data / "admin.token")
    assert kumoi(*operator, "replay", placed["plan"], "--save", saved).code == 0
    again = kumoi("replay", saved, "--json")
    assert again.code == 0, again.err
    assert again.json["same"] is True
    saved.write_text(saved.read_text().replace(placed["host"], "host_" + "0" * 26))
    assert kumoi("replay", saved).code == 8
    assert kumoi("replay", placed["plan"]).code == 1, "tenants may not see other organizations' work"


def test_a_service_serves_sleeps_wakes_and_survives_a_broken_revision(
    kumoi, tenant, running_jobs, region, tmp_path
):
    wait = ("--wait", "--timeout", "60")
    serve = ("python3", "-m", "http.server", "8080")
    made = kumoi("service", "create", "--name", "web", "--port", 8080, "--max", 2, *wait, "--", *serve)
    assert made.code == 0, made.err
    path = kumoi("service", "show", "web", "--json").json["url_path"]
    url = f"http://{region.gateway['listen']}{path}/"
    assert httpx.get(url, timeout=60).status_code == 200
    ran = kumoi("service", "update", "web", *wait, "--", "sh", "-c", "echo broken; exit 3")
    assert ran.code == 7
    assert "exit code 3" in ran.err
    assert httpx.get(url, timeout=60).status_code == 200
    assert "broken" in kumoi("service", "logs", "web", "--replica", replica_of(kumoi, 2)).out
    assert [line[:2] for line in kumoi("service", "revisions", "web").lines] == [
        ["2", "failed"],
        ["1", "serving"],
    ]
    step = kumoi("service", "why", "web", "--json").json["steps"][-1]
    assert kumoi("replay", step["plan"], "--json").json["same"] is True
    assert kumoi("job", "list").lines == []
    assert kumoi("service", "delete", "web").code == 0
    followed = kumoi("service", "show", made.out.strip(), "--follow")
    assert followed.lines[-1][1] == "deleted"


def replica_of(kumoi, revision: int) -> str:
    """A replica of a revision that has ended."""
    for line in kumoi("service", "replicas", "web").lines:
        if line[1:3] == [str(revision), "ended"]:
            return line[0]
    raise AssertionError(f"no replica of revision {revision} has ended")


def test_retried_attempts_are_followed_to_the_last(kumoi, tenant, running_jobs):
    ran = kumoi("job", "run", "--retries", 2, "--retry-on", "exit_code", "--", "sh", "-c", "echo try; exit 3")
    assert (ran.code, ran.out) == (7, "try\n" * 3)
    assert "exited 3, attempt 3" in ran.err


def test_a_job_is_followed_over_kill_9_of_the_plane(kumoi, tenant, running_jobs, region, tmp_path):
    script = "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.25; done"
    process = subprocess.Popen(
        [sys.executable, "-c", "from kumoi.main import main; main()", "job", "run", "--", "sh", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    region.stop(signal.SIGKILL)
    region.start()
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert rest.split() == ["2", "3", "4", "5", "6", "7", "8"]
