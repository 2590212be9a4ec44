"""Rollouts of services: revisions, replicas, and why there are so many."""

from typing import TYPE_CHECKING

from kumoi.app import rollouts
from kumoi.model.services import RolloutUndo
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery, ServiceWhyQuery
from kumoi.web.api.request import Request
from kumoi.web.api.sentences import service_written, why_answer

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def revision_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Revisions of a service, newest first."""
    query = request.query
    return answer_json(
        await rollouts.revision_list(plane, request.actor, request.path["service"], query.limit, query.cursor)
    )


async def replica_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Replicas of a service, newest first, ended ones too."""
    query = request.query
    return answer_json(
        await rollouts.replica_list(plane, request.actor, request.path["service"], query.limit, query.cursor)
    )


async def service_why(plane: "Plane", request: Request[None, ServiceWhyQuery]) -> Answer:
    """Why a service has as many replicas as it has."""
    why = await rollouts.service_why(plane, request.actor, request.path["service"], request.query.limit)
    return why_answer(request.reader, why)


async def rollout_pause(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Stop replacing replicas by those of a new revision."""
    return service_written(
        request.reader,
        await rollouts.rollout_pause(plane, request.actor, request.path["service"], request.key),
    )


async def rollout_resume(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Go on replacing replicas by those of a new revision."""
    return service_written(
        request.reader,
        await rollouts.rollout_resume(plane, request.actor, request.path["service"], request.key),
    )


async def rollout_undo(plane: "Plane", request: Request[RolloutUndo, NoQuery]) -> Answer:
    """Go back to an earlier revision, or try one again where none serves."""
    return service_written(
        request.reader,
        await rollouts.rollout_undo(plane, request.actor, request.path["service"], request.body, request.key),
    )


async def replica_stop(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """End a replica when its requests are answered; another may replace it."""
    path = request.path
    return answer_written(
        await rollouts.replica_stop(plane, request.actor, path["service"], path["replica"], request.key)
    )
