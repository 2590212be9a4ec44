"""The part of the table of routes that is about services."""

from kumoi.model.access import Action
from kumoi.model.records import Page
from kumoi.model.scalings import ScalingRecord
from kumoi.model.services import (
    Replica,
    Revision,
    RolloutUndo,
    Service,
    ServicePin,
    ServiceSpec,
    ServiceSummary,
    ServiceWhy,
)
from kumoi.web.api import rollouts, scalings, services
from kumoi.web.api.parameters import PageQuery, ServiceListQuery, ServiceWhyQuery
from kumoi.web.api.route import Route

A = Action
_SERVICES = "/v1/projects/{project}/services"
_SERVICE = "/v1/services/{service}"

SERVICE_ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        _SERVICES,
        services.service_list,
        A.SERVICE_LIST,
        Page[ServiceSummary],
        query=ServiceListQuery,
    ),
    Route(
        "POST",
        _SERVICES,
        services.service_create,
        A.SERVICE_CREATE,
        Service,
        201,
        ServiceSpec,
        etag=True,
    ),
    Route("GET", _SERVICE, services.service_read, A.SERVICE_READ, Service, etag=True),
    Route(
        "PUT",
        _SERVICE,
        services.service_update,
        A.SERVICE_UPDATE,
        Service,
        200,
        ServiceSpec,
        errors=(409, 412, 428),
        etag=True,
        if_match=True,
    ),
    Route(
        "DELETE",
        _SERVICE,
        services.service_delete,
        A.SERVICE_DELETE,
        Service,
        202,
        errors=(409, 412, 428),
        etag=True,
        if_match=True,
    ),
    Route(
        "GET",
        f"{_SERVICE}/why",
        rollouts.service_why,
        A.SERVICE_READ,
        ServiceWhy,
        query=ServiceWhyQuery,
    ),
    Route("GET", "/v1/scalings/{scaling}", scalings.scaling_read, A.SERVICE_READ, ScalingRecord),
    Route(
        "GET",
        f"{_SERVICE}/revisions",
        rollouts.revision_list,
        A.SERVICE_READ,
        Page[Revision],
        query=PageQuery,
    ),
    Route(
        "GET",
        f"{_SERVICE}/replicas",
        rollouts.replica_list,
        A.SERVICE_READ,
        Page[Replica],
        query=PageQuery,
    ),
    Route(
        "POST",
        f"{_SERVICE}/replicas/{{replica}}/stop",
        rollouts.replica_stop,
        A.SERVICE_UPDATE,
        Replica,
    ),
    Route(
        "POST",
        f"{_SERVICE}/pin",
        services.service_pin,
        A.SERVICE_UPDATE,
        Service,
        200,
        ServicePin,
        etag=True,
    ),
    Route("POST", f"{_SERVICE}/unpin", services.service_unpin, A.SERVICE_UPDATE, Service, etag=True),
    Route(
        "POST",
        f"{_SERVICE}/rollout/pause",
        rollouts.rollout_pause,
        A.SERVICE_UPDATE,
        Service,
        etag=True,
    ),
    Route(
        "POST",
        f"{_SERVICE}/rollout/resume",
        rollouts.rollout_resume,
        A.SERVICE_UPDATE,
        Service,
        etag=True,
    ),
    Route(
        "POST",
        f"{_SERVICE}/rollout/undo",
        rollouts.rollout_undo,
        A.SERVICE_UPDATE,
        Service,
        200,
        RolloutUndo,
        etag=True,
    ),
)
