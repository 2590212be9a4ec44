"""`kumoi access`: operator access, for those who ask and those who decide."""

import base64
from dataclasses import replace
from pathlib import Path

import click

from kumoi.cli.access_signing import Signing, key_pair_write, public_key_read, signed, signing_options
from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, organization_option, pass_session
from kumoi.cli.text import duration_parse
from kumoi.ledger.errors import FormatError
from kumoi.ledger.note import vkey_parse
from kumoi.ledger.statements import (
    Approval,
    KeyAddition,
    Rule,
    Scope,
    Statement,
    reason_digest,
    statement_format,
    statement_parse,
)
from kumoi.model.access import AccessSet
from kumoi.model.access_requests import (
    AccessApprove,
    AccessKeyCreate,
    AccessKind,
    AccessRequest,
    AccessRequestCreate,
    AccessRuleCreate,
)
from kumoi.model.time import time_format, time_parse

COLUMNS = (
    Column("id", "ID", whole=True),
    Column("kind", "KIND"),
    Column("state", "STATE"),
    Column("resource", "RESOURCE"),
    Column("sets", "SETS"),
    Column("requested_by", "BY"),
    Column("expires_at", "UNTIL"),
    Column("reason", "REASON"),
)
USE_COLUMNS = (
    Column("at", "AT"),
    Column("action", "ACTION"),
    Column("call", "CALL"),
    Column("phase", "PHASE"),
    Column("size_bytes", "BYTES"),
    Column("sha256", "SHA256"),
)
KEY_COLUMNS = (
    Column("id", "ID", whole=True),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("public_key", "PUBLIC KEY"),
)
RULE_COLUMNS = (
    Column("id", "ID", whole=True),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("operator", "OPERATOR"),
    Column("resource", "RESOURCE"),
    Column("sets", "SETS"),
    Column("duration_s", "SECONDS"),
    Column("until", "UNTIL"),
)
sets_option = option(
    "--sets",
    "sets",
    type=click.Choice([one.value for one in AccessSet]),
    multiple=True,
    help="What may be done; may be repeated.",
)
statement_option = option(
    "--print-statement", is_flag=True, help="Print the bytes to be signed, and do nothing."
)


@click.group("access", cls=Group)
def access() -> None:
    """Operator access: ask, approve, revoke, see what was done."""


@access.command("list")
@organization_option
@limit_option
@pass_session
def access_list(session: Session, organization: str | None, limit: int) -> None:
    """List requests about an organization, newest first."""
    found = session.client.access_requests.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@access.command("show")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def access_show(session: Session, identifier: str, organization: str | None) -> None:
    """Show a request, with the statement that approves it."""
    session.out.record(session.client.access_requests.get(session.organization(organization), identifier))


@access.command("uses")
@click.argument("identifier", metavar="ID")
@organization_option
@limit_option
@pass_session
def access_uses(session: Session, identifier: str, organization: str | None, limit: int) -> None:
    """Show what was read or done with a request."""
    found = session.client.access_requests.uses(
        session.organization(organization), identifier, limit=limit + 1
    )
    session.out.rows(found, USE_COLUMNS, limit)


@access.command("request")
@click.argument("resource", metavar="RESOURCE")
@sets_option
@option("--reason", required=True, help="Why, for the tenant who decides.")
@option("--for", "duration", default="1h", show_default=True, metavar="TIME", help="For how long.")
@option(
    "--kind",
    type=click.Choice([one.value for one in AccessKind]),
    default=AccessKind.ORDINARY.value,
    show_default=True,
    help="Other kinds break the glass: a second operator confirms, the tenant is told at once.",
)
@organization_option
@pass_session
def access_request(
    session: Session,
    resource: str,
    sets: tuple[str, ...],
    reason: str,
    duration: str,
    kind: str,
    organization: str | None,
) -> None:
    """Ask for access to an organization, or a project, job or service of it, by id (for operators)."""
    if not sets:
        raise click.UsageError(_("say with --sets what is to be done"))
    body = AccessRequestCreate(
        resource, tuple(map(AccessSet, sets)), reason, round(duration_parse(duration)), AccessKind(kind)
    )
    session.out.record(session.client.access_requests.create(session.organization(organization), body))


@access.command("approve")
@click.argument("identifier", metavar="ID")
@signing_options
@sets_option
@option("--for", "duration", metavar="TIME", help="Grant a shorter time than was asked for.")
@statement_option
@organization_option
@pass_session
def access_approve(
    session: Session,
    identifier: str,
    sign_key: Path | None,
    signature: Path | None,
    sets: tuple[str, ...],
    duration: str | None,
    print_statement: bool,
    organization: str | None,
) -> None:
    """Approve a request with the organization's key; --sets and --for grant less than was asked."""
    where = session.organization(organization)
    asked = session.client.access_requests.get(where, identifier)
    scope = _approval(asked).scope
    if sets:
        scope = replace(scope, sets=tuple(sorted(set(sets))))
    if duration is not None:
        scope = replace(scope, duration_s=round(duration_parse(duration)))
    approval = replace(_approval(asked), scope=scope)
    if print_statement:
        _print(approval)
        return
    keys = list(session.client.access_keys.list(where))
    key, text = signed(approval, Signing(sign_key, signature), keys)
    body = AccessApprove(key, text, tuple(map(AccessSet, scope.sets)), scope.duration_s)
    session.out.record(session.client.access_requests.approve(where, identifier, body))


@access.command("deny")
@click.argument("identifier", metavar="ID")
@option("--reason", default="", help="Why, for the operator.")
@organization_option
@pass_session
def access_deny(session: Session, identifier: str, reason: str, organization: str | None) -> None:
    """Say no to a request."""
    where = session.organization(organization)
    session.out.record(session.client.access_requests.deny(where, identifier, reason))


@access.command("revoke")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def access_revoke(session: Session, identifier: str, organization: str | None) -> None:
    """End an operator's access at once; what is being read is cut off."""
    where = session.organization(organization)
    session.out.record(session.client.access_requests.revoke(where, identifier))


@access.command("end")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def access_end(session: Session, identifier: str, organization: str | None) -> None:
    """Take a request back, or give the access back (for operators)."""
    where = session.organization(organization)
    session.out.record(session.client.access_requests.end(where, identifier))


@access.command("confirm")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def access_confirm(session: Session, identifier: str, organization: str | None) -> None:
    """Confirm, as the second operator, that the glass is broken."""
    where = session.organization(organization)
    session.out.record(session.client.access_requests.confirm(where, identifier))


@access.command("explain")
@click.argument("identifier", metavar="ID")
@option("--text", required=True, help="What was done, and why it had to be.")
@organization_option
@pass_session
def access_explain(session: Session, identifier: str, text: str, organization: str | None) -> None:
    """Explain broken glass to the tenant (for operators)."""
    where = session.organization(organization)
    session.out.record(session.client.access_requests.explain(where, identifier, text))


@access.group("key", cls=Group)
def key() -> None:
    """The keys that an organization approves with."""


@key.command("list")
@organization_option
@pass_session
def key_list(session: Session, organization: str | None) -> None:
    """List the keys, retired ones too."""
    session.out.rows(session.client.access_keys.list(session.organization(organization)), KEY_COLUMNS)


@key.command("generate")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@pass_session
def key_generate(session: Session, file: Path) -> None:
    """Make a key pair: FILE (keep it to yourself) and its public half beside it."""
    try:
        public = key_pair_write(file)
    except FileExistsError as error:
        raise fail(
            Exit.USAGE, _("{path} exists").format(path=error.filename), _("name another file")
        ) from error
    session.out.record({"private_key": str(file), "public_key": str(public)})


@key.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@signing_options
@statement_option
@organization_option
@pass_session
def key_add(
    session: Session,
    name: str,
    file: Path,
    sign_key: Path | None,
    signature: Path | None,
    print_statement: bool,
    organization: str | None,
) -> None:
    """Add the public key in FILE. Every key but the first is signed for with one that is active."""
    where = session.organization(organization)
    public_key = public_key_read(file)
    keys = list(session.client.access_keys.list(where))
    body = AccessKeyCreate(name, base64.b64encode(public_key).decode())
    addition = KeyAddition(_origin(session), session.client.organizations.get(where).id, name, public_key)
    if print_statement:
        _print(addition)
        return
    if keys:
        signed_with, text = signed(addition, Signing(sign_key, signature), keys)
        body = AccessKeyCreate(name, body.public_key, signed_with, text)
    session.out.record(session.client.access_keys.create(where, body))


@key.command("retire")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def key_retire(session: Session, identifier: str, organization: str | None) -> None:
    """Let a key approve nothing more."""
    where = session.organization(organization)
    session.out.record(session.client.access_keys.retire(where, identifier))


@access.group("rule", cls=Group)
def rule() -> None:
    """Rules that approve in advance."""


@rule.command("list")
@organization_option
@limit_option
@pass_session
def rule_list(session: Session, organization: str | None, limit: int) -> None:
    """List the rules, past ones too."""
    found = session.client.access_rules.list(session.organization(organization), limit=limit + 1)
    session.out.rows(found, RULE_COLUMNS, limit)


@rule.command("create")
@click.argument("name")
@click.argument("resource", metavar="RESOURCE")
@sets_option
@option("--for", "duration", default="1h", show_default=True, metavar="TIME", help="For how long at most.")
@option("--until", required=True, help="The rule ends at this RFC 3339 time.")
@option("--operator", default="any", show_default=True, help="Only what this operator asks, by id.")
@signing_options
@statement_option
@organization_option
@pass_session
def rule_create(
    session: Session,
    name: str,
    resource: str,
    sets: tuple[str, ...],
    duration: str,
    until: str,
    operator: str,
    sign_key: Path | None,
    signature: Path | None,
    print_statement: bool,
    organization: str | None,
) -> None:
    """Approve in advance what operators ask about RESOURCE and what is below it."""
    if not sets:
        raise click.UsageError(_("say with --sets what is to be done"))
    where = session.organization(organization)
    scope = Scope(resource, tuple(sorted(set(sets))), round(duration_parse(duration)))
    made = Rule(
        _origin(session), session.client.organizations.get(where).id, name, operator, scope, _utc(until)
    )
    if print_statement:
        _print(made)
        return
    signed_with, text = signed(
        made, Signing(sign_key, signature), list(session.client.access_keys.list(where))
    )
    body = AccessRuleCreate(
        name,
        resource,
        tuple(map(AccessSet, scope.sets)),
        scope.duration_s,
        made.until,
        signed_with,
        text,
        operator,
    )
    session.out.record(session.client.access_rules.create(where, body))


@rule.command("revoke")
@click.argument("identifier", metavar="ID")
@organization_option
@pass_session
def rule_revoke(session: Session, identifier: str, organization: str | None) -> None:
    """End a rule."""
    where = session.organization(organization)
    session.out.record(session.client.access_rules.revoke(where, identifier))


def _approval(asked: AccessRequest) -> Approval:
    """What the request's statement says; fails unless it says the same as what is shown of the request."""
    try:
        found = statement_parse(asked.statement.encode())
    except FormatError as error:
        found, cause = None, str(error)
    else:
        cause = _("it says something else than the request")
    if isinstance(found, Approval):
        scope = Scope(asked.resource, asked.sets, asked.duration_s)
        reason = reason_digest(asked.reason)
        if found == Approval(
            found.origin, asked.organization, asked.id, asked.requested_by, scope, reason, asked.answer_by
        ):
            return found
    raise fail(
        Exit.VERIFICATION_FAILED,
        _("the statement of {id} cannot be signed: {cause}").format(id=asked.id, cause=cause),
        _("do not approve it; ask the operator what happened"),
    )


def _origin(session: Session) -> str:
    """The name of the region's log, which every statement is bound to."""
    return vkey_parse(session.public.log.vkey()).name


def _print(statement: Statement) -> None:
    click.echo(statement_format(statement), nl=False)


def _utc(text: str) -> str:
    try:
        return time_format(time_parse(text))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--until") from error
