"""A demo that is interrupted leaves nothing behind."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

WAIT_S = 60.0
LOOK_S = 0.05
LOOKS = 100
MARK = "TEST_DEMO_OF"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def directory() -> Iterator[Path]:
    """For the demo's own, with a short name, since Unix sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="kumoi-t-", dir="/tmp") as made:
        yield Path(made)


def _left(mark: bytes, directory: Path) -> list[str]:
    """The processes that bear the mark in their environment, or the directory in their arguments."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            environment, words = (place / "environ").read_bytes(), (place / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in environment.split(b"\0") or os.fsencode(directory) in words:
            found.append(words.replace(b"\0", b" ").decode())
    return found


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGTERM, "start a region"), (signal.SIGINT, "kill -9 the plane")],  # tasks run in the second
)
def test_an_interrupted_demo_ends_all_that_it_started(
    number: signal.Signals, step: str, directory: Path
) -> None:
    mark = f"{MARK}={directory}"
    environment = {**os.environ, "TMPDIR": str(directory), MARK: str(directory)}
    with subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        said = ""
        for line in demo.stdout:
            said += line
            if line.startswith(step):
                break
        demo.send_signal(number)
        demo.send_signal(number)
        rest = demo.stdout.read()
        assert demo.wait(WAIT_S) == 128 + number, said + rest
    assert rest.splitlines()[-1] == "the demo was interrupted; nothing of it is left"
    assert "Traceback" not in rest
    assert list(directory.iterdir()) == []
    for _ in range(LOOKS):  # supervisors without an attempt end by themselves when their plane has
        left = _left(mark.encode(), directory)
        if not left:
            break
        threading.Event().wait(LOOK_S)
    assert left == []
