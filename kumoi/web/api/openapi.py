"""The OpenAPI 3.1 document of a table of routes: every path, parameter, body, answer and problem in it."""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from kumoi import __version__
from kumoi.model.idempotency import KEY_LENGTH_MAX
from kumoi.model.records import Problem
from kumoi.web.api.parameters import PATH_PARAMETERS
from kumoi.web.api.problem import PROBLEM_MEDIA_TYPE
from kumoi.web.api.route import Media, Route

SCHEME = "token"
_REFERENCE = "#/components/schemas/{name}"
_JSON = "application/json"
_RETRIED = (429, 503)
Document = dict[str, Any]


def document_build(routes: Iterable[Route]) -> bytes:
    """The document as JSON."""
    table = tuple(routes)
    models = _models(table)
    schemas, components = msgspec.json.schema_components(models, ref_template=_REFERENCE)
    references = dict(zip(models, schemas, strict=True))
    paths: Document = {}
    for route in table:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, references)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Kumoi",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": _problem_responses(table, references[Problem]),
            "headers": _HEADERS,
            "securitySchemes": {
                SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "kumoi_...",
                    "description": "API token; shown once when it is created",
                }
            },
        },
    }
    return msgspec.json.encode(document)


def _models(table: Iterable[Route]) -> list[type[Any]]:
    found: dict[type[Any], None] = {Problem: None}
    for route in table:
        for model in (route.answer, route.body):
            if model is not None and not isinstance(model, Media):
                found[model] = None
    return list(found)


def _operation(route: Route, references: Mapping[type[Any], Any]) -> Document:
    operation: Document = {
        "operationId": route.operation,
        "tags": [route.handler.__module__.rpartition(".")[2]],
        "summary": (route.handler.__doc__ or "").strip().partition("\n")[0],
        "parameters": [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)],
        "responses": {
            **{str(status): _success(route, references) for status in route.successes},
            **{
                str(status): {"$ref": f"#/components/responses/{_problem_name(status)}"}
                for status in route.problems
            },
        },
    }
    if route.action is not None:
        operation["security"] = [{SCHEME: []}]
        operation["x-kumoi-action"] = route.action.value
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "description": f"at most {route.body_bytes_max} bytes",
            "content": _content(route.body, references),
        }
    return operation


def _path_parameters(route: Route) -> list[Document]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name].meaning,
            "schema": {"type": "string", "pattern": f"^(?:{PATH_PARAMETERS[name].pattern.pattern})$"},
        }
        for name in route.parameters
    ]


def _query_parameters(route: Route) -> list[Document]:
    (reference,), components = msgspec.json.schema_components([route.query])
    schema = components[reference["$ref"].rpartition("/")[2]]
    found = []
    for name, shape in schema["properties"].items():
        present = _without_null(shape)
        description = present.pop("description", None)
        parameter = {"name": name, "in": "query", "required": False, "schema": present}
        if description is not None:
            parameter["description"] = description
        found.append(parameter)
    return found


def _without_null(shape: Document) -> Document:
    """A query parameter is absent, never null."""
    if "anyOf" not in shape:
        return dict(shape)
    (present,) = (option for option in shape["anyOf"] if option.get("type") != "null")
    return dict(present)


def _header_parameters(route: Route) -> list[Document]:
    found = []
    if route.keyed:
        found.append(
            _header_parameter(
                "Idempotency-Key",
                "the name of this request: the same key again gets the same answer, and nothing is done",
                {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": "^[ -~]+$"},
            )
        )
    if route.if_match:
        found.append(
            _header_parameter(
                "If-Match",
                "the ETag of the version that is meant, or *",
                {"type": "string", "pattern": '^(?:\\*|"[!#-~]{1,100}")$'},
                required=428 in route.errors,
            )
        )
    if route.watch:
        found.append(
            _header_parameter(
                "Last-Event-ID",
                "the id of the last event seen; the watch goes on after it",
                {"type": "string", "pattern": "^[0-9]{1,18}$"},
            )
        )
    return found


def _header_parameter(name: str, meaning: str, schema: Document, *, required: bool = False) -> Document:
    return {"name": name, "in": "header", "required": required, "description": meaning, "schema": schema}


def _success(route: Route, references: Mapping[type[Any], Any]) -> Document:
    names = ["Kumoi-Request-Id"]
    if route.etag:
        names.append("ETag")
    if route.keyed:
        names.append("Idempotency-Replayed")
    if route.answer is Media.TEXT and route.action is not None:
        names.extend(("Kumoi-Next-Offset", "Kumoi-Ended"))
    response: Document = {
        "description": HTTPStatus(route.status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
    }
    if route.answer is not None:
        response["content"] = _content(route.answer, references)
    return response


def _content(model: type[msgspec.Struct] | Media, references: Mapping[type[Any], Any]) -> Document:
    if not isinstance(model, Media):
        return {_JSON: {"schema": references[model]}}
    if model is Media.OPENAPI:
        return {model.value: {"schema": {"type": "object"}}}
    if model is Media.BYTES:
        return {model.value: {}}
    return {model.value: {"schema": {"type": "string"}}}


def _problem_name(status: int) -> str:
    return re.sub("[^A-Za-z]", "", HTTPStatus(status).phrase.title())


def _problem_responses(table: Iterable[Route], reference: Document) -> Document:
    responses: Document = {}
    for status in sorted({status for route in table for status in route.problems}):
        names = ["Kumoi-Request-Id", "Content-Language"]
        if status == HTTPStatus.UNAUTHORIZED:
            names.append("WWW-Authenticate")
        if status in _RETRIED:
            names.append("Retry-After")
        responses[_problem_name(status)] = {
            "description": HTTPStatus(status).phrase,
            "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names},
            "content": {PROBLEM_MEDIA_TYPE: {"schema": reference}},
        }
    return responses


def _header(meaning: str, *, required: bool, **schema: object) -> Document:
    return {"description": meaning, "required": required, "schema": {"type": "string", **schema}}


_HEADERS: Document = {
    "Kumoi-Request-Id": _header("names this request in the plane's log", required=True),
    "ETag": _header("the version, for If-Match", required=False),
    "Idempotency-Replayed": _header("true on the answer of an earlier request", required=False),
    "Kumoi-Next-Offset": _header("where to read on", required=True, pattern="^[0-9]+$"),
    "Kumoi-Ended": _header("whether nothing more will be written", required=True, enum=["true", "false"]),
    "Content-Language": _header("the language of title and detail", required=True),
    "WWW-Authenticate": _header("what to authenticate with", required=True),
    "Retry-After": _header("seconds to wait", required=True, pattern="^[0-9]+$"),
}
_DESCRIPTION = """\
Errors are problem details (RFC 9457) with stable types `urn:kumoi:error:<code>`; their text follows
Accept-Language (en, ja), as do the sentences that answers have beside a `code`.
Lists come in pages: send `next` of a page as `cursor` until it is null. Unknown parameters and unknown
fields are refused. Times are RFC 3339, sizes bytes, durations seconds."""
