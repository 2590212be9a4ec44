"""What a tenant runs in a container stands in no file of the region: searched byte by byte, as it runs."""

import json
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from volume_places import volumes_end
from witnessed_region import Plane, job_await

from kumoi.client.clients import Kumoi
from kumoi.engines.base import EngineUnavailable
from kumoi.engines.podman.groups import groups_find
from kumoi.model.jobs import JobSpec

WAIT_S = 60
CAN_ENCRYPT = shutil.which("gocryptfs") is not None and Path("/dev/fuse").exists()


def holding(directory: Path, *values: str) -> list[str]:
    """The files below a directory in which any of the values stands."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(value.encode() in path.read_bytes() for value in values)]


def hand(data_dir: Path, *words: str) -> str:
    """podman as docs/engines/podman.md tells an operator to call it by hand."""
    place = data_dir / "podman/containers"
    named = {
        "CONTAINERS_CONF": str(place / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(place / "storage.conf"),
    }
    done = subprocess.run(
        ["podman", *words], env=os.environ | named, check=True, capture_output=True, text=True, timeout=WAIT_S
    )
    return done.stdout


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A region that runs containers."""
    missing = [
        name for name in ("podman", "runc", "conmon", "catatonit", "busybox") if not shutil.which(name)
    ]
    if os.getuid() != 0 or missing:
        pytest.skip(f"containers need root and {', '.join(missing) or 'no more'}")
    try:
        groups_find("trial")
    except EngineUnavailable as error:
        pytest.skip(str(error))
    sealing = {"KUMOI_VOLUME_ENCRYPTION": "yes" if CAN_ENCRYPT else "no"}
    opened = Plane(tmp_path / "data", os.urandom(32), KUMOI_PODMAN="yes", **sealing)
    yield opened
    opened.end()
    volumes_end(opened.data_dir)


def image_load(plane: Plane, directory: Path) -> str:
    """An image that holds only busybox, loaded by hand; its name by digest."""
    archive = directory / "image.tar"
    with tarfile.open(archive, "w") as image:
        image.add(str(shutil.which("busybox")), "bin/busybox")
        link = tarfile.TarInfo("bin/sh")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        image.addfile(link)
    hand(plane.data_dir, "import", "--quiet", str(archive), "localhost/app:one")
    (listed,) = json.loads(hand(plane.data_dir, "images", "--digests", "--format", "json"))
    return str(listed["RepoDigests"][0])


def test_what_a_container_runs_stands_in_no_file(plane: Plane, tmp_path: Path) -> None:
    made = plane.kumoi(*("pool", "create", "web", "--site", "site-1", "--engine", "podman"))
    assert made.returncode == 0, made.stderr
    image = image_load(plane, tmp_path)
    plane.end()
    plane.start()  # as it starts it sees at once which of its hosts have a pool
    command, setting, project_name, job_name = (f"x{secrets.token_hex(16)}" for _ in range(4))
    with Kumoi(plane.url, plane.tenant()) as client:
        project = client.projects.create(client.whoami().organization, project_name).id
        line = f"while :; do busybox sleep 1; done; {command}"
        spec = JobSpec(("/bin/sh", "-c", line), job_name, {"SETTING": setting}, image=image, pool="web")
        job = client.jobs.create(project, spec).id
        job_await(client, job)
        below = plane.data_dir / "podman"
        assert holding(plane.data_dir, command, setting) == []
        assert holding(below, project_name, job_name) == []
        plane.kill()
        assert holding(plane.data_dir, command, setting) == []
        plane.start()
        assert client.jobs.get(job).spec.command == spec.command
        client.jobs.cancel(job)
        client.jobs.wait(job, timeout_s=WAIT_S)
    plane.end()
    assert holding(plane.data_dir, command, setting) == []
    assert holding(below, project_name, job_name) == []
