"""Recorded decisions of the autoscaler, with what they were decided on."""

from msgspec import Struct

from kumoi.model.ids import Id


class ScalingRecord(Struct, frozen=True):
    """A decision about a service's replicas: `kumoi replay` recomputes it from this alone.

    `reason` is JSON: a stable code and the figures of its sentence. `inputs` are packed, and `digest` is the
    SHA-256 (hex) over what they unfold to.
    """

    id: Id
    service: Id
    at: str
    wanted: int
    reason: str
    digest: str
    inputs: bytes
