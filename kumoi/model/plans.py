"""Recorded placement plans: what was decided, and everything that it was decided on."""

from msgspec import Struct

from kumoi.model.ids import Id


class PlanSummary(Struct, frozen=True):
    """A plan in a list."""

    id: Id
    pool: Id
    policy: str
    decided_at: str
    snapshot_digest: str


class PlanRecord(Struct, frozen=True):
    """A plan with its inputs, from the base on: `kumoi replay` recomputes it from this alone.

    `body` is what it said (JSON: `placed`, `refused`); `inputs` are the packed inputs of the plans from the
    base to this one, whose digests chain to `snapshot_digest`.
    """

    id: Id
    pool: Id
    policy: str
    seed: int
    decided_at: str
    snapshot_digest: str
    body: str
    inputs: tuple[bytes, ...]
