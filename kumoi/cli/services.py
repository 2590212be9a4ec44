"""`kumoi service`: keep programs running for requests, see them follow the demand."""

import re
import shutil
from importlib import import_module
from typing import Any

import click

from kumoi.cli.command import Group, option
from kumoi.cli.exits import Exit
from kumoi.cli.failures import fail
from kumoi.cli.job_follow import parts_print
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.service_chart import chart_lines
from kumoi.cli.service_show import (
    REPLICA_COLUMNS,
    REPLICAS_SHOWN_COLUMNS,
    replica_lines,
    rollout_show,
    service_lines,
)
from kumoi.cli.service_specs import service_options, service_spec_build
from kumoi.cli.session import Session, limit_option, pass_session, project_option
from kumoi.cli.states import state_show
from kumoi.cli.text import duration_parse
from kumoi.model.ids import NAME_PATTERN
from kumoi.model.services import REPLICAS_MAX, SCALINGS_KEPT, Service

COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE", state_show),
    Column("revision", "REVISION"),
    Column("ready", "READY"),
    Column("wanted", "WANTED"),
    Column("created_at", "CREATED"),
    Column("id", "ID"),
)
STATUS_COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE", state_show),
    Column("rollout", "ROLLOUT", rollout_show),
    Column("revision", "REVISION"),
    Column("ready", "READY"),
    Column("starting", "STARTING"),
    Column("draining", "DRAINING"),
    Column("wanted", "WANTED"),
)
REVISION_COLUMNS = (
    Column("number", "REVISION"),
    Column("state", "STATE", state_show),
    Column("created_at", "CREATED"),
    Column("created_by", "BY"),
    Column("reason", "REASON"),
)
STEP_COLUMNS = (
    Column("at", "AT"),
    Column("demand", "DEMAND"),
    Column("wanted", "WANTED"),
    Column("ready", "READY"),
    Column("waiting", "WAITING"),
    Column("plan", "DECISION"),
    Column("reason", "REASON"),
)
STREAMS = ("stdout", "stderr")
_NAME = re.compile(NAME_PATTERN)
wait_option = option("--wait", is_flag=True, help="Wait until the revision serves, or was given up.")
timeout_option = option(
    "--timeout", metavar="TIME", help="With --wait at most so long: 90, 15m; then exit with 124."
)


@click.group("service", cls=Group)
def service() -> None:
    """Programs that are kept running for requests."""


@service.command("create")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@option("--name", help="Name of the service.")
@service_options
@option("--key", metavar="KEY", help="Idempotency key: the same key never creates twice within a day.")
@wait_option
@timeout_option
@project_option
@pass_session
def service_create(
    session: Session,
    /,
    command: tuple[str, ...],
    key: str | None,
    wait: bool,
    timeout: str | None,
    project: str | None,
    **flags: Any,
) -> None:
    """Create a service and print its id: kumoi service create --port 8080 -- COMMAND..."""
    spec = service_spec_build(command, flags)
    made = session.client.services.create(session.project(project), spec, key=key)
    _told(session, made, wait, timeout)


@service.command("list")
@project_option
@limit_option
@pass_session
def service_list(session: Session, project: str | None, limit: int) -> None:
    """List services."""
    session.out.rows(session.client.services.list(session.project(project), limit=limit + 1), COLUMNS, limit)


@service.command("show")
@click.argument("name", metavar="SERVICE")
@option("-f", "--follow", is_flag=True, help="Go on, and draw it anew when something changes.")
@project_option
@pass_session
def service_show(session: Session, name: str, follow: bool, project: str | None) -> None:
    """Show a service: what stands in its way and what to do, then its replicas."""
    identifier = _service_id(session, name, project)
    if follow:
        _follow(session, identifier)
        return
    found = session.client.services.get(identifier)
    if session.out.json_output:
        session.out.document(found)
        return
    why = session.client.services.why(identifier, limit=1)
    for line in service_lines(found, why.steps[-1] if why.steps else None, _width()):
        session.out.line(line)
    if found.replicas:
        session.out.rows(found.replicas, REPLICAS_SHOWN_COLUMNS)


@service.command("update")
@click.argument("name", metavar="SERVICE")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@service_options
@wait_option
@timeout_option
@project_option
@pass_session
def service_update(
    session: Session,
    /,
    name: str,
    command: tuple[str, ...],
    wait: bool,
    timeout: str | None,
    project: str | None,
    **flags: Any,
) -> None:
    """Change a service; what a replica is becomes a new revision, and is rolled out."""
    known = session.client.services.get(_service_id(session, name, project))
    spec = service_spec_build(command, flags, known.spec)
    _told(session, session.client.services.put(known.id, spec, known.version), wait, timeout)


@service.command("delete")
@click.argument("name", metavar="SERVICE")
@project_option
@pass_session
def service_delete(session: Session, name: str, project: str | None) -> None:
    """Delete a service. Its replicas finish their requests and end."""
    known = session.client.services.get(_service_id(session, name, project))
    deleted = session.client.services.delete(known.id, known.version)
    if session.out.json_output:
        session.out.document(deleted)
    session.out.line(_("{name} is {state}").format(name=deleted.name, state=state_show(deleted.state)))


@service.command("why")
@click.argument("name", metavar="SERVICE")
@option(
    "--limit",
    type=click.IntRange(1, SCALINGS_KEPT),
    default=120,
    show_default=True,
    help="Look at so many decisions, the last ones.",
)
@project_option
@pass_session
def service_why(session: Session, name: str, limit: int, project: str | None) -> None:
    """Say why a service has as many replicas as it has, with a chart of the last decisions."""
    why = session.client.services.why(_service_id(session, name, project), limit=limit)
    if session.out.json_output:
        session.out.document(why)
        return
    session.out.line(why.explanation)
    if not session.out.terminal:
        for step in why.steps:
            session.out.row(step, STEP_COLUMNS)
        return
    for line in chart_lines(why.steps, _width()):
        session.out.line(line)
    if why.steps:
        session.out.note(
            _("the last decision can be made again: kumoi replay {decision}").format(
                decision=why.steps[-1].plan
            )
        )


@service.command("revisions")
@click.argument("name", metavar="SERVICE")
@project_option
@limit_option
@pass_session
def service_revisions(session: Session, name: str, project: str | None, limit: int) -> None:
    """List the revisions of a service, newest first."""
    identifier = _service_id(session, name, project)
    session.out.rows(session.client.services.revisions(identifier, limit=limit + 1), REVISION_COLUMNS, limit)


@service.command("replicas")
@click.argument("name", metavar="SERVICE")
@project_option
@limit_option
@pass_session
def service_replicas(session: Session, name: str, project: str | None, limit: int) -> None:
    """List the replicas of a service, newest first, ended ones too."""
    identifier = _service_id(session, name, project)
    session.out.rows(session.client.services.replicas(identifier, limit=limit + 1), REPLICA_COLUMNS, limit)


@service.command("logs")
@click.argument("name", metavar="SERVICE")
@option(
    "--replica",
    metavar="REPLICA",
    help="Of this replica; by default the newest that was ready or has ended.",
)
@option(
    "--stream",
    type=click.Choice([*STREAMS, "both"]),
    default="both",
    show_default=True,
    help="What to print.",
)
@option("-f", "--follow", is_flag=True, help="Go on until the replica has ended.")
@project_option
@pass_session
def service_logs(
    session: Session, name: str, replica: str | None, stream: str, follow: bool, project: str | None
) -> None:
    """Print what a replica wrote."""
    found = session.client.services.replicas(_service_id(session, name, project), limit=REPLICAS_MAX)
    listed = [one for one in found if replica in (None, one.id)]
    if not listed:
        raise fail(
            Exit.NOT_FOUND,
            _("{name} has no such replica").format(name=name),
            _("kumoi service replicas {name} lists them").format(name=name),
        )
    began = next((one for one in listed if one.ready_at or one.ended_at), listed[0])
    if replica is None:
        session.out.note(
            _("replica {replica}, {state}").format(replica=began.id, state=state_show(began.state))
        )
    streams = STREAMS if stream == "both" else (stream,)
    if not parts_print(session, session.client.jobs.logs(began.job, streams=streams, follow=follow)):
        session.out.note(_("it wrote nothing"))


@service.command("stop")
@click.argument("name", metavar="SERVICE")
@click.argument("replica", metavar="REPLICA")
@project_option
@pass_session
def service_stop(session: Session, name: str, replica: str, project: str | None) -> None:
    """End a replica when its requests are answered; another may replace it."""
    session.out.record(session.client.services.stop(_service_id(session, name, project), replica))


@service.command("pin")
@click.argument("name", metavar="SERVICE")
@click.argument("replicas", type=click.IntRange(0, REPLICAS_MAX))
@project_option
@pass_session
def service_pin(session: Session, name: str, replicas: int, project: str | None) -> None:
    """Keep a number of replicas, whatever the demand is."""
    _status(session, session.client.services.pin(_service_id(session, name, project), replicas))


@service.command("unpin")
@click.argument("name", metavar="SERVICE")
@project_option
@pass_session
def service_unpin(session: Session, name: str, project: str | None) -> None:
    """Let the replicas follow the demand again."""
    _status(session, session.client.services.unpin(_service_id(session, name, project)))


@service.group("rollout", cls=Group)
def rollout() -> None:
    """How a new revision takes over."""


@rollout.command("pause")
@click.argument("name", metavar="SERVICE")
@project_option
@pass_session
def rollout_pause(session: Session, name: str, project: str | None) -> None:
    """Stop replacing replicas; what serves goes on."""
    _status(session, session.client.services.pause(_service_id(session, name, project)))


@rollout.command("resume")
@click.argument("name", metavar="SERVICE")
@project_option
@pass_session
def rollout_resume(session: Session, name: str, project: str | None) -> None:
    """Go on replacing replicas."""
    _status(session, session.client.services.resume(_service_id(session, name, project)))


@rollout.command("undo")
@click.argument("name", metavar="SERVICE")
@option("--to", "revision", type=click.IntRange(1), metavar="N", help="Go back to this revision.")
@wait_option
@timeout_option
@project_option
@pass_session
def rollout_undo(
    session: Session,
    name: str,
    revision: int | None,
    wait: bool,
    timeout: str | None,
    project: str | None,
) -> None:
    """Go back to an earlier revision, or try one again where none serves."""
    identifier = _service_id(session, name, project)
    _told(session, session.client.services.undo(identifier, revision=revision), wait, timeout)


def _service_id(session: Session, given: str, project: str | None) -> str:
    """The id of a service by its id, or by its name in the project."""
    if given.startswith("svc_"):
        return given
    project_id = session.project(project)
    if not _NAME.fullmatch(given):
        raise fail(
            Exit.NOT_FOUND,
            _("there is no service {name}: a name has lower-case letters, digits and hyphens").format(
                name=given
            ),
            _("kumoi service list shows them"),
        )
    for found in session.client.services.list(project_id, name=given, limit=1):
        return found.id
    raise fail(
        Exit.NOT_FOUND,
        _("there is no service {name} in {project}").format(name=given, project=project_id),
        _("kumoi service list shows them"),
    )


def _told(session: Session, made: Service, wait: bool, timeout: str | None) -> None:
    """Print the id of a service that was written, and with `wait` how its rollout ended."""
    if wait:
        made = _rolled_out(session, made, None if timeout is None else duration_parse(timeout))
    if session.out.json_output:
        session.out.document(made)
    session.out.line(made.id)
    if wait and made.rollout != "done":
        click.get_current_context().exit(Exit.JOB_FAILED)


def _rolled_out(session: Session, made: Service, timeout_s: float | None) -> Service:
    """The service once its newest revision serves or was given up; meanwhile what stands in the way."""
    told: set[str] = set()
    for seen in session.client.services.watch(made.id, timeout_s=timeout_s):
        for condition in seen.conditions:
            if condition.code not in told:
                told.add(condition.code)
                session.out.note(f"! {condition.text}")
        made = seen
        if seen.rollout in ("done", "failed") or seen.state != "active":
            break
    session.out.note(
        _("{name} is {state}: revision {revision}, rollout {rollout}").format(
            name=made.name,
            state=state_show(made.state),
            revision=made.revision or _("none"),
            rollout=rollout_show(made.rollout),
        )
    )
    return made


def _status(session: Session, found: Service) -> None:
    if session.out.json_output:
        session.out.document(found)
    else:
        session.out.rows([found], STATUS_COLUMNS)


def _follow(session: Session, identifier: str) -> None:
    """Draw the service again and again on a terminal; a line for each change elsewhere."""
    if not session.out.terminal:
        for seen in session.client.services.watch(identifier):
            session.out.row(seen, STATUS_COLUMNS)
        return
    with import_module("kumoi.cli.live").picture() as drawn:
        for look in session.client.services.follow(identifier):
            last = look.why.steps[-1] if look.why.steps else None
            width = _width()
            lines = [*service_lines(look.service, last, width), *chart_lines(look.why.steps, width)]
            drawn.draw([*lines, *replica_lines(look.service.replicas)])


def _width() -> int:
    return shutil.get_terminal_size().columns
