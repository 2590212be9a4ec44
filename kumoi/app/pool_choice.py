"""The pool of a job: the one it names, or the first one that could ever run it."""

import asyncio
from collections.abc import Hashable

from kumoi.app.plane import Plane
from kumoi.core.placement.possible import DataBinding, HostGroup, hosts_mismatch, hosts_open_to, pool_mismatch
from kumoi.model.errors import Invalid
from kumoi.model.jobs import JobSpec
from kumoi.store.directory import PoolPlace, ReservationPlace

POOL_DEFAULT = "default"
POOLS_TRIED_MAX = 100
GROUPS_AT_ONCE_MAX = 64
"""Beyond so many groups of hosts a decision is made beside the event loop."""


class PoolChoice:
    """Chooses pools for the jobs of one request; jobs that ask for the same are decided on once."""

    def __init__(self, plane: Plane, organization_id: str, bound: DataBinding) -> None:
        self._plane = plane
        self._organization_id = organization_id
        self._bound = bound
        self._chosen: dict[Hashable, PoolPlace] = {}

    async def pool(self, spec: JobSpec, at: str) -> PoolPlace:
        """The job's pool. Raises Invalid, with what would do, where none could ever run it.

        Without a name it is `default`, or else the first other pool, by name, that fits the job's rules. One
        that is open and has hosts comes before those that are paused or have none.
        """
        gang = spec.array_size if spec.gang else 0
        asked = (spec.pool, spec.resources, spec.rules, spec.network, spec.image is None, gang)
        if asked not in self._chosen:
            try:
                self._chosen[asked] = await self._choose(spec)
            except Invalid as error:
                raise placed_at(error, at) from error
        return self._chosen[asked]

    async def _choose(self, spec: JobSpec) -> PoolPlace:
        reservation = await self._reservation(spec)
        named = await self._find(spec.pool or POOL_DEFAULT)
        mismatch, is_ready = await self._judge(named, spec, reservation)
        if mismatch is None and (is_ready or spec.pool is not None):
            return named
        second = named if mismatch is None else None
        if spec.pool is None:
            names = await self._plane.directory.pool_names()
            for name in names[:POOLS_TRIED_MAX]:
                other = await self._find(name)
                unfit, is_ready = await self._judge(other, spec, reservation)
                if unfit is None and is_ready:
                    return other
                if unfit is None and second is None:
                    second = other
        if second is None and mismatch is not None:
            raise mismatch
        return second or named

    async def _find(self, name: str) -> PoolPlace:
        pool = await self._plane.directory.pool(name)
        if pool is None:
            raise Invalid(
                "pool_unknown",
                "there is no pool {name}; list them with `kumoi pool list`",
                at="/pool",
                name=name,
            )
        return pool

    async def _reservation(self, spec: JobSpec) -> ReservationPlace | None:
        """The reservation that the job names. Raises Invalid if there is none that is or will be held."""
        name = spec.rules.reservation
        if name is None:
            return None
        found = await self._plane.directory.reservation(self._organization_id, name)
        if found is None:
            raise Invalid(
                "reservation_unknown",
                "the organization has no reservation {name}; list them with `kumoi reservation list`",
                at="/rules/reservation",
                name=name,
            )
        if found.state != "held" or found.end_us <= self._plane.clock_us():
            raise Invalid(
                "reservation_over",
                "the reservation {name} is over; name another one, or leave `reservation` out",
                at="/rules/reservation",
                name=name,
            )
        return found

    async def _judge(
        self, pool: PoolPlace, spec: JobSpec, reservation: ReservationPlace | None
    ) -> tuple[Invalid | None, bool]:
        """Why the pool could never run the job, and whether it takes work now and has hosts."""
        mismatch = _reservation_mismatch(pool, spec, reservation)
        mismatch = mismatch or pool_mismatch(pool.facts, spec, self._bound)
        if mismatch is not None:
            return mismatch, False
        groups = await self._plane.directory.pool_hosts(pool.id)
        asked = self._organization_id, spec.resources, spec.rules, spec.array_size if spec.gang else 0
        known = self._plane.pool_verdicts.find(pool, groups, asked)
        if known is not None:
            return None, known > 0 and pool.state == "open"
        if len(groups) > GROUPS_AT_ONCE_MAX:
            mismatch, hosts = await asyncio.to_thread(self._hosts_judge, pool, groups, spec)
        else:
            mismatch, hosts = self._hosts_judge(pool, groups, spec)
        if mismatch is None:
            self._plane.pool_verdicts.keep(pool, groups, asked, hosts)
        return mismatch, hosts > 0 and pool.state == "open"

    def _hosts_judge(
        self, pool: PoolPlace, groups: tuple[HostGroup, ...], spec: JobSpec
    ) -> tuple[Invalid | None, int]:
        hosts = hosts_open_to(groups, self._organization_id, dedicated=spec.rules.dedicated)
        return hosts_mismatch(pool.facts, hosts, spec), len(hosts)


def _reservation_mismatch(
    pool: PoolPlace, spec: JobSpec, reservation: ReservationPlace | None
) -> Invalid | None:
    if reservation is None or reservation.pool_id == pool.id:
        return None
    return Invalid(
        "reservation_elsewhere",
        "the reservation {name} holds hosts of the pool {other}, not of {pool}; leave `pool` out, "
        "or name {other}",
        at="/rules/reservation",
        name=spec.rules.reservation,
        other=reservation.pool_name,
        pool=pool.name,
    )


def placed_at(error: Invalid, at: str) -> Invalid:
    """The error about a job, as one about its place in the request."""
    error.at = f"{at}{error.at or ''}"
    return error
