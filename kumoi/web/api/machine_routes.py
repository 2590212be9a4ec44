"""The part of the table of routes about machines of providers."""

from kumoi.model.access import Action
from kumoi.model.machines import Autoscale, AutoscaleWrite, Machine
from kumoi.model.records import Page
from kumoi.web.api import machines
from kumoi.web.api.parameters import HostListQuery
from kumoi.web.api.route import Route

A = Action
_AUTOSCALE = "/v1/pools/{pool}/autoscale"

MACHINE_ROUTES: tuple[Route, ...] = (
    Route("GET", _AUTOSCALE, machines.autoscale_read, A.POOL_AUTOSCALE_READ, Autoscale, etag=True),
    Route(
        "PUT",
        _AUTOSCALE,
        machines.autoscale_write,
        A.POOL_AUTOSCALE_WRITE,
        Autoscale,
        200,
        AutoscaleWrite,
        also=(201,),
        errors=(409, 412),
        etag=True,
        if_match=True,
    ),
    Route(
        "DELETE",
        _AUTOSCALE,
        machines.autoscale_delete,
        A.POOL_AUTOSCALE_DELETE,
        None,
        204,
        errors=(409, 412, 428),
        if_match=True,
    ),
    Route("GET", "/v1/machines", machines.machine_list, A.MACHINE_LIST, Page[Machine], query=HostListQuery),
    Route("GET", "/v1/machines/{machine}", machines.machine_read, A.MACHINE_READ, Machine, etag=True),
)
