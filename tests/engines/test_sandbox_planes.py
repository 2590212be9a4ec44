"""Attempts outlive the plane that started them, whoever it runs as."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import kumoi
from kumoi.engines.base import Phase
from kumoi.engines.sandbox import records

Sandbox = Any
BEGIN = """
import sys, time
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from kumoi.engines.base import AttemptSpec, Limits
from kumoi.engines.sandbox.engine import SandboxEngine
from kumoi.store.volumes.layout import layout_make
import os
place = Path(sys.argv[1], "files", "org_one")
place.mkdir(mode=0o711, parents=True, exist_ok=True)
layout_make(os.open(place, os.O_RDONLY))
engine = SandboxEngine(Path(sys.argv[1]), sys.argv[2], host_name="here")
def spec(ref, script, **changes):
    return AttemptSpec(ref=ref, organization_id="org_one", project_id="prj_one", project_number=1,
        command=("sh", "-c", script), environment={}, start_before_us=time.time_ns() // 1000 + 60_000_000,
        limits=Limits(cpu_milli=1000, memory_bytes=64 << 20, processes=32, wall_time_s=60), **changes)
"""
PLANE = (
    BEGIN
    + """
specs = [spec("att_a", "echo out; exit 3"), spec("att_b", "while [ ! -e go ]; do sleep 0.05; done")]
print(engine.ensure(specs))
print(engine.hosts()[0].detail, flush=True)
sys.stdin.read()
"""
)
SERVING = (
    BEGIN
    + """
from threading import Event
serve = "cd /tmp; echo mine >index.html; exec python3 -m http.server --bind 127.0.0.1 $PORT"
engine.ensure([spec("att_web", serve, port=8080)])
for _ in range(1000):
    found = engine.endpoints(["att_web"])
    if found:
        break
    Event().wait(0.02)
where = found["att_web"]
print(where.netns, where.userns, where.port, flush=True)
sys.stdin.read()
engine.stop(["att_web"], 0.0)
"""
)
JOIN = """
import ctypes, fcntl, http.client, os, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
network = os.open(sys.argv[1], os.O_RDONLY)
owner = fcntl.ioctl(network, 0xB701)  # NS_GET_USERNS
for namespace, kind in ((owner, 0x10000000), (network, 0x40000000)):
    if libc.setns(namespace, kind):
        sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
for _ in range(500):
    try:
        server = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]), timeout=5)
        server.request("GET", "/")
        sys.exit(server.getresponse().read().decode().strip())
    except ConnectionRefusedError:
        threading.Event().wait(0.02)
"""


USER = 54_321
AS_USER: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []}
PATHS = [str(Path(module.__file__ or "").parents[1]) for module in (kumoi, msgspec)]


def plane_start(
    sandbox: Sandbox, python: str = sys.executable, program: str = PLANE, **options: Any
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [python, "-B", "-c", program, str(sandbox.data_dir), sandbox.incarnation, *PATHS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def python_for(user: int) -> str:
    """An interpreter that `user` may run and that finds what the engine needs, or a skip."""
    program = f"import sys; sys.path[:0] = {PATHS!r}; import kumoi.model.jobs"
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [python, "-B", "-c", program], user=user, group=user, check=False, stderr=subprocess.DEVNULL
            )
        except OSError:
            continue
        if done.returncode == 0:
            return python
    pytest.skip("other users cannot read this checkout or its Python")


def test_attempts_survive_the_plane_and_are_found_by_the_next_one(sandbox: Sandbox) -> None:
    with plane_start(sandbox) as plane:
        assert plane.stdout is not None
        assert plane.stdout.readline() == "{'att_a': None, 'att_b': None}\n"
        plane.kill()
    assert {item.ref for item in sandbox.engine.observe(None, 10).items} == {"att_a", "att_b"}
    assert sandbox.settle("att_a")[0].exit.exit_code == 3
    assert sandbox.engine.observe("att_a", 10).items[0].phase is Phase.RUNNING
    (sandbox.data_dir / "files/org_one/projects/prj_one/go").touch()
    assert sandbox.settle("att_b")[0].exit.exit_code == 0


@pytest.fixture
def place(sandbox: Sandbox) -> Iterator[Path]:
    """A data directory that belongs to an ordinary user."""
    made = Path(f"/tmp/kumoi-test-{sandbox.incarnation}")
    made.mkdir(mode=0o700)
    os.chown(made, USER, USER)
    sandbox.data_dir = made
    yield made
    subprocess.run(["rm", "-rf", str(made)], check=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_has_sandboxes_too(sandbox: Sandbox, place: Path) -> None:
    with plane_start(sandbox, python_for(USER), **AS_USER) as plane:
        assert plane.stdout is not None
        assert plane.stdout.readline() == "{'att_a': None, 'att_b': None}\n"
        assert "no writable cgroups" in plane.stdout.readline()
        (forkserver,) = Path(f"/proc/{plane.pid}/task/{plane.pid}/children").read_text().split()
        hidden = Path(f"/proc/{forkserver}/environ").stat()
        assert hidden.st_uid == 0, "its user may look into the memory through which secrets pass"
        for ref, code in (("att_a", 3), ("att_b", 0)):
            sandbox.wait(lambda ref=ref: (place / "tasks/.ended" / ref).exists(), ref)
            (place / "files/org_one/projects/prj_one/go").touch()
            record = records.record_read(str(place / "tasks/.ended" / ref))
            assert record is not None
            assert record.exit is not None
            assert (record.exit["outcome"], record.exit["exit_code"]) == ("exited", code)
        assert plane.stdin is not None
        plane.stdin.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_users_replica_is_reached_through_the_owner_of_its_network(
    sandbox: Sandbox, place: Path
) -> None:
    python = python_for(USER)
    with plane_start(sandbox, python, SERVING, **AS_USER) as plane:
        assert plane.stdout is not None
        assert plane.stdin is not None
        netns, userns, port = plane.stdout.readline().split()
        assert (Path(netns).name, Path(userns).name) == ("net", "user")
        joined = subprocess.run(
            [python, "-c", JOIN, netns, port],
            check=False,
            timeout=30,
            capture_output=True,
            text=True,
            **AS_USER,
        )
        assert joined.stderr.strip() == "mine"
        plane.stdin.close()
    sandbox.wait((place / "tasks/.ended/att_web").exists, "the end of the replica")
    assert not Path(netns).exists()
