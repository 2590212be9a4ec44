"""Reading answers: JSON into the structs of the model, refusals into typed errors.

Answers are open: fields that this version does not know are ignored, also inside structs that are closed
when they are sent (a job's specification).
"""

from collections.abc import Hashable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import inspect

from kumoi.client.errors import API_ERRORS, AnswerUnexpected, KumoiAPIError
from kumoi.client.flows import Answer
from kumoi.model.errors import UNDECODABLE
from kumoi.model.records import Problem

REQUEST_ID_HEADER: Final = "kumoi-request-id"
ERROR_URN: Final = "urn:kumoi:error:"
_SHOWN_CHARACTERS = 200
T = TypeVar("T")


def decode(kind: type[T], answer: Answer) -> T:
    """The answer's body as a `kind`; raises AnswerUnexpected for anything else."""
    return decode_json(kind, answer.body, f"{answer.request.method} {answer.request.path}")


def decode_json(kind: type[T], body: bytes, what: str) -> T:
    """JSON as a `kind`; `what` names its origin in errors."""
    try:
        found: T = _decoder(cast(Hashable, kind)).decode(body)
        return found
    except msgspec.ValidationError:
        return _decode_pruned(kind, body, what)
    except UNDECODABLE as error:
        raise AnswerUnexpected(
            f"the answer to {what} is not JSON ({error}): is this the URL of a Kumoi plane?"
        ) from error


def error_from(answer: Answer) -> KumoiAPIError:
    """The error of a refusal, also where something before the plane made it."""
    request_id = answer.headers.get(REQUEST_ID_HEADER)
    status = answer.status
    kind = API_ERRORS.get(status, KumoiAPIError)
    try:
        problem: Problem = _decoder(Problem).decode(answer.body)
    except UNDECODABLE:
        title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Unknown status"
        shown = answer.body[:_SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
        return kind(status, f"http_{status}", title, shown or title, None, request_id)
    return kind(
        status,
        problem.type.removeprefix(ERROR_URN),
        problem.title,
        problem.detail,
        problem.at,
        problem.request_id or request_id,
    )


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _decode_pruned(kind: type[T], body: bytes, what: str) -> T:
    """Decode again without the fields that a newer plane has added to closed structs."""
    try:
        return msgspec.convert(_pruned(inspect.type_info(kind), msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        raise AnswerUnexpected(
            f"the answer to {what} is not what this version expects ({error}): update the client,"
            " or check the URL"
        ) from error


def _pruned(info: inspect.Type, value: Any) -> Any:
    if isinstance(info, inspect.Metadata):
        return _pruned(info.type, value)
    if isinstance(info, inspect.UnionType):
        for member in info.types:
            value = _pruned(member, value)
        return value
    if isinstance(info, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in info.fields}
        return {name: _pruned(fields[name], held) for name, held in value.items() if name in fields}
    if isinstance(info, inspect.VarTupleType) and isinstance(value, list):
        return [_pruned(info.item_type, held) for held in value]
    return value
