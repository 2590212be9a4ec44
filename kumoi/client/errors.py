"""Typed errors of the SDK.

ClientError
├── ArgumentInvalid               an argument that cannot be sent (also a ValueError)
├── Unreachable                   no answer, after every try that the request allowed
├── AnswerUnexpected              an answer that no Kumoi plane gives: another server, or a much newer plane
├── WaitTimeout                   what was waited for did not come in time; it goes on by itself
└── KumoiAPIError                 the plane refused: status, code, title, detail, at, request_id
    ├── BadRequestError           400  cannot be parsed
    ├── AuthenticationError       401  no token, or one that is not valid
    ├── ForbiddenError            403  may be read but not acted on
    ├── NotFoundError             404  does not exist, or may not be read
    ├── ConflictError             409  the state or an idempotency key says no
    ├── PreconditionFailedError   412  somebody else changed it first
    ├── TooLargeError             413  body over its limit
    ├── UnsupportedMediaError     415  content type not accepted
    ├── InvalidError              422  parsed, but makes no sense
    ├── PreconditionRequiredError 428  the version that is being changed is not named
    ├── TooManyError              429  over a quota or rate
    └── UnavailableError          503  try again later
"""


class ClientError(Exception):
    """The base of every error that the SDK raises."""


class ArgumentInvalid(ClientError, ValueError):
    """An argument that no request can be made of. Nothing was sent."""


class Unreachable(ClientError):
    """The plane did not answer. `permanent` where another try cannot help (a refused certificate)."""

    def __init__(self, url: str, cause: str, *, tries: int = 1, permanent: bool = False) -> None:
        self.url = url
        self.cause = cause
        self.tries = tries
        self.permanent = permanent
        super().__init__(
            f"{url} does not answer ({cause}; tried {tries} times): check the URL and that the plane runs"
        )


class AnswerUnexpected(ClientError):
    """The answer is not one of the API: something else listens there."""


class WaitTimeout(ClientError):
    """What was waited for did not come within `timeout_s` seconds. Nothing was cancelled."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self.what = what
        self.timeout_s = timeout_s
        super().__init__(f"{what} was not there after {timeout_s:g} s; wait longer, or ask why")


class KumoiAPIError(ClientError):
    """The plane refused a request (RFC 9457).

    `code` is stable (`urn:kumoi:error:<code>`), `detail` is for people and in their language, `at` names
    the place in the request, `request_id` finds the request in the plane's log.
    """

    def __init__(
        self, status: int, code: str, title: str, detail: str, at: str | None, request_id: str | None
    ) -> None:
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.at = at
        self.request_id = request_id
        super().__init__(f"{status} {code}: {detail}")


class BadRequestError(KumoiAPIError):
    """The request cannot be parsed."""


class AuthenticationError(KumoiAPIError):
    """The token is missing, malformed, unknown, expired or revoked."""


class ForbiddenError(KumoiAPIError):
    """The caller may read the resource but not do this to it."""


class NotFoundError(KumoiAPIError):
    """The resource does not exist, or the caller may not know that it does."""


class ConflictError(KumoiAPIError):
    """The current state, a name in use or a reused idempotency key forbids it."""


class PreconditionFailedError(KumoiAPIError):
    """The version given is not the current one."""


class TooLargeError(KumoiAPIError):
    """The body is over its limit."""


class UnsupportedMediaError(KumoiAPIError):
    """The content type is not accepted."""


class InvalidError(KumoiAPIError):
    """The request was parsed but its meaning is refused."""


class PreconditionRequiredError(KumoiAPIError):
    """The request must name the version that it changes."""


class TooManyError(KumoiAPIError):
    """A quota or rate is used up."""


class UnavailableError(KumoiAPIError):
    """The plane cannot answer now; the same request may succeed later."""


API_ERRORS: dict[int, type[KumoiAPIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    412: PreconditionFailedError,
    413: TooLargeError,
    415: UnsupportedMediaError,
    422: InvalidError,
    428: PreconditionRequiredError,
    429: TooManyError,
    503: UnavailableError,
}
