"""How often whom was refused what: counted exactly, written seldom."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from kumoi.model.time import US_PER_S
from kumoi.store.access import refusal_add
from kumoi.store.database import Connection, Store
from kumoi.store.errors import StoreError

COUNTS_MAX = 10_000
MINUTE_US = 60 * US_PER_S
_log = logging.getLogger(__name__)
_Key: TypeAlias = tuple[str, str, int]
"""Actor, action, and the minute's begin."""


@dataclass(slots=True)
class _Count:
    organization_id: str
    refused: int = 0
    written: int = 0


class Refusals:
    """Counts refusals by actor, action and minute. One event loop's.

    They are written at counts 1, 2, 4, 8..., and the rest when the minute is over: durable, exact, and a
    flood of them costs little. A plane that is killed loses less than half of a minute's.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: dict[_Key, _Count] = {}
        self._minute_us = -1
        self._closing: asyncio.Task[None] | None = None

    async def count(self, actor_id: str, organization_id: str, action: str, now_us: int) -> None:
        """Count one more. A store that is away costs nobody an answer: what it lacks is written later."""
        minute_us = now_us // MINUTE_US * MINUTE_US
        key = actor_id, action, minute_us
        if key not in self._counts and len(self._counts) >= COUNTS_MAX:
            await self._make_room()
        counted = self._counts.setdefault(key, _Count(organization_id))
        counted.refused += 1
        if minute_us > self._minute_us:
            self._minute_us = minute_us
            end_us = minute_us + MINUTE_US
            asyncio.get_running_loop().call_later((end_us - now_us) / US_PER_S, self._minute_close, end_us)
        if counted.refused.bit_count() == 1:
            await self._write({key: counted})

    async def flush(self, before_us: int | None = None) -> None:
        """Write what is not written yet, of minutes that began before `before_us`, or of all."""
        counts = {key: n for key, n in self._counts.items() if before_us is None or key[2] < before_us}
        await self._write(counts)
        for key, counted in counts.items():
            if counted.written == counted.refused:
                self._counts.pop(key, None)

    def _minute_close(self, end_us: int) -> None:
        self._closing = asyncio.get_running_loop().create_task(self.flush(end_us))

    async def _make_room(self) -> None:
        await self.flush()
        if len(self._counts) >= COUNTS_MAX:
            _log.warning("the store is away: the refusals of %d actors are forgotten", len(self._counts))
            self._counts.clear()

    async def _write(self, counts: Mapping[_Key, _Count]) -> None:
        lacking = {
            key: (n.organization_id, n.refused - n.written)
            for key, n in counts.items()
            if n.refused > n.written
        }
        if not lacking:
            return
        for key, (_, refused) in lacking.items():
            counts[key].written += refused
        try:
            await self._store.transact(_add, lacking)
        except StoreError as error:
            _log.warning("refusals are written later: %s", error)
            for key, (_, refused) in lacking.items():
                counts[key].written -= refused


def _add(connection: Connection, lacking: Mapping[_Key, tuple[str, int]]) -> None:
    for (actor_id, action, minute_us), (organization_id, refused) in lacking.items():
        refusal_add(connection, actor_id, organization_id, action, minute_us, refused)
