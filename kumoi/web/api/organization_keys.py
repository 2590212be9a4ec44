"""Organizations' keys, and the platform's own."""

from typing import TYPE_CHECKING

from kumoi.app import organization_keys
from kumoi.model.keys import KeyAttach
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def key_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """The key of an organization: its versions, who holds it, what is sealed with which."""
    return answer_json(await organization_keys.key_read(plane, request.actor, request.path["organization"]))


async def key_attach(plane: "Plane", request: Request[KeyAttach, NoQuery]) -> Answer:
    """Let a key in a token wrap the organization's key, and nothing else any more."""
    return answer_written(
        await organization_keys.key_attach(plane, request.actor, request.path["organization"], request.body)
    )


async def key_withdraw(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Use the organization's key no more, at once, until it is restored."""
    return answer_written(
        await organization_keys.key_withdraw(plane, request.actor, request.path["organization"], request.key)
    )


async def key_restore(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Use a withdrawn key again."""
    return answer_written(
        await organization_keys.key_restore(plane, request.actor, request.path["organization"], request.key)
    )


async def key_rotate(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Make a new version of the organization's key; what is sealed moves to it."""
    return answer_written(
        await organization_keys.key_rotate(plane, request.actor, request.path["organization"], request.key)
    )


async def platform_key_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """The versions of the platform's key, and how many organizations' keys each wraps."""
    return answer_json(await organization_keys.platform_key_read(plane, request.actor))


async def platform_key_rotate(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Make a new version of the platform's key; organizations' keys move to it."""
    return answer_written(await organization_keys.platform_key_rotate(plane, request.actor, request.key))
