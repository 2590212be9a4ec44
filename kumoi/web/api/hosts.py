"""Hosts."""

from typing import TYPE_CHECKING

from kumoi.app import hosts
from kumoi.model.places import HostDedicate
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import HostListQuery, NoQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def host_list(plane: "Plane", request: Request[None, HostListQuery]) -> Answer:
    """Hosts, of one pool where it is given."""
    return answer_json(
        await hosts.host_list(
            plane, request.actor, request.query.pool, request.query.limit, request.query.cursor
        )
    )


async def host_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One host with its devices."""
    return answer_versioned(await hosts.host_read(plane, request.actor, request.path["host"]))


async def host_drain(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Drain a host: what runs there ends in its time, nothing new starts."""
    return answer_written(await hosts.host_drain(plane, request.actor, request.path["host"], request.key))


async def host_resume(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Let a drained or quarantined host take work again."""
    return answer_written(await hosts.host_resume(plane, request.actor, request.path["host"], request.key))


async def host_dedicate(plane: "Plane", request: Request[HostDedicate, NoQuery]) -> Answer:
    """Keep a host for one organization's work, or give it to everybody's again."""
    return answer_written(
        await hosts.host_dedicate(plane, request.actor, request.path["host"], request.body, request.key)
    )


async def host_declare_lost(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Declare a silent host dead: what ran there ends as lost, and may run elsewhere."""
    return answer_written(
        await hosts.host_declare_lost(plane, request.actor, request.path["host"], request.key)
    )
