"""The pool of a job: the one it names, or the first one that could ever run it."""

from kumoi.app.plane import Plane
from kumoi.core.placement.possible import DataBinding, hosts_mismatch, pool_mismatch
from kumoi.model.errors import Invalid
from kumoi.model.jobs import JobSpec
from kumoi.store.directory import PoolPlace

POOL_DEFAULT = "default"
POOLS_TRIED_MAX = 100


class PoolChoice:
    """Chooses pools for the jobs of one request."""

    def __init__(self, plane: Plane, bound: DataBinding) -> None:
        self._plane = plane
        self._bound = bound

    async def pool(self, spec: JobSpec, at: str) -> PoolPlace:
        """The job's pool. Raises Invalid, with what would do, where none could ever run it.

        Without a name it is `default`, or else the first other pool, by name, that fits the job's rules.
        """
        named = spec.pool or POOL_DEFAULT
        first = await self._find(named, at)
        mismatch = await self._mismatch(first, spec)
        if mismatch is None:
            return first
        if spec.pool is None:
            names = await self._plane.directory.pool_names()
            for name in names[:POOLS_TRIED_MAX]:
                other = await self._find(name, at)
                if await self._mismatch(other, spec) is None:
                    return other
        raise placed_at(mismatch, at)

    async def _find(self, name: str, at: str) -> PoolPlace:
        pool = await self._plane.directory.pool(name)
        if pool is None:
            raise Invalid(
                "pool_unknown",
                "there is no pool {name}; list them with `kumoi pool list`",
                at=f"{at}/pool",
                name=name,
            )
        return pool

    async def _mismatch(self, pool: PoolPlace, spec: JobSpec) -> Invalid | None:
        mismatch = pool_mismatch(pool.facts, spec, self._bound)
        if mismatch is not None:
            return mismatch
        return hosts_mismatch(pool.facts, await self._plane.directory.pool_hosts(pool.id), spec)


def placed_at(error: Invalid, at: str) -> Invalid:
    """The error about a job, as one about its place in the request."""
    error.at = f"{at}{error.at or ''}"
    return error
