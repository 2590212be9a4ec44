"""A region with encrypted volumes: jobs run, the plane is killed, gocryptfs is killed, the region ends."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from store_pages import bytes_of
from volume_places import volumes_end

from demo.region import Region
from kumoi.client.clients import Kumoi
from kumoi.model.jobs import JobSpec
from kumoi.store.volumes import layout
from kumoi.store.volumes.gocryptfs import Gocryptfs

CANARY = "canary-of-a-tenant"
PATIENCE_S = 60.0
WAITS = f'cat in; echo "{CANARY}-out"; while [ ! -e go ]; do sleep 0.05; done; cat in; echo "{CANARY}-end"'


def wait(ready: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not ready():
        assert time.monotonic() < end_s, f"waited too long for {what}"
        threading.Event().wait(0.05)


class Tenant:
    """An organization with a project in a region."""

    def __init__(self, region: Region) -> None:
        self.region = region
        with Kumoi(region.url, region.operator_token()) as operator:
            made = operator.organizations.create("acme")
            wait(lambda: any(host.state == "schedulable" for host in operator.hosts.list()), "a host")
        self.id = made.organization.id
        self.client = Kumoi(region.url, made.admin_token)
        self.project = self.client.projects.create("acme", "apollo").id
        self.place = region.data_dir / "objects" / self.id

    def submit(self, script: str) -> str:
        return self.client.jobs.create(self.project, JobSpec(command=("sh", "-c", script))).id

    def close(self) -> None:
        self.client.close()

    def log(self, job: str) -> str:
        return b"".join(part.data for part in self.client.jobs.logs(job)).decode()

    def pids(self) -> list[int]:
        return list(Gocryptfs().processes(self.region.data_dir / "volumes" / self.id))

    def put(self, name: str, content: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            self.client.files.put(self.project, name, Path(file.name))


@pytest.fixture
def region() -> Iterator[Region]:
    """A directory with a short name, since Unix sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="kumoi-v-", dir="/tmp") as made:
        found = Region(Path(made))
        if found.plain_why:
            pytest.skip(found.plain_why)
        found.start()
        try:
            yield found
        finally:
            found.end()
            volumes_end(Path(made))


@pytest.fixture
def tenant(region: Region) -> Iterator[Tenant]:
    made = Tenant(region)
    yield made
    made.close()


def on_disk(data_dir: Path) -> Iterator[Path]:
    """Everything in the data directory but what is mounted."""
    for directory, names, files in os.walk(data_dir):
        names[:] = [name for name in names if not Path(directory, name).is_mount() or name == "objects"]
        yield from (Path(directory, name) for name in (*names, *files))


def test_a_region_keeps_what_tasks_write_encrypted_through_every_end(region: Region, tenant: Tenant) -> None:
    tenant.put("in", f"{CANARY}-file\n".encode())
    job = tenant.submit(WAITS)
    wait(lambda: f"{CANARY}-out" in tenant.log(job), "its output")
    (pid,) = tenant.pids()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert [line.split()[4:6] for line in limits.splitlines() if "core" in line] == [["0", "0"]]

    region.kill()
    assert tenant.pids() == [pid], "the volume outlives the plane, for its tasks"
    region.start()
    assert f"{CANARY}-file" in tenant.log(job)
    region.stop()
    assert tenant.pids() == [pid], "and a plane that was stopped while they run"
    region.start()

    for path in on_disk(region.data_dir):
        assert CANARY not in path.name
        assert not path.is_file() or CANARY.encode() not in bytes_of(path), path
    tenant.put("go", b"")
    wait(lambda: tenant.client.jobs.get(job).state == "succeeded", "its end")
    assert tenant.log(job) == f"{CANARY}-file\n{CANARY}-out\n{CANARY}-file\n{CANARY}-end\n"

    region.stop()
    assert layout.mounts_below(region.data_dir) == {}
    wait(lambda: not tenant.pids(), "gocryptfs to end")
    assert list(tenant.place.iterdir()) == []


def test_gocryptfs_killed_under_work_is_told_and_replaced(tenant: Tenant) -> None:
    tenant.put("in", b"content\n")
    job = tenant.submit("echo begun; while cat in >/dev/null 2>&1; do sleep 0.05; done; echo lost; exit 9")
    wait(lambda: "begun" in tenant.log(job), "its output")
    (pid,) = tenant.pids()
    os.kill(pid, signal.SIGKILL)
    wait(lambda: tenant.client.jobs.get(job).state == "failed", "its end")
    (task,) = tenant.client.jobs.tasks(job)
    (record,) = (tenant.region.data_dir / "tasks").glob(f".*/{task.attempts[-1].id}")
    assert "log cut: Transport endpoint is not connected" in record.read_text()
    again = tenant.submit("cat in")
    wait(lambda: tenant.client.jobs.get(again).state == "succeeded", "the next job")
    assert tenant.log(again) == "content\n"
    assert tenant.log(job) == "begun\n"
    assert pid not in tenant.pids()


def test_a_plane_refuses_to_hide_what_is_not_encrypted(tmp_path: Path) -> None:
    plain = tmp_path / "objects" / "org_1" / "projects"
    plain.mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "kumoi.main",
        "up",
        "--data-dir",
        str(tmp_path),
        "--listen",
        "127.0.0.1:1",
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 1
    assert f"kumoi up: {plain.parent} holds files that are not encrypted" in ran.stderr
    assert "or set volume_encryption=false" in ran.stderr
    assert plain.is_dir()
    assert layout.mounts_below(tmp_path) == {}
