"""`kumoi token`: API tokens. A secret is printed once, when it is created, and nowhere else."""

import click
from click import BadParameter

from kumoi.cli.command import Group, option
from kumoi.cli.failures import token_lost
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, pass_session
from kumoi.cli.text import duration_parse
from kumoi.model.access import TOKEN_EXPIRES_S_MAX, TokenCreate, TokenScope

COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("scopes", "SCOPES"),
    Column("project", "PROJECT"),
    Column("expires_at", "EXPIRES"),
)


@click.group("token", cls=Group)
def token() -> None:
    """API tokens."""


@token.command("list")
@option("--principal", help="Of this user or service account; else your own.")
@limit_option
@pass_session
def token_list(session: Session, principal: str | None, limit: int) -> None:
    """List tokens, without their secrets."""
    session.out.rows(session.client.tokens.list(principal, limit=limit + 1), COLUMNS, limit)


@token.command("create")
@option("--name", default="token", show_default=True, help="What it is for.")
@option("--principal", help="For this user or service account; else for you.")
@option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([str(s) for s in TokenScope]),
    help="What it may be used for at most; may be repeated (all).",
)
@option("-p", "--project", help="Only for this project.")
@option("--expires", metavar="TIME", default="90d", show_default=True, help="How long it is valid.")
@pass_session
def token_create(
    session: Session,
    name: str,
    principal: str | None,
    scopes: tuple[str, ...],
    project: str | None,
    expires: str,
) -> None:
    """Create a token. It is shown once."""
    expires_s = int(duration_parse(expires))
    if not 60 <= expires_s <= TOKEN_EXPIRES_S_MAX:
        raise BadParameter(_("a token is valid for 1 minute to 366 days, not {text}").format(text=expires))
    body = TokenCreate(
        name,
        principal,
        tuple(TokenScope(scope) for scope in scopes) or (TokenScope.ALL,),
        session.project(project) if project else None,
        expires_s,
    )
    created = session.client.tokens.create(body)
    shown = {"id": created.token.id, "expires_at": created.token.expires_at, "secret": created.secret}
    session.out.record(created, shown)
    if created.secret is None:
        raise token_lost(created.token.principal)
    session.out.note(_("the token is shown this once: keep it safe"))


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@pass_session
def token_revoke(session: Session, token_id: str) -> None:
    """End a token."""
    session.out.record(session.client.tokens.revoke(token_id))
