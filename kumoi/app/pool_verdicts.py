"""Which jobs the hosts of a pool could run, remembered while the hosts stay as they are.

Tenants submit the same job over and over; what a region of hosts says to it costs more than all the rest of
its submission. Only what the hosts could run is remembered: a refusal says what would do instead, anew.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

from kumoi.core.placement.possible import HostGroup
from kumoi.store.directory import PoolPlace

POOLS_MAX = 100
ASKED_MAX = 1_000


@dataclass(slots=True)
class _Known:
    """What is remembered of a pool: of these hosts, as the directory keeps them."""

    pool: PoolPlace
    groups: tuple[HostGroup, ...]
    hosts: dict[Hashable, int] = field(default_factory=dict)


class PoolVerdicts:
    """Remembers on how many groups of hosts a job was judged that fits."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def find(self, pool: PoolPlace, groups: tuple[HostGroup, ...], asked: Hashable) -> int | None:
        """How many groups of hosts are open to a job that could run; None if it is to be judged."""
        known = self._known.get(pool.id)
        if known is None or known.groups is not groups or known.pool != pool:
            return None
        return known.hosts.get(asked)

    def keep(self, pool: PoolPlace, groups: tuple[HostGroup, ...], asked: Hashable, hosts: int) -> None:
        """Remember that such a job could run."""
        known = self._known.get(pool.id)
        if known is None or known.groups is not groups or known.pool != pool:
            if len(self._known) >= POOLS_MAX:
                self._known.clear()
            known = self._known[pool.id] = _Known(pool, groups)
        if len(known.hosts) >= ASKED_MAX:
            known.hosts.clear()
        known.hosts[asked] = hosts
