"""`kumoi job`: run work, follow it, ask why it waits."""

import shlex
from typing import Any

import click
import msgspec

from kumoi.cli.command import Group, option
from kumoi.cli.job_follow import job_exit, job_follow, job_wait, parts_print
from kumoi.cli.job_specs import batch_read, spec_build, spec_options
from kumoi.cli.language import _
from kumoi.cli.output import Column
from kumoi.cli.session import Session, limit_option, pass_session, project_option
from kumoi.cli.text import bytes_show, duration_parse
from kumoi.model.jobs import ARRAY_SIZE_MAX, JobWhy, Placement, Task

COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("array_size", "TASKS"),
    Column("priority", "PRIORITY"),
    Column("created_at", "CREATED"),
    Column("ended_at", "ENDED"),
    Column("reason", "REASON"),
)
REF_COLUMNS = (Column("id", "ID"), Column("name", "NAME"), Column("state", "STATE"))
PLACEMENT_COLUMNS = (
    Column("task_index", "TASK"),
    Column("host_name", "HOST"),
    Column("policy", "POLICY"),
    Column("candidates", "CANDIDATES"),
    Column("decided_at", "DECIDED"),
    Column("plan", "PLAN"),
    Column("attempt", "ATTEMPT"),
    Column("best", "BEST (COST)"),
)
TASK_COLUMNS = (
    Column("index", "TASK"),
    Column("state", "STATE"),
    Column("number", "ATTEMPT"),
    Column("outcome", "OUTCOME"),
    Column("exit_code", "EXIT"),
    Column("cpu_s", "CPU (s)"),
    Column("memory_peak_bytes", "PEAK MEMORY", bytes_show),
    Column("host", "HOST"),
    Column("started_at", "STARTED"),
    Column("ended_at", "ENDED"),
)
STREAMS = ("stdout", "stderr")
key_option = option(
    "--key", metavar="KEY", help="Idempotency key: the same key never submits twice within a day."
)


@click.group("job", cls=Group)
def job() -> None:
    """Run work, follow it, ask why it waits."""


@job.command("run")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@spec_options
@key_option
@project_option
@pass_session
def job_run(
    session: Session,
    /,
    command: tuple[str, ...],
    key: str | None,
    project: str | None,
    **flags: Any,
) -> None:
    """Submit a job, print what it writes, and end as it ends: kumoi job run -- COMMAND..."""
    spec = spec_build(command, flags)
    ref = session.client.jobs.create(session.project(project), spec, key=key)
    session.out.note(_("{job} submitted").format(job=ref.id))
    if session.out.json_output:
        session.out.json_line({"kind": "submitted", "job": ref})
    try:
        ended = job_follow(session, ref)
    except KeyboardInterrupt:
        session.out.note(_("{job} goes on; end it with: kumoi job cancel {job}").format(job=ref.id))
        raise
    if session.out.json_output:
        session.out.json_line({"kind": "ended", "job": ended})
    click.get_current_context().exit(job_exit(session, ended))


@job.command("submit")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@spec_options
@key_option
@project_option
@pass_session
def job_submit(
    session: Session, /, command: tuple[str, ...], key: str | None, project: str | None, **flags: Any
) -> None:
    """Submit a job and print its id. When it is printed, the plane has stored the job."""
    spec = spec_build(command, flags)
    ref = session.client.jobs.create(session.project(project), spec, key=key)
    if session.out.json_output:
        session.out.document(ref)
    session.out.line(ref.id)


@job.command("batch")
@click.argument("source", metavar="FILE")
@key_option
@project_option
@pass_session
def job_batch(session: Session, source: str, key: str | None, project: str | None) -> None:
    """Submit the jobs in a file (JSON, JSON lines, TOML), all of them or none."""
    specs = batch_read(source)
    refs = session.client.jobs.create_batch(session.project(project), specs, key=key)
    session.out.rows(refs.items, REF_COLUMNS)


@job.command("list")
@option("--state", help="In this state only.")
@project_option
@limit_option
@pass_session
def job_list(session: Session, state: str | None, project: str | None, limit: int) -> None:
    """List jobs, newest first."""
    found = session.client.jobs.list(session.project(project), state=state, limit=limit + 1)
    session.out.rows(found, COLUMNS, limit)


@job.command("show")
@click.argument("job_id", metavar="JOB")
@pass_session
def job_show(session: Session, job_id: str) -> None:
    """Show a job."""
    found = session.client.jobs.get(job_id)
    shown = msgspec.to_builtins(found)
    shown["spec"]["command"] = shlex.join(found.spec.command)
    session.out.record(found, shown)


@job.command("logs")
@click.argument("job_id", metavar="JOB")
@option(
    "--task",
    "index",
    type=click.IntRange(0, ARRAY_SIZE_MAX - 1),
    default=0,
    show_default=True,
    help="Index of the task.",
)
@option(
    "--attempt",
    type=click.IntRange(1),
    help="Number of the attempt; by default the newest, with --follow all.",
)
@option(
    "--stream",
    type=click.Choice([*STREAMS, "both"]),
    default="both",
    show_default=True,
    help="What to print.",
)
@option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@pass_session
def job_logs(
    session: Session, job_id: str, index: int, attempt: int | None, stream: str, follow: bool
) -> None:
    """Print what a task wrote, to the streams that it wrote to."""
    streams = STREAMS if stream == "both" else (stream,)
    parts_print(
        session,
        session.client.jobs.logs(job_id, index=index, streams=streams, attempt=attempt, follow=follow),
    )


@job.command("cancel")
@click.argument("job_id", metavar="JOB")
@pass_session
def job_cancel(session: Session, job_id: str) -> None:
    """End a job. Tasks that have ended stay as they ended."""
    session.out.record(session.client.jobs.cancel(job_id))


@job.command("wait")
@click.argument("job_id", metavar="JOB")
@option("--timeout", metavar="TIME", help="Wait at most so long: 90, 15m, 2h; then exit with 124.")
@pass_session
def job_wait_command(session: Session, job_id: str, timeout: str | None) -> None:
    """Wait until a job has ended, and end as it ended."""
    ended = job_wait(session, job_id, duration_parse(timeout) if timeout else None)
    if session.out.json_output:
        session.out.document(ended)
    elif ended.state == "succeeded":
        session.out.line(_("{job} {state}{reason}").format(job=ended.id, state=ended.state, reason=""))
    click.get_current_context().exit(job_exit(session, ended))


@job.command("why")
@click.argument("job_id", metavar="JOB")
@pass_session
def job_why(session: Session, job_id: str) -> None:
    """Say why a job waits, or where it was placed and by which decision."""
    why = session.client.jobs.why(job_id)
    if session.out.json_output:
        session.out.document(why)
        return
    for line in _why_lines(why):
        session.out.line(line)
    if why.placements:
        session.out.rows([_PlacementRow(placement) for placement in why.placements], PLACEMENT_COLUMNS)


@job.command("tasks")
@click.argument("job_id", metavar="JOB")
@limit_option
@pass_session
def job_tasks(session: Session, job_id: str, limit: int) -> None:
    """List the tasks of a job with their newest attempts."""
    tasks = list(session.client.jobs.tasks(job_id, limit=limit + 1))
    if session.out.json_output:
        session.out.rows(tasks, (), limit)
    else:
        session.out.rows([_TaskRow(task) for task in tasks], TASK_COLUMNS, limit)


class _TaskRow:
    """A task and its newest attempt on one line."""

    def __init__(self, task: Task) -> None:
        self.index = task.index
        self.state = task.state
        last = task.attempts[-1] if task.attempts else None
        for column in TASK_COLUMNS[2:]:
            setattr(self, column.name, None if last is None else getattr(last, column.name))


class _PlacementRow:
    """A placement on one line, with the hosts that were best and their costs."""

    def __init__(self, placement: Placement) -> None:
        for column in PLACEMENT_COLUMNS[:-1]:
            setattr(self, column.name, getattr(placement, column.name))
        self.best = ", ".join(f"{host.host_name} ({host.cost:g})" for host in placement.best)


def _why_lines(why: JobWhy) -> list[str]:
    lines = [f"{why.job} {why.state}: {why.explanation}"]
    lines += [_("waits for {job}").format(job=other) for other in why.waiting_for]
    lines += [
        _("{reason}: {hosts} hosts").format(reason=refusal.reason, hosts=refusal.hosts)
        for refusal in why.refusals
    ]
    return lines
