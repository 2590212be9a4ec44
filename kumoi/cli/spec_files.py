"""Specifications in files: JSON or TOML."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from kumoi.cli.language import _

T = TypeVar("T")
FILE_BYTES_MAX: Final = 64 << 20


def mapping_read(source: str) -> dict[str, Any]:
    """The object in a file of JSON or TOML; `-` is JSON on standard input. Raises UsageError."""
    found = document_read(source)
    if not isinstance(found, dict):
        raise click.UsageError(
            _("{source} holds no specification: an object is needed").format(source=source)
        )
    return found


def document_read(source: str) -> Any:
    """What is in a file of JSON or TOML. Raises UsageError."""
    text = text_read(source)
    if not source.endswith(".toml"):
        return json_parse(text, source)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise click.UsageError(
            _("{source} is not TOML: {reason}").format(source=source, reason=error)
        ) from error


def json_parse(text: str, source: str) -> Any:
    """What a text of JSON holds. Raises UsageError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(
            _("{source} is not JSON: {reason}").format(source=source, reason=error)
        ) from error


def text_read(source: str) -> str:
    """The text of a file, or of standard input for `-`. Raises UsageError where it is large or no text."""
    if source == "-":
        raw = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        with Path(source).open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    if len(raw) > FILE_BYTES_MAX:
        raise click.UsageError(
            _("{source} has more than {limit} bytes").format(source=source, limit=FILE_BYTES_MAX)
        )
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise click.UsageError(
            _("{source} is not UTF-8 at byte {at}").format(source=source, at=error.start)
        ) from error


def spec_convert(value: Any, kind: type[T], what: str) -> T:
    """The value as a `kind`; `what` it is, for people. Raises UsageError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise click.UsageError(_("{what}: {reason}").format(what=what, reason=error)) from error
