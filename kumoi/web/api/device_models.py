"""Device models."""

from typing import TYPE_CHECKING

from kumoi.app import device_models
from kumoi.model.capacity import DeviceModelWrite
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def device_model_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Device models, those that are built in among them."""
    return answer_json(
        await device_models.device_model_list(plane, request.actor, request.query.limit, request.query.cursor)
    )


async def device_model_write(plane: "Plane", request: Request[DeviceModelWrite, NoQuery]) -> Answer:
    """Write what a model's datasheet says, and attest it with the datasheet's digest."""
    return answer_written(
        await device_models.device_model_write(
            plane, request.actor, request.path["device_model"], request.body, request.if_match
        )
    )
