"""What every command has: texts in the reader's language, and the flags that all share."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import click

from kumoi.cli.language import LANGUAGES, _, language_use

CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@dataclass(slots=True)
class Globals:
    """What the shared flags said. `json_output` is one JSON document, or JSON lines for streams."""

    json_output: bool = False
    url: str | None = None
    token_file: str | None = None


class _Translated:
    """`help` in the language in use."""

    _english: str | None = None

    def _help_get(self) -> str | None:
        return _(self._english) if self._english else self._english

    def _help_set(self, text: str | None) -> None:
        self._english = text

    help = property(_help_get, _help_set)


class Option(_Translated, click.Option):
    """An option with translated help."""


option = partial(click.option, cls=Option)


def _global_set(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        setattr(context.ensure_object(Globals), str(parameter.name), value)


def _language_set(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        language_use(value)


def shared_options(*, hidden: bool) -> list[click.Parameter]:
    """The flags that may stand before or behind the command."""
    given: dict[str, Any] = {"expose_value": False, "callback": _global_set, "hidden": hidden}
    return [
        Option(["--url"], metavar="URL", help="The plane's URL (KUMOI_URL).", **given),
        Option(
            ["--token-file"],
            metavar="FILE",
            help="Read the token from FILE, - for standard input (KUMOI_TOKEN).",
            **given,
        ),
        Option(
            ["--lang"],
            type=click.Choice(LANGUAGES),
            is_eager=True,
            help="Language of texts (KUMOI_LANG, LANG).",
            **{**given, "callback": _language_set},
        ),
    ]


class Command(_Translated, click.Command):
    """A command. Every one takes `--json`."""

    def __init__(self, name: str | None, **arguments: Any) -> None:
        arguments.setdefault("context_settings", CONTEXT)
        super().__init__(name, **arguments)
        json_flag = Option(
            ["--json", "json_output"],
            is_flag=True,
            expose_value=False,
            callback=_global_set,
            help="Print JSON, for programs.",
        )
        self.params += [json_flag, *shared_options(hidden=True)]

    def get_short_help_str(self, limit: int = 45) -> str:  # noqa: ARG002 - click's signature
        """The first line of the help, whole."""
        return (self.help or "").partition("\n")[0]


class Group(_Translated, click.Group):
    """A group of commands on one kind of resource."""

    command_class = Command
    group_class = type

    def __init__(self, name: str | None = None, *, outermost: bool = False, **arguments: Any) -> None:
        arguments.setdefault("context_settings", CONTEXT)
        super().__init__(name, **arguments)
        self.params += shared_options(hidden=not outermost)

    def get_short_help_str(self, limit: int = 45) -> str:  # noqa: ARG002 - click's signature
        """The first line of the help, whole."""
        return (self.help or "").partition("\n")[0]
