"""The OpenAPI document says what the table says, all of it."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest

from kumoi.web.api.route import Media, Route
from kumoi.web.api.routes import ROUTES


@pytest.fixture(scope="module")
def document(world: Any) -> dict[str, Any]:
    answer = world.api(None, "GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/openapi+json"
    found: dict[str, Any] = answer.json()
    return found


def operation(document: dict[str, Any], route: Route) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][route.path][route.method.lower()]
    return found


def test_every_route_is_documented_and_nothing_else(document: dict[str, Any]) -> None:
    documented = {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    }
    assert documented == {route.template for route in ROUTES}
    assert document["openapi"] == "3.1.0"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.template)
def test_an_operation_is_whole(document: dict[str, Any], route: Route) -> None:
    found = operation(document, route)
    assert found["operationId"] == route.operation
    assert found["summary"]
    assert set(found["responses"]) == {str(status) for status in (*route.successes, *route.problems)}
    assert ("security" in found) == (route.action is not None)
    assert found.get("x-kumoi-action") == route.action
    assert ("requestBody" in found) == (route.body is not None)
    placed = {(parameter["in"], parameter["name"]) for parameter in found["parameters"]}
    assert {name for place, name in placed if place == "path"} == set(re.findall(r"{(\w+)}", route.path))
    assert {name for place, name in placed if place == "query"} == set(route.query.__struct_encode_fields__)
    headers = {name for place, name in placed if place == "header"}
    assert ("Idempotency-Key" in headers) == (route.method == "POST")
    assert ("If-Match" in headers) == route.if_match
    assert ("Last-Event-ID" in headers) == route.watch
    for status in route.problems:
        name = found["responses"][str(status)]["$ref"].rpartition("/")[2]
        content = document["components"]["responses"][name]["content"]
        assert content.keys() == {"application/problem+json"}


def test_parameters_carry_their_limits(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/v1/projects/{project}/jobs"]["get"]["parameters"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in parameters}
    assert schemas["limit"] == {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100}
    assert "running" in schemas["state"]["enum"]
    assert schemas["project"]["pattern"] == "^(?:prj_[0-9a-v]{26})$"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = re.findall(r'"#/([^"]+)"', json.dumps(document))
    assert len(references) > len(document["paths"])
    for reference in references:
        place: Any = document
        for step in reference.split("/"):
            place = place[step]


def test_what_is_answered_is_what_is_documented(world: Any, document: dict[str, Any]) -> None:
    job = world.job()
    values = {"organization": world.acme.id, "project": world.acme.project, "job": job}
    checked = 0
    for route in ROUTES:
        usable = set(route.parameters) <= values.keys() and not route.watch
        if route.method != "GET" or not usable or isinstance(route.answer, Media):
            continue
        answer = world.api(world.acme.admin, "GET", route.path.format(**values))
        described = operation(document, route)["responses"][str(answer.status_code)]
        if "$ref" in described:
            described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
        schema = described["content"][answer.headers["content-type"]]["schema"]
        whole = {**schema, "components": document["components"]}
        jsonschema_rs.Draft202012Validator(whole).validate(answer.json())
        checked += 1
    assert checked > 20
