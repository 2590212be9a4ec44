"""`kumoi gateway` and its replicas as processes, and what is left of them.

Whatever is started here, and whatever that starts, has MARK in its environment and so can be found again.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from kumoi.gateway.haproxy_process import haproxy_find
from kumoi.model.routes import Endpoint, GatewayReport, ReplicaRoute, RouteTable, ServiceRoute

MARK = "KUMOI_TEST_GATEWAYS_OF"
WAIT_S = 15.0
SERVER = """
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{sys.argv[2]} {self.path}".encode()
        # in one piece, so that no kill leaves half an answer
        self.wfile.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\n\\r\\n%b" % (len(body), body))
    def log_message(self, *words): pass
class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
server = Server(("127.0.0.1", int(sys.argv[1])), Answer)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

needs_haproxy = pytest.mark.skipif(haproxy_find() is None, reason="HAProxy is not installed")


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, place: Path) -> None:
        super().__init__("gateway", timeout=WAIT_S)
        self._place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(str(self._place))


class Gateway:
    """A gateway's process."""

    started: ClassVar[list["Gateway"]] = []

    def __init__(self, directory: Path, *flags: str, port: int) -> None:
        self.control = directory / "g.sock"
        self.haproxy = directory / "state" / "haproxy"
        self.port = port
        with (directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "kumoi.main", "gateway", "--state-dir", str(directory / "state")),
                    *("--control", str(self.control), "--listen", f"127.0.0.1:{port}", *flags),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        Gateway.started.append(self)
        until(lambda: self._found().get("pid") == self.process.pid)

    def _found(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self.control.with_suffix(".json").read_bytes())
            return found
        return {}

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = Unix(self.control)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def put(self, version: int, *routes: ServiceRoute) -> int:
        return self.ask("PUT", "/table", msgspec.json.encode(RouteTable(version, routes)))[0]

    def report(self, query: str = "") -> GatewayReport:
        return msgspec.json.decode(self.ask("GET", f"/report{query}")[1], type=GatewayReport)

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ready(self, count: int) -> None:
        until(lambda: sum(each.ready is True for each in self.report().services[0].replicas) == count)

    def carried(self, *replicas: str) -> None:
        """Wait until HAProxy sends requests to these itself."""
        until(lambda: all(self._up(name) for name in replicas), self)

    def _up(self, replica: str) -> bool:
        return any(f",{replica}," in line and ",UP," in line for line in self._stat().splitlines())

    def _stat(self) -> str:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(WAIT_S)
            try:
                asked.connect(str(self.haproxy / "admin.sock"))
                asked.sendall(b"show stat -1 4 -1\n")
                return b"".join(iter(lambda: asked.recv(65_536), b"")).decode()
            except OSError:
                return ""

    def said(self) -> str:
        return (self.control.parent / "log").read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(WAIT_S * 2)


def until(true: Any, gateway: Gateway | None = None) -> None:
    """Wait until something holds; say what the gateway said if it never does."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, gateway and (gateway.said(), gateway._stat())
        threading.Event().wait(0.01)


def port_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Backend:
    """A replica in a process of its own, in a network namespace if one is given."""

    def __init__(self, name: str, port: int = 0, namespace: str = "") -> None:
        enter = ["ip", "netns", "exec", namespace] if namespace else []
        self.process = subprocess.Popen(
            [*enter, sys.executable, "-c", SERVER, str(port), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        netns = f"/run/netns/{namespace}" if namespace else ""
        self.route = ReplicaRoute(f"rep_{name}", 1, Endpoint("127.0.0.1", self.port, netns), True)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


def gateways_end(directory: Path) -> None:
    """Kill the gateways of a directory that still run, and whatever of HAProxy they left there."""
    for gateway in [each for each in Gateway.started if each.control.parent == directory]:
        gateway.process.kill()
        gateway.process.wait(WAIT_S)
        Gateway.started.remove(gateway)
    for pid in processes("cmdline", os.fsencode(directory)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def processes(file: str, part: bytes) -> list[int]:
    """Processes with `part` in their /proc/PID/`file`, which is empty once one has ended."""
    found = []
    for place in Path("/proc").glob(f"[0-9]*/{file}"):
        with contextlib.suppress(OSError):
            if int(place.parent.name) != os.getpid() and part in place.read_bytes():
                found.append(int(place.parent.name))
    return found


def command_of(pid: int) -> str:
    """What a process runs, while it does."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
