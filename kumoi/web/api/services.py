"""Services."""

from typing import TYPE_CHECKING

from kumoi.app import services
from kumoi.model.services import ServicePin, ServiceSpec
from kumoi.web.api.answer import Answer, answer_json
from kumoi.web.api.parameters import NoQuery, ServiceListQuery
from kumoi.web.api.request import Request
from kumoi.web.api.sentences import service_answer, service_written

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def service_list(plane: "Plane", request: Request[None, ServiceListQuery]) -> Answer:
    """Services of a project that are not deleted, oldest first."""
    query = request.query
    return answer_json(
        await services.service_list(
            plane, request.actor, request.path["project"], query.limit, query.cursor, query.name
        )
    )


async def service_create(plane: "Plane", request: Request[ServiceSpec, NoQuery]) -> Answer:
    """Create a service; its replicas follow the demand."""
    return service_written(
        request.reader,
        await services.service_create(
            plane, request.actor, request.path["project"], request.body, request.key
        ),
    )


async def service_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One service with its replicas and what stands in its way."""
    found = await services.service_read(plane, request.actor, request.path["service"])
    return service_answer(request.reader, found)


async def service_update(plane: "Plane", request: Request[ServiceSpec, NoQuery]) -> Answer:
    """Replace what a service is; another `run` is rolled out as a new revision."""
    return service_written(
        request.reader,
        await services.service_update(
            plane, request.actor, request.path["service"], request.body, request.if_match
        ),
    )


async def service_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Delete a service; its replicas finish their requests and end."""
    return service_written(
        request.reader,
        await services.service_delete(plane, request.actor, request.path["service"], request.if_match),
    )


async def service_pin(plane: "Plane", request: Request[ServicePin, NoQuery]) -> Answer:
    """Keep a number of replicas, whatever the demand is."""
    return service_written(
        request.reader,
        await services.service_pin(plane, request.actor, request.path["service"], request.body, request.key),
    )


async def service_unpin(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Let the replicas follow the demand again."""
    return service_written(
        request.reader,
        await services.service_unpin(plane, request.actor, request.path["service"], request.key),
    )
