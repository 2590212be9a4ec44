"""Recorded plans: what they say, and what they were decided on."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from kumoi.core.placement.snapshot import Inputs, Placed, Refused, inputs_unpack
from kumoi.store.schema import AnyRow, plans

CHAIN_MAX = 2_000


class PlanBody(msgspec.Struct, frozen=True):
    """What a plan says."""

    placed: tuple[Placed, ...]
    refused: tuple[Refused, ...]


_bodies = msgspec.json.Decoder(PlanBody)


def plan_body(text: str) -> PlanBody:
    """The answer of a plan from the text of its row."""
    return _bodies.decode(text)


def plan_get(connection: Connection, plan_id: str) -> AnyRow | None:
    """The row of a plan."""
    return connection.execute(select(plans).where(plans.c.id == plan_id)).one_or_none()


def plan_chain(connection: Connection, row: AnyRow) -> Sequence[Inputs]:
    """The inputs that a plan was decided on, from its base on."""
    statement = (
        select(plans.c.inputs)
        .where(plans.c.base_id == row.base_id, plans.c.id <= row.id)
        .order_by(plans.c.id)
        .limit(CHAIN_MAX)
    )
    return [inputs_unpack(packed) for packed in connection.execute(statement).scalars()]
