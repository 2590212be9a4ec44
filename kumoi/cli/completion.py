"""`kumoi completion`: click's own completion, as a script for a shell's start file."""

import click
from click.shell_completion import get_completion_class

from kumoi.cli.command import Command
from kumoi.cli.session import Session, pass_session

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_KUMOI_COMPLETE"


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@pass_session
def completion(session: Session, shell: str) -> None:
    """Print the completion script of a shell: source <(kumoi completion bash)."""
    kind = get_completion_class(shell)
    assert kind is not None
    command = click.get_current_context().find_root().command
    script = kind(command, {}, "kumoi", VARIABLE).source()
    if session.out.json_output:
        session.out.document({"script": script})
    session.out.line(script)
