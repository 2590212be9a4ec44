"""The plane's talk with a gateway over a real Unix socket: HTTP on both sides, errors on purpose."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from kumoi.loops import gateway_link
from kumoi.loops.gateway_link import GatewayLink
from kumoi.model.routes import GatewayReport, RouteTable, ServiceRoute
from kumoi.model.services import HealthCheck

WAIT_S = 10.0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "plane"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status, answer = self.server.owner.put(body)  # type: ignore[attr-defined]
        self._answer(status, answer)

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        self._answer(*self.server.owner.report(asked))  # type: ignore[attr-defined]

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class GatewayServer:
    """A gateway's control socket, as its contract has it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.table = RouteTable(0, ())
        self.puts: list[int] = []
        self.asked: list[dict[str, str]] = []
        self.garbage = False
        self.changed = threading.Condition()
        self.server: _Server | None = None

    def start(self) -> None:
        """Listen."""
        self.place.unlink(missing_ok=True)
        self.server = _Server(str(self.place), _Handler)
        self.server.owner = self  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
            self.place.unlink()

    def put(self, body: bytes) -> tuple[int, bytes]:
        """A table."""
        with self.changed:
            table = msgspec.json.decode(body, type=RouteTable)
            self.puts.append(table.version)
            if table.version < self.table.version:
                return 409, msgspec.json.encode({"version": self.table.version})
            self.table = table
            self.changed.notify_all()
            return 204, b""

    def report(self, asked: dict[str, str]) -> tuple[int, bytes]:
        """A report: at once where the plane believes in another table, else after a moment."""
        with self.changed:
            self.asked.append(asked)
            self.changed.notify_all()
            if self.garbage:
                return 200, b"{"
            if int(asked["table"]) == self.table.version:
                self.changed.wait(0.02)
            return 200, msgspec.json.encode(GatewayReport("epoch-1", self.table.version, 1, ()))

    def wait(self, until: Callable[[], bool]) -> None:
        """Wait until something holds."""
        with self.changed:
            assert self.changed.wait_for(until, WAIT_S)


class Clock:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        self.now_us += 1
        return self.now_us


class Process:
    """Starts the gateway when it is asked to."""

    def __init__(self, server: GatewayServer) -> None:
        self.server = server
        self.ended = threading.Event()

    def ensure(self) -> None:
        if self.server.server is None:
            self.server.start()

    def end(self) -> None:
        self.ended.set()


def route(name: str = "web") -> ServiceRoute:
    return ServiceRoute(name, name, (), f"/{name}", True, 4, 1, 1, 1, 1, HealthCheck(), None, ())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GatewayServer]:
    made = GatewayServer(tmp_path / "gateway.sock")
    made.start()
    yield made
    made.stop()


class Link:
    """A link and what wakes."""

    def __init__(self, server: GatewayServer, process: Process | None = None) -> None:
        self.woken = threading.Condition()
        self.link = GatewayLink(server.place, Clock(), self._wake, process)

    def _wake(self) -> None:
        with self.woken:
            self.woken.notify_all()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait, a report at a time."""
        with self.woken:
            assert self.woken.wait_for(holds, WAIT_S)


@pytest.fixture
def link(server: GatewayServer) -> Iterator[Link]:
    made = Link(server)
    made.link.start()
    yield made
    made.link.stop()


def heard(link: Link) -> GatewayReport:
    found = link.link.heard()
    assert found is not None
    return found.report


def test_it_hears_reports_and_wakes_the_loop(server: GatewayServer, link: Link) -> None:
    link.until(lambda: link.link.heard() is not None)
    assert heard(link).epoch == "epoch-1"
    server.wait(lambda: len(server.asked) > 2)
    assert server.asked[0] == {"wait_ms": "1000", "table": "0"}


def test_a_table_is_put_once_and_again_only_when_it_changed(server: GatewayServer, link: Link) -> None:
    link.until(lambda: link.link.heard() is not None)
    assert link.link.publish((route(),)) == 1
    assert link.link.publish((route(),)) == 1
    link.until(lambda: heard(link).table_version == 1)
    assert link.link.publish((route(),)) == 1
    assert link.link.publish((route(), route("api"))) == 2
    assert server.puts == [1, 2]
    assert [one.name for one in server.table.services] == ["web", "api"]


def test_it_goes_on_from_the_version_that_the_gateway_has(server: GatewayServer, link: Link) -> None:
    server.table = RouteTable(41, ())
    link.until(lambda: link.link.heard() is not None and heard(link).table_version == 41)
    assert link.link.publish((route(),)) == 42
    server.table = RouteTable(99, ())
    assert link.link.publish((route("api"),)) == 100
    assert server.puts == [42, 43, 100]
    assert [one.name for one in server.table.services] == ["api"]


def test_a_gateway_that_lost_its_table_gets_it_again(server: GatewayServer, link: Link) -> None:
    link.until(lambda: link.link.heard() is not None)
    link.link.publish((route(),))
    link.until(lambda: heard(link).table_version == 1)
    server.table = RouteTable(0, ())
    link.until(lambda: heard(link).table_version == 0)
    assert link.link.publish((route(),)) == 1
    assert server.table.services == (route(),)


def test_an_absent_gateway_is_silent_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = GatewayServer(tmp_path / "gateway.sock")
    link = Link(server)
    assert link.link.heard() is None
    link.link.publish((route(),))
    link.link.start()
    try:
        server.start()
        link.until(lambda: link.link.heard() is not None)
        first = link.link.heard()
        assert link.link.publish((route(),)) >= 1
        assert server.table.services == (route(),)
        monkeypatch.setattr(gateway_link, "SILENT_S", 0.05)
        server.stop()
        link.until(lambda: link.link.heard() is None)
        server.start()
        link.until(lambda: link.link.heard() is not None)
        again = link.link.heard()
        assert first is not None
        assert again is not None
        assert again.since_us > first.since_us, "the time of silence is not held against replicas"
    finally:
        link.link.stop()
        server.stop()


def test_an_answer_that_makes_no_sense_is_no_answer(server: GatewayServer) -> None:
    server.garbage = True
    link = Link(server)
    link.link.start()
    try:
        server.wait(lambda: len(server.asked) > 2)
        assert link.link.heard() is None
        server.garbage = False
        link.until(lambda: link.link.heard() is not None)
    finally:
        link.link.stop()


def test_a_process_is_started_when_there_is_something_to_carry(tmp_path: Path) -> None:
    server = GatewayServer(tmp_path / "gateway.sock")
    process = Process(server)
    link = Link(server, process)
    link.link.publish(())
    assert link.link.is_starting()
    link.link.start()
    assert server.server is None
    link.link.publish((route(),))
    link.until(lambda: link.link.heard() is not None)
    assert not link.link.is_starting()
    link.link.publish(())
    link.link.stop()
    assert process.ended.is_set(), "with nothing to carry it ends with the plane"
    server.stop()


def test_a_process_that_does_not_come_up_is_silent_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = GatewayServer(tmp_path / "gateway.sock")
    assert not Link(server).link.is_starting(), "nobody starts it"
    link = Link(server, Process(server))
    link.link.publish((route(),))
    assert link.link.is_starting()
    monkeypatch.setattr(gateway_link, "STARTING_S", 0.0)
    assert not link.link.is_starting()


def test_a_process_that_carries_something_goes_on_when_the_plane_stops(tmp_path: Path) -> None:
    server = GatewayServer(tmp_path / "gateway.sock")
    process = Process(server)
    link = Link(server, process)
    link.link.publish((route(),))
    link.link.start()
    link.until(lambda: link.link.heard() is not None)
    link.link.stop()
    assert not process.ended.is_set()
    server.stop()
