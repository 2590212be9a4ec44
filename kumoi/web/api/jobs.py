"""Jobs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kumoi.app import jobs, why
from kumoi.model.access import Actor
from kumoi.model.jobs import JobBatch, JobSpec
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import JobListQuery, NoQuery
from kumoi.web.api.request import Request
from kumoi.web.api.sentences import job_why_answer

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def job_list(plane: "Plane", request: Request[None, JobListQuery]) -> Answer:
    """Jobs of a project, newest first."""
    return answer_json(
        await jobs.job_list(
            plane,
            request.actor,
            request.path["project"],
            request.query.limit,
            request.query.cursor,
            request.query.state,
            request.query.service,
        )
    )


async def job_create(plane: "Plane", request: Request[JobSpec, NoQuery]) -> Answer:
    """Submit a job; it is durable before the answer."""
    return answer_written(
        await jobs.job_create(plane, request.actor, request.path["project"], request.body, request.key)
    )


async def job_batch_admit(plane: "Plane", actor: Actor, path: Mapping[str, str]) -> None:
    """Refuse whoever may not submit jobs to the project."""
    await jobs.submission_authorized(plane, actor, path["project"])


async def job_batch_create(plane: "Plane", request: Request[JobBatch, NoQuery]) -> Answer:
    """Submit several jobs, all or none."""
    return answer_written(
        await jobs.job_batch_create(plane, request.actor, request.path["project"], request.body, request.key)
    )


async def job_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One job with its tasks by state."""
    return answer_versioned(await jobs.job_read(plane, request.actor, request.path["job"]))


async def job_cancel(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Cancel a job."""
    return answer_written(await jobs.job_cancel(plane, request.actor, request.path["job"], request.key))


async def job_why(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Why a job waits, or where it was placed and by which decision."""
    return job_why_answer(request.reader, await why.job_why(plane, request.actor, request.path["job"]))
