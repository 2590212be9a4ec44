"""Pools of hosts."""

from typing import TYPE_CHECKING

from kumoi.app import pools
from kumoi.model.places import PoolCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def pool_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Pools of the region."""
    return answer_json(await pools.pool_list(plane, request.actor, request.query.limit, request.query.cursor))


async def pool_create(plane: "Plane", request: Request[PoolCreate, NoQuery]) -> Answer:
    """Add a pool to a site."""
    return answer_written(await pools.pool_create(plane, request.actor, request.body, request.key))


async def pool_pause(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Pause a pool: it accepts work and holds it."""
    return answer_written(await pools.pool_pause(plane, request.actor, request.path["pool"], request.key))


async def pool_resume(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Let a paused pool start work again."""
    return answer_written(await pools.pool_resume(plane, request.actor, request.path["pool"], request.key))
