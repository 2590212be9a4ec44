"""Operator access on the fake plane: every step answers the row with the name of the step as its state."""

import json
from collections.abc import Callable
from typing import Any

from fake_rows import ACCESS_KEY, ACCESS_REQUEST, ACCESS_RULE, ACCESS_USE, Asked, Reply, page, reply
from msgspec.structs import replace


def access_routes(org: str) -> list[tuple[str, str, Callable[..., Reply]]]:
    """Method, pattern and handler of every route of operator access."""
    request = f"{org}/access-requests/{ACCESS_REQUEST.id}"
    return [
        ("GET", f"{org}/access-requests", lambda asked: page(asked, [ACCESS_REQUEST])),
        ("POST", f"{org}/access-requests", lambda asked: reply(201, _made(ACCESS_REQUEST, asked))),
        ("GET", request, lambda _asked: reply(200, ACCESS_REQUEST)),
        ("GET", f"{request}/uses", lambda asked: page(asked, [ACCESS_USE])),
        ("POST", f"{request}/([a-z]+)", _step),
        ("GET", f"{org}/access-keys", lambda asked: page(asked, [ACCESS_KEY])),
        ("POST", f"{org}/access-keys", lambda asked: reply(201, _made(ACCESS_KEY, asked))),
        (
            "POST",
            f"{org}/access-keys/{ACCESS_KEY.id}/retire",
            lambda _asked: reply(200, replace(ACCESS_KEY, state="retired")),
        ),
        ("GET", f"{org}/access-rules", lambda asked: page(asked, [ACCESS_RULE])),
        ("POST", f"{org}/access-rules", lambda asked: reply(201, _made(ACCESS_RULE, asked))),
        (
            "POST",
            f"{org}/access-rules/{ACCESS_RULE.id}/revoke",
            lambda _asked: reply(200, replace(ACCESS_RULE, state="revoked")),
        ),
    ]


def _step(asked: Asked, step: str) -> Reply:
    body = json.loads(asked.body) if asked.body else {}
    return reply(200, _changed(ACCESS_REQUEST, body | {"state": step}))


def _made(row: Any, asked: Asked) -> Any:
    return _changed(row, json.loads(asked.body))


def _changed(row: Any, body: dict[str, Any]) -> Any:
    return replace(
        row, **{name: held for name, held in body.items() if name in row.__struct_fields__ and held}
    )
