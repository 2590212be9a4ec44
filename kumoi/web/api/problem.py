"""Errors as RFC 9457 problem details, in the reader's language."""

from typing import ClassVar

import msgspec

from kumoi.model.errors import KumoiError, Unauthenticated
from kumoi.model.records import Problem
from kumoi.web.api.answer import Answer, Headers, language_headers
from kumoi.web.text import Reader, message

PROBLEM_MEDIA_TYPE = "application/problem+json"
URN_PREFIX = "urn:kumoi:error:"
RETRY_AFTER_S = 1
TITLES = {
    400: message("The request cannot be parsed"),
    401: message("A valid token is needed"),
    403: message("The action is not allowed"),
    404: message("Not found"),
    405: message("The method is not allowed"),
    409: message("The current state forbids it"),
    412: message("The resource has changed"),
    413: message("The body is too large"),
    415: message("The content type is not accepted"),
    422: message("The request makes no sense"),
    428: message("An If-Match is needed"),
    429: message("Too many requests"),
    500: message("The plane has failed"),
    503: message("The plane cannot answer now"),
}
_encoder = msgspec.json.Encoder()


class MethodNotAllowed(KumoiError):
    """The path exists, but not with this method; `allowed` names those that do."""

    status: ClassVar[int] = 405

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        self.allowed = ", ".join(sorted(allowed))
        super().__init__(
            "method_not_allowed",
            "{method} does not exist here; use {allowed}",
            method=method[:20],
            allowed=self.allowed,
        )


class Failed(KumoiError):
    """The plane has a fault; what it was is in its log under the request id."""

    def __init__(self) -> None:
        super().__init__("failed", "the plane failed; tell its operator the request id")


def problem_answer(error: KumoiError, reader: Reader, instance: str, request_id: str) -> Answer:
    """The answer for `error`. `instance` is the path that was asked for."""
    problem = Problem(
        type=URN_PREFIX + error.code,
        title=reader.say(TITLES[error.status]),
        status=error.status,
        detail=reader.say(error.text, **error.params),
        instance=instance,
        at=error.at,
        request_id=request_id,
    )
    headers: Headers = (
        (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
        *language_headers(reader),
        (b"cache-control", b"no-store"),
        *_headers_of(error),
    )
    return Answer(error.status, headers, _encoder.encode(problem))


def _headers_of(error: KumoiError) -> Headers:
    """What the status demands: RFC 6750 section 3, RFC 9110 sections 10.2.1 and 10.2.3."""
    if isinstance(error, Unauthenticated):
        fault = b"" if error.code == "token_missing" else b', error="invalid_token"'
        return ((b"www-authenticate", b'Bearer realm="kumoi"' + fault),)
    if isinstance(error, MethodNotAllowed):
        return ((b"allow", error.allowed.encode()),)
    if error.status in (429, 503):
        return ((b"retry-after", b"%d" % RETRY_AFTER_S),)
    return ()
