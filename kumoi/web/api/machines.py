"""Machines of providers, and how pools borrow them."""

from typing import TYPE_CHECKING

from kumoi.app import machines
from kumoi.model.machines import AutoscaleWrite
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import HostListQuery, NoQuery
from kumoi.web.api.request import Request
from kumoi.web.api.sentences import autoscale_answer, autoscale_written

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def machine_list(plane: "Plane", request: Request[None, HostListQuery]) -> Answer:
    """Machines of providers, of one pool where it is given; those that have ended too."""
    query = request.query
    found = await machines.machine_list(plane, request.actor, query.pool, query.limit, query.cursor)
    return answer_json(found)


async def machine_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One machine of a provider."""
    return answer_versioned(await machines.machine_read(plane, request.actor, request.path["machine"]))


async def autoscale_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """How a pool's machines follow demand, and why there are as many as there are."""
    found = await machines.autoscale_read(plane, request.actor, request.path["pool"])
    return autoscale_answer(request.reader, found)


async def autoscale_write(plane: "Plane", request: Request[AutoscaleWrite, NoQuery]) -> Answer:
    """Let a pool borrow machines of a provider as demand goes."""
    return autoscale_written(
        request.reader,
        await machines.autoscale_write(
            plane, request.actor, request.path["pool"], request.body, request.if_match
        ),
    )


async def autoscale_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Let a pool borrow no more machines; the If-Match says which version is meant."""
    return answer_written(
        await machines.autoscale_delete(plane, request.actor, request.path["pool"], request.if_match)
    )
