"""`kumoi secret`: secrets of a project. Values come from standard input or a file, never from arguments."""

import sys
from typing import BinaryIO

import click

from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import NAMES_MAX, Session, limit_option, pass_session, project_option
from kumoi.model.records import SECRET_BYTES_MAX

COLUMNS = (Column("name", "NAME"), Column("version", "VERSION"), Column("updated_at", "UPDATED"))


@click.group("secret", cls=Group)
def secret() -> None:
    """Secrets of a project."""


@secret.command("put")
@click.argument("name")
@option("--file", "source", type=click.File("rb"), help="Read the value from a file.")
@project_option
@pass_session
def secret_put(session: Session, name: str, source: BinaryIO | None, project: str | None) -> None:
    """Write a secret from standard input, byte for byte, or from a file."""
    value = _value(source)
    session.out.record(session.client.secrets.put(session.project(project), name, value))


@secret.command("list")
@project_option
@limit_option
@pass_session
def secret_list(session: Session, project: str | None, limit: int) -> None:
    """List secrets, without their values."""
    found = session.client.secrets.list(session.project(project), limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@secret.command("rm")
@click.argument("name")
@project_option
@pass_session
def secret_rm(session: Session, name: str, project: str | None) -> None:
    """Remove a secret."""
    within = session.project(project)
    for held in session.client.secrets.list(within, limit=NAMES_MAX):
        if held.name == name:
            session.client.secrets.delete(within, name, held.version)
            session.out.done(name)
            return
    raise fail(
        Exit.NOT_FOUND,
        _("there is no secret {name} in {project}").format(name=name, project=within),
        _("kumoi secret list shows them"),
    )


def _value(source: BinaryIO | None) -> bytes:
    if source is None and sys.stdin.isatty():
        prompted: str = click.prompt(_("Value"), hide_input=True, err=True)
        return prompted.encode()
    value = (source or sys.stdin.buffer).read(SECRET_BYTES_MAX + 1)
    if len(value) > SECRET_BYTES_MAX:
        raise fail(
            Exit.USAGE,
            _("the value has more than {limit} bytes").format(limit=SECRET_BYTES_MAX),
            _("put large things into a file: kumoi file put"),
        )
    return value
