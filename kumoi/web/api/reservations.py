"""Reservations of whole hosts."""

from typing import TYPE_CHECKING

from kumoi.app import reservations
from kumoi.model.shares import ReservationCreate
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def reservation_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Reservations of an organization, past ones too."""
    query = request.query
    return answer_json(
        await reservations.reservation_list(
            plane, request.actor, request.path["organization"], query.limit, query.cursor
        )
    )


async def reservation_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One reservation."""
    path = request.path
    found = await reservations.reservation_read(
        plane, request.actor, path["organization"], path["reservation"]
    )
    return answer_versioned(found)


async def reservation_create(plane: "Plane", request: Request[ReservationCreate, NoQuery]) -> Answer:
    """Hold whole hosts of a pool for an organization at a date."""
    return answer_written(
        await reservations.reservation_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def reservation_cancel(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Give the hosts of a reservation back."""
    path = request.path
    return answer_written(
        await reservations.reservation_cancel(
            plane, request.actor, path["organization"], path["reservation"], request.key
        )
    )
