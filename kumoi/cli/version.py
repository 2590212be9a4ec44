"""`kumoi version`."""

import click

from kumoi import __version__
from kumoi.cli.command import Command, option
from kumoi.cli.session import Session, pass_session


@click.command("version", cls=Command)
@option("--plane", is_flag=True, help="Ask the plane for its version too.")
@pass_session
def version(session: Session, plane: bool) -> None:
    """Show versions."""
    found: dict[str, object] = {"client": __version__}
    if plane:
        found["plane"] = session.public.health()
    session.out.record(found)
