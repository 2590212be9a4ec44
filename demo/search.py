"""Service program: searches the words that the jobs indexed. Standard library only.

GET /search?q=TEXT answers how often the words that contain TEXT occur in all files; GET / says that it is up.
A search waits a moment, as one over a large index does, so that one replica can serve only so many.
"""

import json
import os
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

SEARCH_S = 0.15


class Search(BaseHTTPRequestHandler):
    """One connection. The words are read once, when the service starts."""

    protocol_version = "HTTP/1.1"
    words: ClassVar[dict[str, int]] = {}

    def do_GET(self) -> None:
        """Answer one request."""
        asked = urlsplit(self.path)
        if asked.path == "/search":
            self.answer(self.search(parse_qs(asked.query).get("q", [""])[0]))
        else:
            self.answer({"words": len(self.words)})

    def search(self, text: str) -> dict[str, object]:
        """Words that contain `text`, and how often they occur."""
        time.sleep(SEARCH_S)
        found = {word: count for word, count in self.words.items() if text in word}
        return {"words": len(found), "occurrences": sum(found.values())}

    def answer(self, content: dict[str, object]) -> None:
        """Send JSON."""
        body = json.dumps(content).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not logged here: the gateway counts them."""


def main() -> None:
    """Read the index, then serve until ended."""
    Search.words.update(json.loads(Path("words.json").read_text()))
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Search)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
