"""Recompute a recorded plan from what it was decided on, without the plane.

The inputs of a plan are a base (all hosts of the pool) and what changed from plan to plan since. Their
digests form a chain, so a plan's digest names everything that it was decided on.
"""

from collections.abc import Iterable

from kumoi.core.placement.pool import PoolPlacer
from kumoi.core.placement.snapshot import Inputs, Plan, ReplayError, inputs_digest


def replay(chain: Iterable[Inputs]) -> tuple[Plan, str]:
    """The plan that the last of these inputs leads to, and their digest. ReplayError for a broken chain."""
    placer: PoolPlacer | None = None
    digest = ""
    last: Inputs | None = None
    for inputs in chain:
        if inputs.base is not None:
            placer = PoolPlacer(inputs.pool, inputs.policy)
            placer.hosts_put(inputs.base)
            digest = ""
        elif placer is None:
            raise ReplayError("the recorded inputs do not begin with a base: the plan's base was pruned")
        else:
            placer.hosts_put(inputs.changed)
            placer.hosts_remove(inputs.gone)
        if inputs.learned is not None:
            placer.learned_put(inputs.learned)
        digest = inputs_digest(digest, inputs)
        last = inputs
    if placer is None or last is None:
        raise ReplayError("no inputs were recorded for the plan")
    placed, refused = placer.place(last.tasks, last.now_us, last.holds)
    return Plan(last.policy, last.seed, last.now_us, placed, refused), digest
