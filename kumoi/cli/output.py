"""What commands print: tables for people, tab-separated lines for pipes, JSON for programs."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any, TypeVar

import click
import msgspec

from kumoi.cli.language import _
from kumoi.cli.text import text_clean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its attribute, its title, how people see its value, and how pipes do.

    `whole`: never wrapped, because it is copied into the next command.
    """

    name: str
    title: str
    show: Callable[[Any], str] | None = None
    plain: Callable[[Any], str] | None = None
    whole: bool = False


class Output:
    """Prints one command's results on standard output."""

    def __init__(self, json_output: bool) -> None:
        self.json_output = json_output
        self.terminal = sys.stdout.isatty() and not json_output

    def document(self, value: object) -> None:
        """One JSON document."""
        encoded = msgspec.json.encode(value)
        indented = msgspec.json.format(encoded, indent=2) if sys.stdout.isatty() else encoded
        click.echo(indented.decode())

    def json_line(self, value: object) -> None:
        """One of several JSON documents, a line each, at once."""
        click.echo(msgspec.json.encode(value).decode())
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """A sentence for people; nothing where JSON was asked for."""
        if not self.json_output:
            click.echo(text)

    def note(self, text: str) -> None:
        """A remark beside the result, on standard error."""
        if not self.json_output:
            click.echo(text, err=True)

    def done(self, *names: str) -> None:
        """Nothing is left to show of `names`, which were removed."""
        if self.json_output:
            self.document({"removed": names})
        for name in names:
            self.line(_("removed: {name}").format(name=name))

    def record(self, value: object, show: Mapping[str, object] | None = None) -> None:
        """One thing with all its fields; `show` replaces what people see, not the JSON."""
        if self.json_output:
            self.document(value)
            return
        fields = _flat(msgspec.to_builtins(show if show is not None else value))
        if self.terminal:
            import_module("kumoi.cli.tables").fields_print(fields)
        else:
            for name, held in fields:
                click.echo(f"{name}\t{_plain(held)}")

    def rows(self, items: Iterable[Any], columns: Sequence[Column], limit: int | None = None) -> None:
        """A list. With `limit`, one item more than that says that there are more."""
        found = list(items)
        more = limit is not None and len(found) > limit
        shown = found[:limit]
        if self.json_output:
            self.document({"items": shown, "more": more})
            return
        if self.terminal:
            titles = [_(column.title) for column in columns]
            cells = [[_cell(item, column) for column in columns] for item in shown]
            import_module("kumoi.cli.tables").table_print(titles, cells, [column.whole for column in columns])
        else:
            for item in shown:
                self.row(item, columns)
        if more:
            self.note(_("there are more; use --limit"))

    def row(self, item: object, columns: Sequence[Column]) -> None:
        """One item of a stream, at once: a JSON line, or a tab-separated one."""
        if self.json_output:
            self.json_line(item)
            return
        click.echo("\t".join(_field(item, column) for column in columns))
        sys.stdout.flush()


def _cell(item: object, column: Column) -> str:
    value = getattr(item, column.name)
    if value is None or value == "":
        return "-"
    return text_clean(column.show(value)) if column.show else _plain(value)


def _field(item: object, column: Column) -> str:
    value = getattr(item, column.name)
    return text_clean(column.plain(value)) if column.plain else _plain(value)


def _plain(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case tuple() | list():
            return ",".join(_plain(held) for held in value)
        case dict() | msgspec.Struct():
            return text_clean(msgspec.json.encode(value).decode())
        case _:
            return text_clean(str(value))


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    fields: list[tuple[str, object]] = []
    for name, held in value.items():
        if isinstance(held, dict) and held:
            fields += _flat(held, f"{prefix}{name}.")
        elif held not in ({}, [], ()):
            fields.append((prefix + name, held))
    return fields
