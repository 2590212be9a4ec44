"""A plane that lies: what is asked is passed on to a real one, and the answers may be changed on the way."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

WAIT_S = 20
Lie = Callable[[str, bytes], bytes]
"""What is answered instead: of the name (a path below /log, or "receipt") and the honest answer."""


def honest(name: str, answer: bytes) -> bytes:
    return answer


class LyingPlane:
    """`url` answers as the plane at `target` does, but for what `lie` makes of the log and of receipts."""

    def __init__(self, target: str) -> None:
        self.lie: Lie = honest
        self._target = urlsplit(target).netloc
        self._streams: set[socket.socket] = set()
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(OSError, http.client.HTTPException):
                    plane.pass_on(self)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        upstream = http.client.HTTPConnection(self._target, timeout=WAIT_S)
        with closing(upstream):
            upstream.request("GET", asked.path, headers=dict(asked.headers.items()))
            stream = upstream.sock
            with upstream.getresponse() as answer:
                asked.send_response(answer.status)
                asked.send_header("content-type", answer.headers["content-type"])
                if answer.headers["content-type"] == "text/event-stream":
                    asked.end_headers()
                    self._streams.add(stream)
                    while line := answer.readline():
                        asked.wfile.write(line)
                    return
                body = answer.read()
            name = told_name(asked.path)
            if answer.status == 200 and name:
                body = self.lie(name, body)
            asked.send_header("content-length", str(len(body)))
            asked.end_headers()
            asked.wfile.write(body)

    def streams_end(self) -> None:
        """End every stream of the plane: whoever read one is gone."""
        while self._streams:
            with suppress(OSError):
                self._streams.pop().shutdown(socket.SHUT_RDWR)

    @contextmanager
    def lying(self, lie: Lie) -> Iterator[None]:
        self.lie = lie
        try:
            yield
        finally:
            self.lie = honest

    def end(self) -> None:
        self.streams_end()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)


def told_name(path: str) -> str:
    """What a lie calls the answer at `path`; empty for what it leaves alone."""
    if path.startswith("/log/"):
        return path.removeprefix("/log/")
    return "receipt" if path.endswith("/receipt") else ""
