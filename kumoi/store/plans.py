"""Recorded plans: what they say, and what they were decided on."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, select

from kumoi.core.placement.snapshot import Inputs, Placed, Refused, inputs_unpack
from kumoi.model.plans import PlanRecord, PlanSummary
from kumoi.model.time import time_format
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


def plan_list(connection: Connection, limit: int, before_id: str | None) -> Sequence[PlanSummary]:
    """Plans, newest first, older than `before_id`."""
    statement = select(
        plans.c.id, plans.c.pool_id, plans.c.policy, plans.c.decided_us, plans.c.snapshot_digest
    )
    if before_id is not None:
        statement = statement.where(plans.c.id < before_id)
    return [
        PlanSummary(row.id, row.pool_id, row.policy, time_format(row.decided_us), row.snapshot_digest)
        for row in connection.execute(statement.order_by(plans.c.id.desc()).limit(limit))
    ]


def plan_record(connection: Connection, plan_id: str) -> PlanRecord | None:
    """A plan with the packed inputs that it was decided on, from its base on."""
    row = connection.execute(select(plans).where(plans.c.id == plan_id)).one_or_none()
    if row is None:
        return None
    return PlanRecord(
        id=row.id,
        pool=row.pool_id,
        policy=row.policy,
        seed=row.seed,
        decided_at=time_format(row.decided_us),
        snapshot_digest=row.snapshot_digest,
        body=row.body,
        inputs=tuple(_chain(connection, row)),
    )


def plan_chain(connection: Connection, plan_id: str) -> Sequence[Inputs]:
    """The inputs that a plan was decided on, from its base on."""
    row = connection.execute(select(plans).where(plans.c.id == plan_id)).one()
    return [inputs_unpack(packed) for packed in _chain(connection, row)]


def _chain(connection: Connection, row: AnyRow) -> Sequence[bytes]:
    statement = (
        select(plans.c.inputs)
        .where(plans.c.base_id == row.base_id, plans.c.id <= row.id)
        .order_by(plans.c.id)
        .limit(CHAIN_MAX)
    )
    return connection.execute(statement).scalars().all()
