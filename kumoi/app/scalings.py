"""Decisions of the autoscaler, with what they were decided on."""

from kumoi.app.plane import Plane
from kumoi.model.access import Action, Actor, ResourceKind, Target
from kumoi.model.ids import IdKind, id_is
from kumoi.model.scalings import ScalingRecord
from kumoi.model.time import time_format
from kumoi.store import replicas


async def scaling_read(plane: Plane, actor: Actor, scaling: str) -> ScalingRecord:
    """One decision with all that it was decided on, for those who may read its service."""
    row = await plane.store.read(replicas.scaling_get, scaling) if id_is(IdKind.SCALING, scaling) else None
    if row is None:
        await plane.refuse_unknown(actor, Action.SERVICE_READ, ResourceKind.SERVICE, scaling)
    target = Target(ResourceKind.SERVICE, row.service_id, row.organization_id, row.project_id)
    await plane.authorize(actor, Action.SERVICE_READ, target, named=scaling)
    return ScalingRecord(
        id=row.id,
        service=row.service_id,
        at=time_format(row.at_us),
        wanted=row.wanted,
        reason=row.reason,
        digest=row.digest,
        inputs=row.inputs,
    )
