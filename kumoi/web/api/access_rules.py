"""Rules by which an organization approves operator access in advance."""

from typing import TYPE_CHECKING

from kumoi.app import access_rules
from kumoi.model.access_requests import AccessRuleCreate
from kumoi.web.api.answer import Answer, answer_json, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def access_rule_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Rules of an organization, oldest first, past ones too."""
    query = request.query
    return answer_json(
        await access_rules.access_rule_list(
            plane, request.actor, request.path["organization"], query.limit, query.cursor
        )
    )


async def access_rule_create(plane: "Plane", request: Request[AccessRuleCreate, NoQuery]) -> Answer:
    """Approve in advance what fits, with a signature of the organization's key over the rule."""
    return answer_written(
        await access_rules.access_rule_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def access_rule_revoke(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """End a rule."""
    path = request.path
    return answer_written(
        await access_rules.access_rule_revoke(
            plane, request.actor, path["organization"], path["access_rule"], request.key
        )
    )
