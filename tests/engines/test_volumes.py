"""Attempts in encrypted volumes: what they have open, what they find, and what is left of them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from volume_places import Passwords, volumes_end, volumes_of

import kumoi
from kumoi.engines.base import EngineUnavailable, Stream
from kumoi.model.jobs import AttemptOutcome
from kumoi.store.volumes import layout
from kumoi.store.volumes.gocryptfs import Gocryptfs
from kumoi.store.volumes.mounts import EncryptedVolumes

Real = Any
ORG = "org_one"
WAITS = "echo begun; while [ ! -e /project/go ]; do sleep 0.05; done; echo went on | tee /project/out"


PROGRAM = """
import sys, time
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from threading import Event
from volume_places import Passwords, volumes_of
from kumoi.engines.base import AttemptSpec, Limits, Stream
from kumoi.engines.sandbox.engine import SandboxEngine
from kumoi.store.volumes import layout
from kumoi.store.volumes.gocryptfs import Gocryptfs
place = Path(sys.argv[1])
with volumes_of(place, passwords=Passwords({})) as volumes:
    volumes.ensure("org_one")
    engine = SandboxEngine(place, "user", host_name="here", files_root=volumes.root)
    spec = AttemptSpec(ref="att_a", organization_id="org_one", project_id="prj_one", project_number=1,
        command=("sh", "-c", "echo content > file; cat file"), environment={},
        start_before_us=time.time_ns() // 1000 + 60_000_000,
        limits=Limits(cpu_milli=1000, memory_bytes=64 << 20, processes=32, wall_time_s=60))
    engine.ensure([spec])
    for _ in range(500):
        if engine.ended(1):
            break
        Event().wait(0.02)
    print(engine.log_read("att_a", Stream.STDOUT, 0, 100).data.decode().strip(), flush=True)
    engine.close()
print(layout.is_mounted(place / "objects" / "org_one"))
for _ in range(100):
    left = Gocryptfs().processes(place / "volumes" / "org_one")
    if not left:
        break
    Event().wait(0.02)
print(list(left), flush=True)
"""
PATHS = [str(Path(__file__).parents[1])]
PATHS += [str(Path(module.__file__ or "").parents[1]) for module in (kumoi, msgspec)]
USER = 65_534
"""Nobody: fusermount3 serves only who has a name."""


def python_find() -> str:
    """An interpreter that USER may run and that finds everything, or a skip."""
    program = f"import sys; sys.path[:0] = {PATHS!r}; import kumoi.store.volumes.mounts, volume_places"
    for python in (sys.executable, "/usr/bin/python3"):
        with suppress(OSError):
            done = subprocess.run(
                [python, "-B", "-c", program], user=USER, group=USER, check=False, stderr=subprocess.DEVNULL
            )
            if done.returncode == 0:
                return python
    pytest.skip("other users cannot read this checkout or its Python")


def wait(ready: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end_s, f"waited too long for {what}"
        threading.Event().wait(0.02)


@pytest.fixture
def passwords() -> Passwords:
    return Passwords({})


@pytest.fixture
def volumes(real: Real, passwords: Passwords) -> Iterator[EncryptedVolumes]:
    """The volumes of the data directory of `real`, whose engine finds them; idle as soon as they are not
    used."""
    real.engine.close()
    with volumes_of(real.data_dir, passwords=passwords, idle_s=0.0) as made:
        assert isinstance(made, EncryptedVolumes)
        real.files_root = made.root
        real.engine = real.open()
        made.ensure(ORG)
        yield made
        real.finish()


def test_work_goes_on_in_a_detached_volume_and_none_begins(
    real: Real, volumes: EncryptedVolumes, passwords: Passwords
) -> None:
    spec, silent = real.spec(WAITS), real.spec(WAITS.removeprefix("echo begun; "))
    real.engine.ensure([spec, silent])
    real.await_output(spec.ref)
    place = volumes.root / ORG
    project = os.open(place / "projects/prj_one", os.O_RDONLY)
    passwords.at_work.add(ORG)
    passwords.withdraw(ORG)
    wait(lambda: not layout.is_mounted(place), "the volume to be detached")
    with pytest.raises(EngineUnavailable, match="not mounted"):
        real.engine.log_read(spec.ref, Stream.STDOUT, 0, 10)
    late = real.spec("true")
    real.engine.ensure([late])
    (end,) = real.settle(late.ref)
    assert end.exit.outcome is AttemptOutcome.START_FAILED
    assert end.exit.detail == f"the sandbox cannot be made: the volume of {ORG} is not mounted"
    assert list(place.iterdir()) == [], "nothing is made beneath"
    os.close(os.open("go", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=project))
    os.close(project)
    assert [end.exit.exit_code for end in real.settle(spec.ref, silent.ref)] == [0, 0]
    ciphertext = real.data_dir / "volumes" / ORG
    wait(lambda: not Gocryptfs().processes(ciphertext), "gocryptfs to end with the work")
    passwords.restore(ORG)
    volumes.ensure(ORG)
    assert real.text(spec.ref) == "begun\nwent on\n"
    assert real.text(silent.ref) == "went on\n", "also what it wrote first after the withdrawal"
    assert (place / "projects/prj_one/out").read_text() == "went on\n"


def test_a_volume_is_in_use_as_long_as_an_attempt_lives(real: Real, volumes: EncryptedVolumes) -> None:
    spec = real.spec("while [ ! -e /project/go ]; do sleep 0.05; done")
    real.engine.ensure([spec])
    project = volumes.root / ORG / "projects/prj_one"
    wait(project.is_dir, "the start")
    wait(lambda: bool(real.engine.observe(None, 10).items[0].started_us), "its record")
    threading.Event().wait(0.2)
    volumes.sweep()
    assert layout.is_live(volumes.root / ORG)
    (project / "go").touch()
    real.settle(spec.ref)
    wait(lambda: volumes.sweep() or not layout.is_mounted(volumes.root / ORG), "the idle volume to go")


def test_logs_are_removed_when_their_volume_is_mounted(real: Real, volumes: EncryptedVolumes) -> None:
    spec, lost = real.spec("echo one; echo two >&2"), real.spec("echo one")
    real.engine.ensure([spec, lost])
    real.settle(spec.ref, lost.ref)
    real.engine.forget([spec.ref, lost.ref])
    logs = volumes.root / ORG / "logs"
    assert sorted(path.name for path in (logs / spec.ref).iterdir()) == ["stderr", "stdout"]
    real.engine.purge([spec.ref])
    assert [path.name for path in logs.iterdir()] == [lost.ref]
    wait(lambda: volumes.sweep() or not layout.is_mounted(volumes.root / ORG), "the idle volume to go")
    with pytest.raises(EngineUnavailable, match="not mounted"):
        real.engine.purge([lost.ref])
    volumes.ensure(ORG)
    real.engine.purge([lost.ref])
    assert list(logs.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.usefixtures("sandbox")
def test_an_ordinary_user_has_volumes_too() -> None:
    """In a mount namespace where /dev/fuse is open to everybody, as it is on most machines."""
    python = python_find()
    place = Path("/var/tmp") / f"kumoi-volumes-{os.getpid()}"
    place.mkdir()
    os.chown(place, USER, USER)
    script = (
        f"set -e; mount --make-rprivate /; mount -t tmpfs tmpfs /mnt; mknod -m 666 /mnt/fuse c 10 229; "
        f"mount --bind /mnt/fuse /dev/fuse; cd /; exec setpriv --reuid {USER} --regid {USER} --clear-groups "
        f'"$@"'
    )
    command = ["unshare", "-m", "sh", "-c", script, "sh", python, "-B", "-c", PROGRAM, str(place), *PATHS]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.stderr == ""
        assert ran.stdout.split("\n")[:3] == ["content", "False", "[]"]
    finally:
        volumes_end(place)
        subprocess.run(["rm", "-rf", str(place)], check=True)
