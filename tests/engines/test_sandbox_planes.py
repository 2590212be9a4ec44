"""Attempts outlive the plane that started them, whoever it runs as."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

import kumoi
from kumoi.engines.base import Phase
from kumoi.engines.sandbox import records

Sandbox = Any
PLANE = """
import sys, time
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from kumoi.engines.base import AttemptSpec, Limits
from kumoi.engines.sandbox.engine import SandboxEngine
engine = SandboxEngine(Path(sys.argv[1]), sys.argv[2], host_name="here")
def spec(ref, script):
    return AttemptSpec(ref=ref, organization_id="org_one", project_id="prj_one", project_number=1,
        command=("sh", "-c", script), environment={}, start_before_us=time.time_ns() // 1000 + 60_000_000,
        limits=Limits(cpu_milli=1000, memory_bytes=64 << 20, processes=32, wall_time_s=60))
specs = [spec("att_a", "echo out; exit 3"), spec("att_b", "while [ ! -e go ]; do sleep 0.05; done")]
print(engine.ensure(specs))
print(engine.hosts()[0].detail, flush=True)
sys.stdin.read()
"""


PATHS = [str(Path(module.__file__ or "").parents[1]) for module in (kumoi, msgspec)]


def plane_start(sandbox: Sandbox, python: str = sys.executable, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [python, "-B", "-c", PLANE, str(sandbox.data_dir), sandbox.incarnation, *PATHS],
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
    (sandbox.data_dir / "files/org_one/prj_one/go").touch()
    assert sandbox.settle("att_b")[0].exit.exit_code == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_has_sandboxes_too(sandbox: Sandbox) -> None:
    user = 54_321
    python = python_for(user)
    place = Path(f"/tmp/kumoi-test-{sandbox.incarnation}")
    place.mkdir(mode=0o700)
    os.chown(place, user, user)
    sandbox.data_dir = place
    try:
        with plane_start(sandbox, python, user=user, group=user, extra_groups=[]) as plane:
            assert plane.stdout is not None
            assert plane.stdout.readline() == "{'att_a': None, 'att_b': None}\n"
            assert "no writable cgroups" in plane.stdout.readline()
            (forkserver,) = Path(f"/proc/{plane.pid}/task/{plane.pid}/children").read_text().split()
            hidden = Path(f"/proc/{forkserver}/environ").stat()
            assert hidden.st_uid == 0, "its user may look into the memory through which secrets pass"
            for ref, code in (("att_a", 3), ("att_b", 0)):
                sandbox.wait(lambda ref=ref: (place / "tasks/.ended" / ref).exists(), ref)
                (place / "files/org_one/prj_one/go").touch()
                record = records.record_read(str(place / "tasks/.ended" / ref))
                assert record is not None
                assert record.exit is not None
                assert (record.exit["outcome"], record.exit["exit_code"]) == ("exited", code)
            assert plane.stdin is not None
            plane.stdin.close()
    finally:
        subprocess.run(["rm", "-rf", str(place)], check=True)
