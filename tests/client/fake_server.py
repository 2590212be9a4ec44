"""The fake plane behind a real socket, with faults on demand.

Faults are taken in order, one per request: `drop` closes the connection before anything was done, `lose`
after it was done, `cut` in the middle of the answer; 429, 502 and 503 are answered.
"""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from fake_plane import FakePlane
from fake_rows import Asked, Reply, problem


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plane: FakePlane

    def log_message(self, *args: Any) -> None:
        """Stay silent."""

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = self.plane.faults.popleft() if self.plane.faults else ""
        body = self.rfile.read(int(headers.get("content-length", "0")))
        asked = Asked(self.command, parts.path, query, headers, body)
        self.plane.asked.append(asked)
        if fault == "drop":
            self.close_connection = True
        elif fault in {"429", "502", "503"}:
            made = problem(int(fault), "busy", "come back later")
            made.headers.update({} if fault == "502" else {"Retry-After": "0"})
            self.write(made)
        elif parts.path.endswith("/events/watch"):
            self.watch(asked)
        else:
            made = self.plane.answer(asked)
            if fault == "lose":
                self.close_connection = True
                return
            self.write(made, cut=fault == "cut")

    def write(self, made: Reply, *, cut: bool = False) -> None:
        self.send_response(made.status)
        self.send_header("Content-Type", made.kind)
        self.send_header("Content-Length", str(len(made.body)))
        self.send_header("Kumoi-Request-Id", "req-1")
        for name, value in made.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(made.body[: len(made.body) // 2] if cut else made.body)
        self.close_connection = self.close_connection or cut

    def watch(self, asked: Asked) -> None:
        """One event per connection and half of the next, so that a reader must resume to see them all."""
        after = int(asked.headers.get("last-event-id", "-1"))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self.wfile.write(b": welcome\n\n")
        for event in self.plane.events[after + 1 : after + 2]:
            lines = json.dumps(msgspec.to_builtins(event), indent=1).replace("\n", "\ndata: ")
            self.wfile.write(f"id: {event.log_index}\nevent: event\ndata: {lines}\n\ndata: {{".encode())

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names that http.server calls


@dataclass
class Running:
    """A fake plane behind a URL. `stop` and `start` keep the port, as a restarted plane does."""

    plane: FakePlane
    port: int = 0
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        handler = type("BoundHandler", (Handler,), {"plane": self.plane})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None
