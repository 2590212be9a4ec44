"""As much of OpenStack as borrowing a machine needs, over HTTP: Keystone's tokens and Nova's servers."""

import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

TOKEN = "token-of-a-test"
PROJECT = "project-1"


class Nova:
    """A WSGI application that keeps servers in memory. What is deleted is gone, as Nova's lists have it."""

    def __init__(self, user: str, secret: str) -> None:
        self.user, self.secret = user, secret
        self.servers: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        sent = json.loads(environ["wsgi.input"].read(length)) if length else {}
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        base = f"http://{environ['HTTP_HOST']}"
        status, body = self.answer(method, path, sent, environ.get("HTTP_X_AUTH_TOKEN"), base)
        data = b"" if body is None else json.dumps(body).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        start(status, [*headers, ("X-Subject-Token", TOKEN)])
        return [data]

    def answer(
        self, method: str, path: str, sent: dict[str, Any], token: str | None, base: str
    ) -> tuple[str, Any]:
        """The status and body of one request."""
        if path == "/v3/auth/tokens":
            return self.authenticate(sent, base)
        if token != TOKEN:
            return "401 Unauthorized", {"unauthorized": {"message": "who are you", "code": 401}}
        servers = f"/v2.1/{PROJECT}/servers"
        if (method, path) == ("GET", f"{servers}/detail"):
            return "200 OK", {"servers": list(self.servers.values())}
        if (method, path) == ("POST", servers):
            return self.make(sent["server"])
        if method == "GET" and path.removeprefix(f"{servers}/") in self.servers:
            return "200 OK", {"server": self.servers[path.removeprefix(f"{servers}/")]}
        if method == "DELETE" and self.servers.pop(path.removeprefix(f"{servers}/"), None):
            return "204 No Content", None
        return "404 Not Found", {"itemNotFound": {"message": path, "code": 404}}

    def authenticate(self, sent: dict[str, Any], base: str) -> tuple[str, Any]:
        """A token for who knows the password."""
        password = sent["auth"]["identity"]["password"]["user"]
        if (password["name"], password["password"]) != (self.user, self.secret):
            return "401 Unauthorized", {"error": {"message": "wrong", "code": 401}}
        endpoint = {"interface": "public", "region": "kyoto-1", "region_id": "kyoto-1"}
        endpoint["url"] = f"{base}/v2.1/{PROJECT}"
        catalog = [{"type": "compute", "name": "nova", "endpoints": [endpoint]}]
        token = {"catalog": catalog, "expires_at": "2099-01-01T00:00:00.000000Z", "roles": [], "user": {}}
        return "201 Created", {"token": token}

    def make(self, wanted: dict[str, Any]) -> tuple[str, Any]:
        """A server, unless its network does not exist."""
        if any(network["uuid"] == "none" for network in wanted.get("networks", ())):
            return "400 Bad Request", {"badRequest": {"message": "network none not found", "code": 400}}
        self.asked.append(wanted)
        number = next(self._numbers)
        server = {
            "id": f"server-{number:04}",
            "name": wanted["name"],
            "status": "BUILD",
            "metadata": wanted.get("metadata", {}),
            "created": f"2026-11-23T00:00:{number % 60:02}Z",
            "updated": "2026-11-23T00:00:00Z",
            "addresses": {},
            "hostId": "",
            "flavor": {"id": wanted["flavorRef"]},
            "image": {"id": wanted["imageRef"]},
            "links": [{"rel": "self", "href": "http://127.0.0.1"}],
            "tenant_id": PROJECT,
            "user_id": "user",
            "OS-EXT-STS:task_state": None,
            "OS-EXT-STS:vm_state": "building",
        }
        self.servers[server["id"]] = server
        return "202 Accepted", {"server": {"id": server["id"], "links": server["links"], "adminPass": "x"}}
