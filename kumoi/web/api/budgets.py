"""Rates of pools and budgets of organizations."""

from typing import TYPE_CHECKING

from kumoi.app import budgets
from kumoi.model.shares import BudgetWrite, RateWrite
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def rate_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """What work costs in each pool; in pools that are not named it is free."""
    return answer_json(
        await budgets.rate_list(plane, request.actor, request.query.limit, request.query.cursor)
    )


async def rate_write(plane: "Plane", request: Request[RateWrite, NoQuery]) -> Answer:
    """Set what work costs in a pool."""
    return answer_written(
        await budgets.rate_write(plane, request.actor, request.path["pool"], request.body, request.if_match)
    )


async def budget_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """What an organization may spend this month, and what it spent."""
    found = await budgets.budget_read(plane, request.actor, request.path["organization"])
    return answer_versioned(found)


async def budget_write(plane: "Plane", request: Request[BudgetWrite, NoQuery]) -> Answer:
    """Limit what new work of an organization spends in a month."""
    return answer_written(
        await budgets.budget_write(
            plane, request.actor, request.path["organization"], request.body, request.if_match
        )
    )


async def budget_delete(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Lift a budget; the If-Match says which version is meant."""
    return answer_written(
        await budgets.budget_delete(plane, request.actor, request.path["organization"], request.if_match)
    )
