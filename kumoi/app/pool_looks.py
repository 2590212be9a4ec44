"""The hosts of pools as `why` looks at them: a tenant who asks often must not stop the plane.

Hosts are read for all who ask within seconds, the longer the more it costs, and by one at a time.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kumoi.core.placement.snapshot import Refused, TaskView
from kumoi.model.errors import Unavailable
from kumoi.store.database import Connection, Store
from kumoi.store.placement_read import hosts_of_pool, pool_view
from kumoi.store.pools import pool_row

if TYPE_CHECKING:
    from kumoi.core.placement.pool import PoolPlacer

KEPT_PER_READ = 20
"""A pool is kept for so many times what reading it took: it costs at most a twentieth of one processor."""
KEPT_MOST_S = 60.0
POOLS_MAX = 8
WAIT_S = 10.0
_POLICY = "kumoi"
"""Whether something fits does not depend on what the policy learned."""


class PoolLooks:
    """Asks hosts what they say to tasks."""

    def __init__(self, store: Store, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock_s = clock_s
        self._known: dict[str, tuple[PoolPlacer, float]] = {}
        self._turn = asyncio.Lock()

    async def ask(self, pool_id: str, tasks: Sequence[TaskView], now_us: int) -> tuple[Refused, ...]:
        """Which of the tasks the hosts would refuse as they were within the last minute, and why.

        Raises Unavailable where too many ask.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                await self._turn.acquire()
        except TimeoutError as error:
            raise Unavailable(
                "why_busy", "too many ask why their jobs wait; ask again in a few seconds"
            ) from error
        try:
            placer = await self._placer(pool_id)
            _placed, refused = await asyncio.to_thread(placer.place, tasks, now_us)
            return refused
        finally:
            self._turn.release()

    async def _placer(self, pool_id: str) -> "PoolPlacer":
        known = self._known.get(pool_id)
        started_s = self._clock_s()
        if known is not None and started_s < known[1]:
            return known[0]
        placer = await self._store.read(_placer_make, pool_id)
        ended_s = self._clock_s()
        kept_s = min(KEPT_MOST_S, KEPT_PER_READ * (ended_s - started_s))
        self._known.pop(pool_id, None)
        while len(self._known) >= POOLS_MAX:
            del self._known[next(iter(self._known))]
        self._known[pool_id] = placer, ended_s + kept_s
        return placer


def _placer_make(connection: Connection, pool_id: str) -> "PoolPlacer":
    # Not at the top: the arrays need NumPy, which a plane loads when it first places work.
    from kumoi.core.placement.pool import PoolPlacer

    placer = PoolPlacer(pool_view(pool_row(connection, pool_id)), _POLICY)
    placer.hosts_put(hosts_of_pool(connection, pool_id))
    return placer
