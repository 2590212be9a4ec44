"""Gateways and replicas for the tests here, and that nothing of them is left."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gateway_process import MARK, WAIT_S, Backend, command_of, gateways_end, processes, until


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process of a module's tests outlives them, and no thread keeps the interpreter from ending."""
    mark = f"{MARK}={uuid.uuid4().hex}"
    os.environ[MARK] = mark.partition("=")[2]
    before = set(threading.enumerate())
    yield
    del os.environ[MARK]

    def left() -> list[object]:
        threads = [each for each in threading.enumerate() if each not in before and not each.daemon]
        return [*threads, *processes("environ", mark.encode())]

    try:
        until(lambda: not left())
    except AssertionError:
        commands = [(pid, command_of(pid)) for pid in processes("environ", mark.encode())]
        pytest.fail(f"what is left: {left()} {commands}")
    finally:
        for pid in processes("environ", mark.encode()):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, since Unix sockets have short paths. Its gateways end with the test."""
    with tempfile.TemporaryDirectory(prefix="kumoi-gw-", dir="/tmp") as directory:
        try:
            yield Path(directory)
        finally:
            gateways_end(Path(directory))


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    made: list[Backend] = []
    yield made
    for backend in made:
        backend.kill()


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """Three network namespaces with a loopback each."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces are made as root, with ip")
    names = [f"kumoi-test-{os.getpid()}-{number}" for number in range(3)]
    made = []
    try:
        for name in names:
            done = subprocess.run(["ip", "netns", "add", name], capture_output=True, timeout=WAIT_S)
            if done.returncode != 0:
                pytest.skip(f"network namespaces cannot be made here: {done.stderr.decode().strip()}")
            made.append(name)
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=WAIT_S)
        yield names
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=True, timeout=WAIT_S)
