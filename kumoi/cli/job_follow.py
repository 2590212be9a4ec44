"""Following a job: what its tasks write, how far it is, and how it ended."""

import sys
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from kumoi.cli.exits import Exit
from kumoi.cli.language import _
from kumoi.cli.progress import progress
from kumoi.cli.session import Session
from kumoi.model.jobs import Job, JobRef, Task

if TYPE_CHECKING:
    from kumoi.client.jobs import LogPart

FAILED_SHOWN = 5


def parts_print(session: Session, parts: "Iterable[LogPart]") -> bool:
    """What a task wrote, to the streams that it wrote to; with --json a line for each part.

    False if there was none.
    """
    is_any = False
    for part in parts:
        is_any = True
        if session.out.json_output:
            text = part.data.decode("utf-8", "replace")
            session.out.json_line(
                {"kind": "output", "stream": part.stream, "attempt": part.attempt, "text": text}
            )
            continue
        stream = sys.stderr if part.stream == "stderr" else sys.stdout
        stream.flush()
        stream.buffer.write(part.data)
        stream.buffer.flush()
    return is_any


def job_follow(session: Session, ref: JobRef) -> Job:
    """Print the log of a job with one task until it has ended; show how far an array is."""
    job = session.client.jobs.get(ref.id)
    if job.spec.array_size == 1:
        parts_print(session, session.client.jobs.logs(ref.id, follow=True))
    return job_wait(session, ref.id, None)


def job_wait(session: Session, job_id: str, timeout_s: float | None) -> Job:
    """The job once it has ended, with a bar for people while it has not. Raises WaitTimeout."""
    watched = session.client.jobs.watch(job_id, timeout_s=timeout_s)
    found = first = next(watched)
    with progress(first.name, first.spec.array_size, quiet=session.out.json_output) as bar:
        for found in chain([first], watched):
            counts = found.tasks
            bar.update(counts.succeeded + counts.failed + counts.cancelled, f"{found.name} {found.state}")
    return found


def job_exit(session: Session, job: Job) -> int:
    """Say how the job ended, and which tasks failed how; the exit code for it."""
    if job.state == "succeeded":
        return Exit.OK
    reason = f" ({job.reason})" if job.reason else ""
    session.out.note(_("{job} {state}{reason}").format(job=job.id, state=job.state, reason=reason))
    if not session.out.json_output:
        failed = [task for task in session.client.jobs.tasks(job.id) if task.state == "failed"]
        for task in failed[:FAILED_SHOWN]:
            session.out.note(f"  {_task_end(task)}")
        if len(failed) > FAILED_SHOWN:
            session.out.note(_("  and {count} more").format(count=len(failed) - FAILED_SHOWN))
    return Exit.JOB_FAILED


def _task_end(task: Task) -> str:
    last = task.attempts[-1] if task.attempts else None
    if last is None or last.outcome is None:
        return _("task {index}: {reason}").format(index=task.index, reason=task.reason or task.state)
    detail = last.exit_code if last.exit_code is not None else last.signal
    return _("task {index}: {outcome} {detail}, attempt {number}").format(
        index=task.index, outcome=last.outcome, detail="" if detail is None else detail, number=last.number
    )
