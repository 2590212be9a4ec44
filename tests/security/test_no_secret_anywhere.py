"""A secret is where its task reads it and nowhere else: a running region, searched byte by byte."""

import base64
import contextlib
import os
import resource
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from store_pages import bytes_of
from volume_places import volumes_end
from witnessed_region import Plane, job_await

from kumoi.client.clients import Kumoi
from kumoi.client.errors import ClientError
from kumoi.engines.sandbox.ending import NOT_FOUND
from kumoi.model.jobs import JobSpec
from kumoi.model.services import RevisionSpec, ServiceSpec

WAIT_S = 60
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
CAN_ENCRYPT = shutil.which("gocryptfs") is not None and Path("/dev/fuse").exists()
SEALING = {"KUMOI_VOLUME_ENCRYPTION": "yes" if CAN_ENCRYPT else "no"}


def spellings(value: str) -> list[bytes]:
    """The value as it is, in hexadecimal, and in base64 wherever it may begin."""
    raw = value.encode()
    found = [raw, raw.hex().encode(), raw.hex().upper().encode(), raw[::-1]]
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        # The first and the last characters depend on what is beside the value.
        kept = encoded[4 if before else 0 :].rstrip(b"=")[:-1]
        found += [kept, kept.replace(b"+", b"-").replace(b"/", b"_")]
    return found


def holding(directory: Path, values: list[str]) -> list[str]:
    """The files below a directory in which any of the values stands, however it is spelled."""
    wanted = [spelled for value in values for spelled in spellings(value)]
    found = []
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with contextlib.suppress(OSError):
                content = bytes_of(path)
                found += [str(path) for one in wanted if one in content]
    return found


def outside_logs(found: list[str]) -> list[str]:
    """Without logs of tasks: what is written there about a command is its tenant's, in its volume."""
    return [path for path in found if "/logs/att_" not in path]


def seen_in_processes(values: list[str]) -> list[str]:
    """Command lines and environments of this machine's processes that show any of the values."""
    found = []
    for path in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            found += [str(path) for value in values for one in spellings(value) if one in content]
    return found


def descendants(root: int) -> list[int]:
    """The processes below one, which is the first."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


@pytest.fixture
def cores() -> Iterator[None]:
    """What is started from here on may leave cores."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A region in a directory where cores would be written."""
    monkeypatch.chdir(tmp_path)
    opened = Plane(tmp_path / "data", os.urandom(32), **SEALING)
    yield opened
    opened.end()
    volumes_end(opened.data_dir)


def test_a_secret_and_what_is_sealed_stand_nowhere(plane: Plane, tmp_path: Path) -> None:
    secret, command, setting, missing = (secrets.token_hex(20) for _ in range(4))
    token = plane.tenant()
    told: list[str] = []
    with Kumoi(plane.url, token) as client:
        organization = client.whoami().organization
        project = client.projects.create(organization, "apollo").id
        client.secrets.put(project, "password", secret.encode())
        failed = client.jobs.create(project, JobSpec((f"/bin/{missing}", "now"))).id
        ended = client.jobs.wait(failed, timeout_s=WAIT_S)
        (attempt,) = [one for task in client.jobs.tasks(failed) for one in task.attempts]
        assert attempt.exit_code == NOT_FOUND, (ended, attempt)
        line = f"read -r got </run/secrets/PASSWORD; exec sleep 300 # {command}"
        given, environment = {"PASSWORD": "password"}, {"SETTING": setting}
        spec = JobSpec(("/bin/sh", "-c", line), secrets=given, environment=environment)
        run = RevisionSpec(8_080, spec.command, environment=environment)
        service = client.services.create(project, ServiceSpec(run, "web"))
        assert service.spec.run == run
        job = client.jobs.create(project, spec).id
        job_await(client, job)
        assert client.services.get(service.id).spec.run == run
        assert seen_in_processes([secret]) == []
        assert holding(plane.data_dir, [secret, command, setting]) == []
        assert outside_logs(holding(plane.data_dir, [missing])) == []
        assert client.jobs.get(job).spec.command == spec.command
        for wrong in ({"value": secret + "!"}, {"value": secret, "other": secret}, secret):
            answer = put(plane, token, f"/v1/projects/{project}/secrets/password", wrong)
            assert secret not in answer
            told.append(answer)
        client.jobs.cancel(job)
        client.jobs.wait(job, timeout_s=WAIT_S)
        events = list(client.events.organization(organization))
        receipts = [client.log.receipt(event.id) for event in events if event.log_index is not None]
        for value in (secret, command, setting):
            assert value not in repr((events, receipts, told))
    plane.end()
    assert holding(tmp_path, [secret, command, setting]) == []
    assert outside_logs(holding(tmp_path, [missing])) == []


def put(plane: Plane, token: str, path: str, body: object) -> str:
    """What the plane answers to a PUT, whatever it is."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.put(plane.url + path, json=body, headers=headers, timeout=WAIT_S).text


def core_left(directory: Path) -> bytes:
    """The core that a process without protection leaves; skips the test where cores go elsewhere."""
    pattern = CORE_PATTERN.read_text().strip()
    if pattern.startswith(("|", "/")) or resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip(f"cores are not written where a process runs here (core_pattern {pattern})")
    directory.mkdir()
    died = subprocess.run(["/bin/sh", "-c", "kill -SEGV $$"], cwd=directory, timeout=WAIT_S, check=False)
    assert died.returncode == -signal.SIGSEGV
    (core,) = directory.iterdir()
    return core.read_bytes()


@pytest.mark.usefixtures("cores")
def test_what_dies_of_a_signal_leaves_no_core(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # Asked for here, so that what the plane starts may leave cores unless it prevents them itself.
    assert core_left(tmp_path / "unprotected").startswith(b"\x7fELF")
    plane: Plane = request.getfixturevalue("plane")
    secret = secrets.token_hex(20)
    with Kumoi(plane.url, plane.tenant()) as client:
        project = client.projects.create(client.whoami().organization, "apollo").id
        client.secrets.put(project, "password", secret.encode())
        spec = JobSpec(("/bin/sh", "-c", "exec sleep 300"), secrets={"PASSWORD": "password"})
        job_await(client, client.jobs.create(project, spec).id)
        below = descendants(plane.process.pid)
        places = {Path(f"/proc/{process}/cwd").readlink() for process in below}
        for process in reversed(below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSEGV if process % 2 else signal.SIGABRT)
        with contextlib.suppress(ClientError):
            client.health()
    plane.process.communicate(timeout=WAIT_S)
    assert plane.process.returncode < 0
    cores = [path for place in {*places, tmp_path} if place != Path("/") for path in place.glob("core*")]
    assert [path for path in cores if path.is_file() and secret.encode() in path.read_bytes()] == []
    assert list(tmp_path.glob("core*")) == []
    assert holding(tmp_path, [secret]) == []
