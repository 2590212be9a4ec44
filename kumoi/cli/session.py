"""One command's connection to the plane, opened when it is first used."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, wraps
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

import click

from kumoi import client
from kumoi.cli.command import Globals, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _, language
from kumoi.cli.output import Output
from kumoi.cli.settings import ClientSettings, settings_load

if TYPE_CHECKING:
    from kumoi.client import Kumoi

P = ParamSpec("P")
R = TypeVar("R")
NAMES_MAX = 10_000

limit_option = option(
    "--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Show at most so many."
)
project_option = option("-p", "--project", metavar="PROJECT", help="Name or id (KUMOI_PROJECT).")
organization_option = option(
    "--organization", metavar="ORG", help="Name or id (KUMOI_ORGANIZATION); else the token's own."
)


class Session:
    """What a command works with: settings, client and output."""

    def __init__(self, given: Globals, *, token: str | None = None) -> None:
        self._given = given
        self._token = token
        self._opened = ExitStack()
        self.out = Output(given.json_output)

    @cached_property
    def settings(self) -> ClientSettings:
        """The settings in effect."""
        return settings_load(self._given)

    @cached_property
    def public(self) -> "Kumoi":
        """A client for what needs no token."""
        return self._opened.enter_context(client.Kumoi(self.settings.url, language=language()))

    @cached_property
    def client(self) -> "Kumoi":
        """A client with the token; fails where there is none."""
        token = self._token or self.settings.token
        if token is None:
            raise fail(
                Exit.AUTHENTICATION,
                _("there is no token for {url}").format(url=self.settings.url),
                _("log in (kumoi login --url URL), or set KUMOI_TOKEN"),
            )
        opened = client.Kumoi(self.settings.url, token, language=language())
        return self._opened.enter_context(opened)

    def organization(self, given: str | None) -> str:
        """The organization to act in: the flag, the setting, or the token's own."""
        return given or self.settings.organization or self.client.whoami().organization

    def project(self, given: str | None) -> str:
        """The id of the project to act in; a name is looked up in the organization."""
        wanted = given or self.settings.project
        if wanted is None:
            raise fail(
                Exit.USAGE,
                _("no project is named"),
                _("use --project NAME, KUMOI_PROJECT, or kumoi project use NAME"),
            )
        if wanted.startswith("prj_"):
            return wanted
        organization = self.organization(None)
        for project in self.client.projects.list(organization, limit=NAMES_MAX):
            if project.name == wanted:
                return project.id
        raise fail(
            Exit.NOT_FOUND,
            _("there is no project {name} in {organization}").format(name=wanted, organization=organization),
            _("kumoi project list shows them"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._opened.close()


def pass_session(command: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give the command a session as its first argument, closed at its end."""

    @wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        given = click.get_current_context().find_object(Globals)
        with Session(given or Globals()) as session:
            return command(session, *args, **kwargs)

    return inner
