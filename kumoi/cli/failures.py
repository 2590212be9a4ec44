"""Errors as people and programs read them: what, where, what to do, and the request that failed."""

import json
import ssl
from dataclasses import asdict, dataclass
from typing import Any, Final

import click

from kumoi.cli.command import Globals
from kumoi.cli.exits import Exit
from kumoi.cli.language import _
from kumoi.cli.text import text_clean
from kumoi.client.errors import (
    AnswerUnexpected,
    ArgumentInvalid,
    AuthenticationError,
    ConflictError,
    ForbiddenError,
    KumoiAPIError,
    NotFoundError,
    PreconditionFailedError,
    TooManyError,
    UnavailableError,
    Unreachable,
    WaitTimeout,
)
from kumoi.ledger.errors import LedgerError

EXITS: Final[tuple[tuple[type[Exception], Exit], ...]] = (
    (AuthenticationError, Exit.AUTHENTICATION),
    (NotFoundError, Exit.NOT_FOUND),
    (ConflictError, Exit.CONFLICT),
    (PreconditionFailedError, Exit.CONFLICT),
    (UnavailableError, Exit.UNREACHABLE),
    (KumoiAPIError, Exit.REFUSED),
    (Unreachable, Exit.UNREACHABLE),
    (AnswerUnexpected, Exit.UNREACHABLE),
    (WaitTimeout, Exit.TIMEOUT),
    (ArgumentInvalid, Exit.USAGE),
    (LedgerError, Exit.VERIFICATION_FAILED),
    (ssl.SSLError, Exit.UNREACHABLE),
    (OSError, Exit.REFUSED),
)
"""The first kind that an error is of decides."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is said about a failure. `hint` is what to do next."""

    exit_code: int
    what: str
    code: str | None = None
    at: str | None = None
    hint: str | None = None
    request_id: str | None = None


class Failure(click.ClickException):
    """Ends the command with a message and an exit code."""

    def __init__(self, told: Told, *, json_output: bool = False) -> None:
        super().__init__(told.what)
        self.told = told
        self.exit_code = int(told.exit_code)  # type: ignore[misc]
        self.json_output = json_output

    def show(self, file: Any = None) -> None:
        """Print it on standard error: as JSON where that was asked for, else a line each."""
        told = self.told
        if self.json_output:
            click.echo(json.dumps({"error": asdict(told)}, ensure_ascii=False), file=file, err=True)
            return
        lines = [f"kumoi: {text_clean(told.what)}"]
        for label, value in (
            (_("where"), told.at),
            (_("do"), told.hint),
            (_("request"), told.request_id),
        ):
            if value:
                lines.append(f"  {label}: {text_clean(value)}")
        click.echo("\n".join(lines), file=file, err=True)


def fail(exit_code: Exit, what: str, hint: str | None = None) -> Failure:
    """The failure to raise for something that the command line itself found."""
    context = click.get_current_context(silent=True)
    given = context.find_object(Globals) if context is not None else None
    told = Told(exit_code, what, hint=hint)
    return Failure(told, json_output=given is not None and given.json_output)


def token_lost(principal: str) -> Failure:
    """The failure where a try was repeated whose answer, with the token in it, never came."""
    return fail(
        Exit.REFUSED,
        _("it was created, but the answer with its token was lost on the way, and tokens are shown once"),
        _("create another: kumoi token create --principal {principal}").format(principal=principal),
    )


def secret_lost(target: str) -> Failure:
    """The failure where a try was repeated whose answer, with the secret of a webhook in it, never came."""
    return fail(
        Exit.REFUSED,
        _("it was added, but the answer with its secret was lost on the way, and secrets are shown once"),
        _("remove it and add it again: kumoi notice target remove {target}").format(target=target),
    )


def failure_from(error: Exception, given: Globals) -> Failure | None:
    """The failure for an error that is expected; None for a fault of ours, which keeps its traceback.

    None too for a reader that went away (`kumoi job list | head`), which is nothing to speak of.
    """
    exit_code = next((code for kind, code in EXITS if isinstance(error, kind)), None)
    if exit_code is None or isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, KumoiAPIError):
        what = _("refused ({status} {code}): {detail}").format(
            status=error.status, code=error.code, detail=error.detail
        )
        told = Told(exit_code, what, error.code, error.at, _hint(error), error.request_id)
    else:
        told = Told(exit_code, _what(error), hint=_hint(error))
    return Failure(told, json_output=given.json_output)


def _what(error: Exception) -> str:
    if isinstance(error, Unreachable):
        return _("{url} does not answer: {cause} (tried {tries} times)").format(
            url=error.url, cause=error.cause, tries=error.tries
        )
    if isinstance(error, WaitTimeout):
        return _("{what} was not there after {timeout_s} s").format(
            what=error.what, timeout_s=f"{error.timeout_s:g}"
        )
    if isinstance(error, LedgerError):
        return _("the log does NOT verify: {reason}").format(reason=error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _hint(error: Exception) -> str | None:
    match error:
        case AuthenticationError():
            return _("log in with a valid token: kumoi login --url URL")
        case ForbiddenError():
            return _("kumoi whoami shows the roles that you have")
        case TooManyError():
            return _("wait, or ask for a higher quota")
        case Unreachable(permanent=True):
            return _("name the file of the plane's certificate authority in SSL_CERT_FILE")
        case Unreachable():
            return _("check --url or KUMOI_URL, and that the plane runs (kumoi up)")
        case WaitTimeout():
            return _("it goes on by itself: wait longer, or ask why (kumoi job why)")
        case LedgerError():
            return _("keep these files as evidence, and compare with another mirror")
        case _:
            return None
