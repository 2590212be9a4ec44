"""The table of commands: quick to show, complete, and the same shape everywhere."""

import json

import click
import pytest

from kumoi.cli.command import Command, Group
from kumoi.cli.root import COMMANDS, root

HEAVY = {"httpx", "rich", "litestar", "sqlalchemy", "msgspec", "cryptography", "cedarpy", "granian"}
SHELLS = {"bash": "complete -o", "zsh": "compdef", "fish": "complete --no-files"}


def leaves(group: click.Group = root, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    context = click.Context(group)
    found: dict[tuple[str, ...], click.Command] = {}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= leaves(command, (*path, name))
        else:
            found[(*path, name)] = command
    return found


def test_help_imports_nothing_heavy(process):
    counted = (
        "import sys, atexit, json; atexit.register(lambda: print(json.dumps(sorted(sys.modules)),"
        " file=sys.stderr)); from kumoi.main import main; main()"
    )
    ran = process("--help", main=counted)
    modules = set(json.loads(ran.err))
    assert ran.code == 0
    assert not {module.partition(".")[0] for module in modules} & HEAVY
    assert {module for module in modules if module.startswith("kumoi.")} == {
        "kumoi.main",
        "kumoi.cli",
        "kumoi.cli.root",
        "kumoi.cli.command",
        "kumoi.cli.exits",
        "kumoi.cli.language",
    }


def test_help_shows_the_whole_table(kumoi):
    ran = kumoi("--help")
    assert [line.split()[0] for line in ran.out.partition("Commands:\n")[2].splitlines()] == list(COMMANDS)
    for entry in COMMANDS.values():
        assert entry.help in ran.out


def test_help_of_a_group_loads_no_http_client(process):
    counted = (
        "import sys, atexit; atexit.register(lambda: print('httpx' in sys.modules, 'rich' in sys.modules,"
        " file=sys.stderr)); from kumoi.main import main; main()"
    )
    ran = process("job", "--help", main=counted)
    assert (ran.code, ran.err.split()) == (0, ["False", "False"])


@pytest.mark.parametrize(
    "path", [path for path in leaves() if path not in (("up",), ("gateway",), ("witness",))], ids=" ".join
)
def test_every_command_is_of_our_kind(kumoi, path):
    command = leaves()[path]
    assert isinstance(command, Command)
    assert command.help
    assert {"json_output", "url", "token_file", "lang"} <= {parameter.name for parameter in command.params}
    ran = kumoi(*path, "--help")
    assert ran.code == 0
    assert "--json" in ran.out


def test_every_group_says_what_it_is_for(kumoi):
    for name, entry in COMMANDS.items():
        command = root.get_command(click.Context(root), name)
        if isinstance(command, Group):
            assert kumoi(name, "--help").code == 0
            assert command.help == entry.help


@pytest.mark.parametrize("arguments", [["nope"], ["job", "nope"], ["job", "list", "--nope"], ["job", "show"]])
def test_what_does_not_exist_is_a_usage_error(kumoi, arguments):
    ran = kumoi(*arguments)
    assert ran.code == 2
    assert "--help" in ran.err
    assert ran.out == ""


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_script_of_the_shell(kumoi, shell):
    ran = kumoi("completion", shell)
    assert ran.code == 0
    assert SHELLS[shell] in ran.out
    assert "_KUMOI_COMPLETE" in ran.out


def test_completion_completes_commands_and_options(process, monkeypatch):
    monkeypatch.setenv("_KUMOI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("COMP_WORDS", "kumoi lo")
    run = "from kumoi.cli.root import run; run()"
    assert process(main=run).out.split() == ["plain,login", "plain,logout", "plain,log"]
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("COMP_WORDS", "kumoi job ca")
    assert process(main=run).out.split() == ["plain,cancel"]


def test_versions(kumoi, logged_in):
    from kumoi import __version__

    assert kumoi("--version").out == f"kumoi {__version__}\n"
    assert kumoi("version").lines == [["client", __version__]]
    assert kumoi("version", "--plane", "--json").json["plane"]["region"] == "fake"
