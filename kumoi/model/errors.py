"""Typed errors. Each says what was being done, to what, and what to do next.

`code` is stable and becomes `urn:kumoi:error:<code>` (RFC 9457); `text` is the English message id of the
catalogue, filled with `params`; `at` names the place in the request (a JSON pointer or a parameter).

    KumoiError
    ├── BadRequest            400  cannot be parsed
    ├── Unauthenticated       401  no token, or one that is not valid
    ├── Forbidden             403  may be read but not acted on
    ├── NotFound              404  does not exist, or may not be read
    ├── Conflict              409  the state or an idempotency key says no
    ├── PreconditionFailed    412  the ETag given is not the current one
    ├── TooLarge              413  body over its limit
    ├── UnsupportedMedia      415  content type not accepted
    ├── Invalid               422  parsed, but makes no sense
    ├── PreconditionRequired  428  an If-Match is needed
    ├── TooMany               429  over a quota or rate
    └── Unavailable           503  try again later
"""

from typing import ClassVar, Final

import msgspec

UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding JSON raises for bytes that are none, or none of the type, or nested without end."""


class KumoiError(Exception):
    """The base of every error that a user may see."""

    status: ClassVar[int] = 500

    def __init__(self, code: str, text: str, *, at: str | None = None, **params: object) -> None:
        self.code = code
        self.text = text
        self.at = at
        self.params = params
        super().__init__(text.format(**params))


class BadRequest(KumoiError):
    """The request cannot be parsed."""

    status = 400


class Unauthenticated(KumoiError):
    """No token was given, or it is malformed, unknown, expired or revoked."""

    status = 401


class Forbidden(KumoiError):
    """The actor may read the resource but not do this to it."""

    status = 403


class NotFound(KumoiError):
    """The resource does not exist, or the actor may not know that it does."""

    status = 404


class Conflict(KumoiError):
    """The current state, a name in use or a reused idempotency key forbids it."""

    status = 409


class PreconditionFailed(KumoiError):
    """The If-Match given is not the current version."""

    status = 412


class TooLarge(KumoiError):
    """The body is over its limit."""

    status = 413


class UnsupportedMedia(KumoiError):
    """The content type is not accepted."""

    status = 415


class Invalid(KumoiError):
    """The request was parsed but its meaning is refused."""

    status = 422


class PreconditionRequired(KumoiError):
    """The request must carry an If-Match."""

    status = 428


class TooMany(KumoiError):
    """A quota or rate is used up."""

    status = 429


class Unavailable(KumoiError):
    """The plane cannot answer now; the same request may succeed later."""

    status = 503
