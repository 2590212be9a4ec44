"""Tasks of a job, and what they wrote."""

import asyncio

from kumoi.app.jobs import job_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.app.volumes import volume_opened
from kumoi.engines.base import EngineError, Stream
from kumoi.model.access import Action, Actor
from kumoi.model.errors import Unavailable
from kumoi.model.jobs import Task, TaskLog
from kumoi.model.records import Page
from kumoi.store import tasks


async def task_list(plane: Plane, actor: Actor, job: str, limit: int, cursor: str | None) -> Page[Task]:
    """Tasks of a job by index, with their attempts. A job that waits for its turn has none yet."""
    await job_authorized(plane, actor, Action.JOB_READ, job)
    listing = f"tasks/{job}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(tasks.task_list, job, limit + 1, -1 if after is None else int(after))
    return plane.cursors.page(listing, rows, limit, lambda task: str(task.index))


async def task_log_read(
    plane: Plane,
    actor: Actor,
    job: str,
    index: int,
    attempt: int | None,
    stream: str,
    offset: int,
    limit: int,
) -> TaskLog:
    """At most `limit` bytes of a stream from `offset`: of the last attempt, unless one is named."""
    row = await job_authorized(plane, actor, Action.JOB_LOG_READ, job)
    found = await plane.store.read(tasks.attempt_find, job, index, attempt)
    if found is None:
        if attempt is None and 0 <= index < row.array_size:
            return TaskLog(b"", offset, ended=row.ended_us is not None)
        raise not_found(f"{job}/tasks/{index}" + ("" if attempt is None else f"/attempt {attempt}"))
    engine = plane.engines.get(found.engine)
    if engine is None:
        raise _unreadable(found.id, f"this plane does not run the engine {found.engine}")
    async with volume_opened(plane, row.organization_id):
        try:
            chunk = await asyncio.to_thread(engine.log_read, found.id, Stream(stream), offset, limit)
        except EngineError as error:
            raise _unreadable(found.id, str(error)) from error
    ended = chunk.ended and found.state == "ended"
    return TaskLog(chunk.data, chunk.next_offset, ended)


def _unreadable(attempt_id: str, reason: str) -> Unavailable:
    return Unavailable(
        "log_unavailable",
        "the log of {attempt} cannot be read now ({reason}); try again later",
        attempt=attempt_id,
        reason=reason,
    )
