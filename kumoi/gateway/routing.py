"""Which service a request is for: any host's routes first, then those of its own; the longest path wins."""

from collections.abc import Iterable

from kumoi.model.routes import ServiceRoute

ANY_HOST = ""
PROJECTS = "/prj_"
"""How paths begin that belong to projects, whatever host is asked for."""


class Router:
    """The routes of one table, looked up by as many steps as the path has segments.

        router = Router(table.services)
        found = router.find("api.example.jp", b"/v1/items")

    Routes of any host come before those of a named one: each lies below its project's own path, so whoever
    claims the gateway's own name as its host does not get what is meant for others, nor what was meant for a
    service that is gone. Of two services that claim the same place the first one has it.
    """

    def __init__(self, services: Iterable[ServiceRoute]) -> None:
        self._places: dict[str, dict[bytes, ServiceRoute]] = {}
        self._deepest = 0
        for service in services:
            prefix = path_prefix(service.path)
            self._deepest = max(self._deepest, prefix.count(b"/"))
            for host in service.hosts or (ANY_HOST,):
                self._places.setdefault(host, {}).setdefault(prefix, service)

    def find(self, host: str, path: bytes) -> tuple[ServiceRoute, bytes] | None:
        """The service and the path as it shall see it; None if nobody claims the place."""
        for name in (ANY_HOST,) if path.startswith(PROJECTS.encode()) else (ANY_HOST, host):
            places = self._places.get(name)
            if places is None:
                continue
            for prefix in self._prefixes(path):
                service = places.get(prefix)
                if service is not None:
                    return service, _path_inside(service, prefix, path)
        return None

    def _prefixes(self, path: bytes) -> Iterable[bytes]:
        """The prefixes of `path` by whole segments, longest first, as deep as any route goes."""
        parts = path.split(b"/", self._deepest + 1)[: self._deepest + 1]
        for count in range(len(parts), 0, -1):
            yield b"/".join(parts[:count])


def path_prefix(path: str) -> bytes:
    """A route's path without its last slash: `b""` for all."""
    return path.rstrip("/").encode("ascii")


def _path_inside(service: ServiceRoute, prefix: bytes, path: bytes) -> bytes:
    if not service.strip_path or not prefix:
        return path
    return path[len(prefix) :] or b"/"
