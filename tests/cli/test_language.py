"""Japanese: every text of the command line is in the catalogue, with the same fields."""

import ast
import inspect
import string
from pathlib import Path

import click
import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from kumoi.cli import language
from kumoi.cli.language import LOCALE_DIR, language_use
from kumoi.cli.root import COMMANDS, root

CLI = Path(language.__file__).parent


@pytest.fixture(scope="module")
def catalogue() -> Catalog:
    with (LOCALE_DIR / "ja" / "LC_MESSAGES" / "kumoi.po").open("rb") as file:
        return read_po(file, locale="ja", abort_invalid=True)


@pytest.fixture
def japanese(catalogue, tmp_path, monkeypatch):
    """The catalogue, compiled."""
    place = tmp_path / "ja" / "LC_MESSAGES"
    place.mkdir(parents=True)
    with (place / "kumoi.mo").open("wb") as file:
        write_mo(file, catalogue)
    monkeypatch.setattr(language.language_use, "__defaults__", (None, tmp_path))


def texts_marked() -> set[str]:
    found = set()
    main = CLI.parent / "main"
    for path in (*CLI.glob("*.py"), *main.glob("replay*.py"), main / "store_file.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                at = {"_": 0, "Column": 1}.get(node.func.id)
                if at is not None and isinstance(node.args[at], ast.Constant):
                    found.add(node.args[at].value)
    return found


def texts_of_help(command: click.Command) -> set[str]:
    language_use("en")
    found = {inspect.cleandoc(command.help)} if command.help else set()
    found |= {parameter.help for parameter in command.params if getattr(parameter, "help", None)}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if name not in ("up", "gateway"):
                found |= texts_of_help(command.get_command(context, name))
    return found


def test_every_text_is_translated_with_its_fields(catalogue):
    texts = texts_marked() | texts_of_help(root) | {entry.help for entry in COMMANDS.values()}
    assert len(texts) > 250
    strings = {message.id: message.string for message in catalogue if message.id}
    assert {text for text in texts if not strings.get(text)} == set()
    for text in texts:
        assert fields(text) == fields(strings[text]), text


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_nothing_is_translated_that_nobody_says(catalogue):
    said = texts_marked() | texts_of_help(root) | {entry.help for entry in COMMANDS.values()}
    clicks = {
        "Usage:", "Options",
        "Show this message and exit.", "Error: {message}", "default: {default}", "required",
        "Try '{command} {option}' for help.", "No such command {name!r}.", "No such option {name!r}.",
        "Missing argument", "Missing option", "Invalid value for {param_hint}: {message}",
    }  # fmt: skip
    ours = {message.id for message in catalogue if ("kumoi/cli", None) in message.locations}
    assert ours - said == clicks


@pytest.mark.usefixtures("japanese")
@pytest.mark.parametrize("way", ["flag before", "flag behind", "KUMOI_LANG", "LANG", "LC_ALL"])
def test_japanese_is_chosen_by_flag_or_environment(kumoi, monkeypatch, way):
    arguments = ["job", "list", "--help"]
    if way == "flag before":
        arguments = ["--lang", "ja", *arguments]
    elif way == "flag behind":
        arguments = ["job", "list", "--lang", "ja", "--help"]
    else:
        monkeypatch.setenv(way, "ja_JP.UTF-8")
    out = kumoi(*arguments).out
    assert "ジョブの一覧" in out
    assert "使い方:" in out
    assert "オプション" in out


@pytest.mark.usefixtures("japanese", "logged_in")
def test_errors_are_japanese_and_the_plane_is_asked_for_japanese(kumoi, plane, at_once):
    ran = kumoi("--lang", "ja", "job", "show", "job_x")
    assert "拒否された (404 not_found)" in ran.err
    assert plane.asked[-1].headers["accept-language"] == "ja"
    assert kumoi("job", "show", "job_x").err.startswith("kumoi: refused")
    assert plane.asked[-1].headers["accept-language"] == "en"


def test_english_where_no_catalogue_is_compiled(kumoi, monkeypatch, tmp_path):
    monkeypatch.setattr(language.language_use, "__defaults__", (None, tmp_path))
    assert "List jobs" in kumoi("--lang", "ja", "job", "list", "--help").out
