"""Paths to routes: a tree of segments, so that the time does not grow with the table."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from kumoi.model.errors import NotFound
from kumoi.web.api.problem import MethodNotAllowed
from kumoi.web.api.route import Route

SEGMENTS_MAX = 256
_SHOWN_MAX = 200


@dataclass(slots=True)
class _Node:
    named: dict[str, "_Node"] = field(default_factory=dict)
    parameter: "_Node | None" = None
    methods: dict[str, Route] = field(default_factory=dict)
    tails: dict[str, Route] = field(default_factory=dict)


class Router:
    """Finds the route of a method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def find(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route and its parameters, percent-decoded. Raises NotFound or MethodNotAllowed.

        Segments are decoded after the split, so `%2F` never makes a path of another shape. A name
        beats a parameter, and both beat the rest of a path.
        """
        segments = raw_path.decode("latin-1").split("/")[1:]
        methods, values = _walk(self._root, segments) if len(segments) <= SEGMENTS_MAX else ({}, [])
        if not methods:
            shown = unquote(raw_path[:_SHOWN_MAX])
            raise NotFound("path_unknown", "there is no path {path}; see /openapi.json", path=shown)
        route = methods.get(method)
        if route is None:
            raise MethodNotAllowed(method, tuple(methods))
        names = route.parameters
        if not names:
            return route, {}
        return route, {
            name: unquote(value) if "%" in value else value for name, value in zip(names, values, strict=True)
        }

    def _add(self, route: Route) -> None:
        node = self._root
        segments = route.path.split("/")[1:]
        for segment in segments[:-1] if route.tail else segments:
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.named.setdefault(segment, _Node())
        methods = node.tails if route.tail else node.methods
        if route.method in methods:
            raise ValueError(f"the route {route.template} is in the table twice")
        methods[route.method] = route


def _walk(root: _Node, segments: list[str]) -> tuple[dict[str, Route], list[str]]:
    """The methods at the end of the path, and the values of its parameters."""
    node = root
    values: list[str] = []
    tails: tuple[dict[str, Route], list[str]] = ({}, [])
    for position, segment in enumerate(segments):
        if node.tails and segments[position]:
            tails = node.tails, [*values, "/".join(segments[position:])]
        named = node.named.get(segment)
        if named is not None:
            node = named
        elif node.parameter is not None and segment:
            values.append(segment)
            node = node.parameter
        else:
            return tails
    return (node.methods, values) if node.methods else tails
