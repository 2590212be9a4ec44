"""Role bindings: who holds which role over what."""

from typing import TYPE_CHECKING

from kumoi.app import role_bindings
from kumoi.model.access import RoleBindingCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def role_binding_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Role bindings of an organization."""
    return answer_json(
        await role_bindings.role_binding_list(
            plane, request.actor, request.path["organization"], request.query.limit, request.query.cursor
        )
    )


async def role_binding_create(plane: "Plane", request: Request[RoleBindingCreate, NoQuery]) -> Answer:
    """Grant a role over the organization or one of its projects."""
    return answer_written(
        await role_bindings.role_binding_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def role_binding_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Take a role back."""
    return answer_written(
        await role_bindings.role_binding_delete(plane, request.actor, request.path["role_binding"])
    )
