"""Jobs: submit, look, follow, wait, ask why, cancel."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from kumoi.client.errors import WaitTimeout
from kumoi.client.flows import Flow, Item, Pause, Stream
from kumoi.client.groups import D, Group, Operation, Streaming
from kumoi.client.requests import ask, get, pages, path, post
from kumoi.client.retries import POLL, exchange
from kumoi.model.jobs import Job, JobBatch, JobRef, JobRefs, JobSpec, JobSummary, JobWhy, Task, TaskLog
from kumoi.model.records import PAGE_MAX, Page

ENDED: Final = frozenset({"succeeded", "failed", "cancelled"})
"""The states that a job never leaves."""

STREAMS: Final = ("stdout", "stderr")
LOG_CHUNK_BYTES: Final = 1 << 20
_POLL_FIRST_S = 0.05
_POLL_MAX_S = 2.0


@dataclass(frozen=True, slots=True)
class LogPart:
    """Bytes that a task wrote to `stream`, in that attempt where it is known which."""

    stream: str
    data: bytes
    attempt: int | None


def job_create(project: str, spec: JobSpec, *, key: str | None = None) -> Flow[JobRef]:
    """Submit a job. When this returns the plane has stored it."""
    return ask(JobRef, post(path("projects", project, "jobs"), spec, key))


def job_create_batch(project: str, specs: Sequence[JobSpec], *, key: str | None = None) -> Flow[JobRefs]:
    """Submit several jobs, all of them or none."""
    return ask(JobRefs, post(path("projects", project, "job-batches"), JobBatch(tuple(specs)), key))


def job_list(
    project: str, *, state: str | None = None, service: str | None = None, limit: int | None = None
) -> Stream[JobSummary]:
    """Jobs of a project, newest first, but not the replicas of services; of `service`, only these."""
    return pages(JobSummary, path("projects", project, "jobs"), limit, state=state, service=service)


def job_read(job: str) -> Flow[Job]:
    """One job."""
    return ask(Job, get(path("jobs", job)))


def job_cancel(job: str, *, key: str | None = None) -> Flow[JobRef]:
    """Ask for the job's end. Tasks that have ended stay as they ended."""
    return ask(JobRef, post(path("jobs", job, "cancel"), None, key))


def job_why(job: str) -> Flow[JobWhy]:
    """Why the job waits, or where it was placed and by which decision."""
    return ask(JobWhy, get(path("jobs", job, "why")))


def job_tasks(job: str, *, limit: int | None = None) -> Stream[Task]:
    """The tasks of a job with their attempts."""
    return pages(Task, path("jobs", job, "tasks"), limit)


def job_watch(job: str, *, timeout_s: float | None = None) -> Stream[Job]:
    """The job now and after each change, until it has ended; raises WaitTimeout."""
    limit = _Limit.start(timeout_s)
    seen: Job | None = None
    while seen is None or seen.state not in ENDED:
        seen = yield from _job_change(job, seen, limit)
        yield Item(seen)


def job_wait(job: str, *, timeout_s: float | None = None) -> Flow[Job]:
    """The job once it has ended, however it did; raises WaitTimeout."""
    limit = _Limit.start(timeout_s)
    seen: Job | None = None
    while seen is None or seen.state not in ENDED:
        seen = yield from _job_change(job, seen, limit)
    return seen


@dataclass(frozen=True, slots=True)
class _Limit:
    """How long something is waited for, and until when on the monotonic clock."""

    timeout_s: float
    until_s: float

    @classmethod
    def start(cls, timeout_s: float | None) -> Self:
        wanted_s = math.inf if timeout_s is None else timeout_s
        return cls(wanted_s, time.monotonic() + wanted_s)


def _job_change(job: str, seen: Job | None, limit: _Limit) -> Flow[Job]:
    """The job as soon as it is not as `seen`."""
    delay_s = _POLL_FIRST_S
    while True:
        found = yield from ask(Job, get(path("jobs", job)), POLL)
        if found != seen:
            return found
        left_s = limit.until_s - time.monotonic()
        if left_s <= 0:
            raise WaitTimeout(f"the end of {job} (now {found.state})", limit.timeout_s)
        yield Pause(min(delay_s, left_s))
        delay_s = min(_POLL_MAX_S, delay_s * 1.5)


def job_logs(
    job: str,
    *,
    index: int = 0,
    streams: Sequence[str] = STREAMS,
    attempt: int | None = None,
    follow: bool = False,
) -> Stream[LogPart]:
    """What an attempt of a task wrote, part by part; the newest attempt's unless one is named.

    With `follow` until the attempt has ended, or, where none is named, until the task has: all its attempts,
    the first one first. The streams are kept apart: their order between each other is that of reading.
    """
    if attempt is not None or not follow:
        yield from _attempt_logs(job, index, streams, attempt, follow)
        return
    shown = 0
    delay_s = _POLL_FIRST_S
    while True:
        task = yield from _task_find(job, index)
        coming = [] if task is None else [a.number for a in task.attempts if a.number > shown]
        for number in coming:
            yield from _attempt_logs(job, index, streams, number, follow)
            shown, delay_s = number, _POLL_FIRST_S
        if coming:
            continue
        if task is not None and task.state in ENDED:
            return
        if task is None and (yield from ask(Job, get(path("jobs", job)), POLL)).state in ENDED:
            return
        yield Pause(delay_s)
        delay_s = min(_POLL_MAX_S, delay_s * 1.5)


def _task_find(job: str, index: int) -> Flow[Task | None]:
    """The task with that index; None while the job waits for its turn."""
    at, cursor = path("jobs", job, "tasks"), None
    while True:
        request = get(at, limit=min(index + 1, PAGE_MAX), cursor=cursor)
        page = yield from ask(Page[Task], request, POLL)
        for task in page.items:
            if task.index == index:
                return task
        if page.next is None or page.next == cursor:
            return None
        cursor = page.next


def _attempt_logs(
    job: str, index: int, streams: Sequence[str], attempt: int | None, follow: bool
) -> Stream[LogPart]:
    offsets = dict.fromkeys(streams, 0)
    delay_s = _POLL_FIRST_S
    while offsets:
        idle = True
        for stream in tuple(offsets):
            chunk = yield from _log_chunk(job, index, stream, attempt, offsets[stream])
            offsets[stream] = chunk.next_offset
            if chunk.data:
                idle = False
                yield Item(LogPart(stream, chunk.data, attempt))
            elif chunk.ended or not follow:
                del offsets[stream]
        if idle and offsets:
            yield Pause(delay_s)
        delay_s = min(_POLL_MAX_S, delay_s * 1.5) if idle else _POLL_FIRST_S


def _log_chunk(job: str, index: int, stream: str, attempt: int | None, offset: int) -> Flow[TaskLog]:
    at = path("jobs", job, "tasks", str(index), "log")
    request = get(at, stream=stream, attempt=attempt, offset=offset, limit=LOG_CHUNK_BYTES)
    answer = yield from exchange(request, POLL)
    following = answer.headers.get("kumoi-next-offset", "")
    next_offset = int(following) if following.isdecimal() else offset + len(answer.body)
    return TaskLog(answer.body, next_offset, answer.headers.get("kumoi-ended") == "true")


class Jobs(Group[D]):
    """`client.jobs`"""

    create = Operation(job_create)
    create_batch = Operation(job_create_batch)
    list = Streaming(job_list)
    get = Operation(job_read)
    cancel = Operation(job_cancel)
    why = Operation(job_why)
    tasks = Streaming(job_tasks)
    watch = Streaming(job_watch)
    wait = Operation(job_wait)
    logs = Streaming(job_logs)
