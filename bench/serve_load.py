"""The servers that `bench/serve.py` compares, and wrk's figures of each."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plane import ROOT, kumoi_find
from ports import port_free

HERE = Path(__file__).resolve().parent
CONCURRENCY = 100
WAIT_S = 60.0
RAY_WAIT_S = 180.0
CLIENTS = (1, 16, 64)
RAY = "ray[serve]"
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0}


class ServeError(Exception):
    """A server did not do what the bench needs."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: answers a second, and the times that half and 99 % of them stayed below."""

    rps: float
    p50_ms: float
    p99_ms: float


def wrk_run(port: int, path: str, clients: int, seconds: float) -> Load:
    """Load from `clients` connections that ask as soon as they are answered."""
    if shutil.which("wrk") is None:
        raise ServeError("wrk is not installed: run bench/install_peers.sh")
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}", "--latency", f"http://127.0.0.1:{port}{path}"],
        capture_output=True,
        text=True,
        timeout=seconds + WAIT_S,
    )
    text = done.stdout
    if done.returncode != 0 or "Non-2xx" in text or "Socket errors" in text:
        raise ServeError(f"wrk at {clients} clients: {text}{done.stderr}")
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", text)
    if rate is None:
        raise ServeError(f"wrk said nothing of a rate: {text}")
    return Load(float(rate[1]), _percentile(text, "50"), _percentile(text, "99"))


def _percentile(text: str, percent: str) -> float:
    found = re.search(rf"^\s+{percent}%\s+([0-9.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    if found is None:
        raise ServeError(f"wrk said nothing of {percent} %: {text}")
    return float(found[1]) * _UNITS_MS[found[2]]


def until_serves(port: int, path: str, seconds: float = WAIT_S) -> None:
    """Wait for the first good answer."""
    end = time.monotonic() + seconds
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        connection.close()
        if time.monotonic() > end:
            raise ServeError(f"nothing good at port {port}{path} within {seconds:g} s")
        time.sleep(0.05)


@contextlib.contextmanager
def process(*command: str, stdin: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, ended with all of its children."""
    started = subprocess.Popen(
        command,
        cwd=HERE,
        stdin=stdin or subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        if started.stdin is not None:
            started.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(20)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(10)
                break


@contextlib.contextmanager
def replica(namespace: str = "") -> Iterator[int]:
    """The application behind granian, one worker; its port."""
    port = 8_000 if namespace else port_free()
    enter = ("ip", "netns", "exec", namespace) if namespace else ()
    granian = str(Path(sys.executable).with_name("granian"))
    command = (granian, "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    with process(*enter, *command, "--no-ws", "--no-log", "serve_app:app"):
        if not namespace:
            until_serves(port, "/")
        yield port


@contextlib.contextmanager
def network_namespace() -> Iterator[str]:
    """An empty network with a loopback; needs root."""
    name = f"kumoi-bench-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=WAIT_S, capture_output=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=WAIT_S)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=WAIT_S)


@contextlib.contextmanager
def gateway(replica_port: int, *flags: str, namespace: str = "") -> Iterator[int]:
    """A gateway with one service of one replica at /p/a; its port."""
    port = port_free()
    with tempfile.TemporaryDirectory(prefix="kumoi-gw-", dir="/tmp") as name:
        control = Path(name) / "g.sock"
        words = ("--state-dir", name, "--control", str(control), "--listen", f"127.0.0.1:{port}", *flags)
        with process(kumoi_find(), "gateway", *words) as started:
            end = time.monotonic() + WAIT_S
            while not control.exists() and time.monotonic() < end:
                time.sleep(0.02)
            table_put(control, replica_port, namespace)
            until_serves(port, "/p/a")
            time.sleep(1)  # HAProxy takes over once nobody waits
            yield port
            started.terminate()
            started.wait(60)


def table_put(control: Path, port: int, namespace: str) -> None:
    """Tell a gateway of one service with one replica."""
    netns = f"/run/netns/{namespace}" if namespace else ""
    service = {
        **{"id": "svc_a", "name": "a", "hosts": [], "path": "/p/a", "strip_path": True},
        **{"concurrency": CONCURRENCY, "queue_timeout_ms": 30_000, "queue_length_max": 10_000},
        **{"request_timeout_ms": 60_000, "slo_wait_ms": 2_000, "readiness": {"path": "/"}, "liveness": None},
        "replicas": [
            {
                **{"id": "rep_a", "revision": 1, "serving": True},
                "endpoint": {"address": "127.0.0.1", "port": port, "netns": netns},
            }
        ],
    }
    body = json.dumps({"version": 1, "services": [service]}).encode()
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(WAIT_S)
        asked.connect(str(control))
        head = f"PUT /table HTTP/1.1\r\nhost: gateway\r\ncontent-length: {len(body)}\r\n\r\n"
        asked.sendall(head.encode() + body)
        if b" 204 " not in asked.recv(1_024):
            raise ServeError("the gateway did not take the table")


def ray_python() -> str:
    """The interpreter of Ray's virtual environment, which is made where it is missing."""
    place = ROOT / "build" / "ray"
    found = place / "bin" / "python"
    if not (place / ".installed").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, timeout=RAY_WAIT_S)
        pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", RAY]
        subprocess.run(pip, check=True, timeout=1_800)
        (place / ".installed").touch()
    return str(found)


def ray_version() -> str:
    """Which Ray it is."""
    command = [ray_python(), "-c", "import importlib.metadata as m; print(m.version('ray'))"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_S).stdout.strip()


@contextlib.contextmanager
def ray_serve() -> Iterator[int]:
    """Ray Serve with one replica of the application; its port."""
    port = port_free()
    with process(ray_python(), "serve_ray.py", str(port), str(CONCURRENCY), stdin=subprocess.PIPE):
        until_serves(port, "/", RAY_WAIT_S)
        yield port
