"""`kumoi login`, `logout`, `whoami`: which plane, as whom."""

from urllib.parse import urlsplit

import click

from kumoi.cli.command import Command, Globals, option
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, pass_session
from kumoi.cli.settings import config_read, config_write, settings_load, token_read
from kumoi.model.access import Whoami

ROLE_COLUMNS = (Column("role", "ROLE"), Column("scope_kind", "SCOPE"), Column("scope", "OF"))
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@click.command("login", cls=Command)
@option(
    "--token",
    "token_source",
    metavar="-",
    help="- reads the token from standard input; else it is asked for.",
)
@option("-p", "--project", help="Remember this project as the default.")
@option("--organization", help="Remember this organization as the default.")
@click.pass_context
def login(
    context: click.Context, token_source: str | None, project: str | None, organization: str | None
) -> None:
    """Remember a plane (--url) and a token, after asking the plane who it is."""
    given = context.ensure_object(Globals)
    source = token_source or given.token_file
    if source is not None and token_source not in {None, "-"}:
        raise click.UsageError(
            _("a token on the command line can be seen by others; use --token - or --token-file FILE")
        )
    token = click.prompt(_("Token"), hide_input=True, err=True) if source is None else token_read(source)
    settings = settings_load(Globals(url=given.url))
    known = Globals(given.json_output, settings.url)
    with Session(known, token=token) as session:
        who = session.client.whoami()
        wanted = session.project(project) if project else None
        if urlsplit(settings.url).scheme == "http" and urlsplit(settings.url).hostname not in _LOOPBACK:
            session.out.note(
                _("warning: {url} is not encrypted: the token can be read on its way").format(
                    url=settings.url
                )
            )
        before = config_read()
        same = before.get("url") == settings.url
        path = config_write(
            {
                "url": settings.url,
                "token": token,
                "project": wanted or (before.get("project") if same else None),
                "organization": organization or (before.get("organization") if same else None),
            }
        )
        if known.json_output:
            session.out.document(who)
        else:
            session.out.line(
                _("{name} of {organization} at {url}; remembered in {path}").format(
                    name=who.name, organization=who.organization_name, url=settings.url, path=path
                )
            )


@click.command("logout", cls=Command)
@pass_session
def logout(session: Session) -> None:
    """Forget the token. It stays valid until it expires or is revoked (kumoi token revoke)."""
    kept = {name: value for name, value in config_read().items() if name != "token"}
    path = config_write(kept)
    if session.out.json_output:
        session.out.document({"path": str(path)})
    session.out.line(_("forgotten: the token in {path}").format(path=path))


@click.command("whoami", cls=Command)
@pass_session
def whoami(session: Session) -> None:
    """Show who the token speaks for, and with which roles."""
    who = session.client.whoami()
    session.out.record(who, _shown(who))


def _shown(who: Whoami) -> dict[str, object]:
    return {
        "id": who.id,
        "name": who.name,
        "kind": who.kind,
        "organization": f"{who.organization} ({who.organization_name})",
        "roles": [f"{role.role} of {role.scope_kind} {role.scope}" for role in who.roles],
        "token": f"{who.token.id} ({who.token.name})",
        "token.scopes": [str(scope) for scope in who.token.scopes],
        "token.project": who.token.project,
        "token.expires_at": who.token.expires_at,
    }
