"""What is where: a bounded cache of facts that hardly ever change, for the path of every request.

An entry lives for a second, so that planes beside this one are noticed; `forget` drops all at once. The hosts
of a pool are counted again only if one of them changed: a region's devices are too many to count each second.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, func, or_, select

from kumoi.core.placement.possible import DeviceGroup, HostGroup, PoolFacts
from kumoi.model.ids import is_reference
from kumoi.model.places import DeviceHealth, IsolationClass
from kumoi.store import schema
from kumoi.store.database import Store

TTL_S = 1.0
ENTRIES_MAX = 10_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProjectPlace:
    """Where a project belongs, and what binds its data."""

    id: str
    organization_id: str
    number: int
    state: str
    data_class: str
    jurisdiction: str


@dataclass(frozen=True, slots=True)
class PoolPlace:
    """A pool by name or id, with what it promises."""

    id: str
    state: str
    facts: PoolFacts

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.facts.name


@dataclass(frozen=True, slots=True)
class ReservationPlace:
    """A reservation by name: the pool whose hosts it holds, and until when. Microseconds UTC."""

    pool_id: str
    pool_name: str
    state: str
    end_us: int


class Directory:
    """Cached look-ups. Absence is not cached: what was just made is found at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], tuple[object, float]] = {}
        self._generation = 0
        self._hosts: dict[str, tuple[_Stamp, tuple[HostGroup, ...]]] = {}
        self._hosts_turn = asyncio.Lock()

    def forget(self) -> None:
        """Drop everything, and what look-ups under way will find: it may be what was before."""
        self._generation += 1
        self._known.clear()

    async def project(self, project_id: str) -> ProjectPlace | None:
        """The project with this id."""
        return await self._get("project", project_id, _project)

    async def pool(self, name_or_id: str) -> PoolPlace | None:
        """The pool with this name or id."""
        return await self._get("pool", name_or_id, _pool)

    async def pool_names(self) -> tuple[str, ...]:
        """The names of all pools, in order."""
        return await self._get("pools", "all", _pool_names) or ()

    async def pool_hosts(self, pool_id: str) -> tuple[HostGroup, ...]:
        """The hosts of a pool in groups that are alike, in whatever state they are."""
        async with self._hosts_turn:
            return await self._get("hosts", pool_id, self._pool_hosts) or ()

    async def reservation(self, organization_id: str, name: str) -> ReservationPlace | None:
        """The last reservation of this name that an organization made, as it is now."""
        return await self._store.read(_reservation, organization_id, name)

    async def organization_id(self, name_or_id: str) -> str | None:
        """The id of the organization with this name or id."""
        return await self._get("organization", name_or_id, _organization_id)

    async def _get(self, kind: str, key: str, find: Callable[[Connection, str], T | None]) -> T | None:
        if not is_reference(key):
            return None
        known = self._known.get((kind, key))
        now_s = time.monotonic()
        if known is not None and now_s - known[1] < TTL_S:
            return known[0]  # type: ignore[return-value]
        generation = self._generation
        found = await self._store.read(find, key)
        if found is not None and generation == self._generation:
            if len(self._known) >= ENTRIES_MAX:
                self._known.clear()
            self._known[kind, key] = found, now_s
        return found

    def _pool_hosts(self, connection: Connection, pool_id: str) -> tuple[HostGroup, ...]:
        stamp = _hosts_stamp(connection, pool_id)
        before = self._hosts.get(pool_id)
        if before is not None and before[0] == stamp:
            return before[1]
        groups = _pool_hosts(connection, pool_id)
        self._hosts[pool_id] = stamp, groups
        return groups


def _project(connection: Connection, project_id: str) -> ProjectPlace | None:
    table = schema.projects
    row = connection.execute(select(table).where(table.c.id == project_id)).one_or_none()
    if row is None:
        return None
    return ProjectPlace(row.id, row.organization_id, row.number, row.state, row.data_class, row.jurisdiction)


def _pool(connection: Connection, name_or_id: str) -> PoolPlace | None:
    table, site = schema.pools, schema.sites
    statement = (
        select(table, site.c.name.label("site_name"), site.c.country, site.c.latencies)
        .join(site, site.c.id == table.c.site_id)
        .where(or_(table.c.id == name_or_id, table.c.name == name_or_id))
    )
    row = connection.execute(statement).first()
    if row is None:
        return None
    facts = PoolFacts(
        name=row.name,
        site=row.site_name,
        country=row.country,
        latencies=msgspec.json.decode(row.latencies, type=dict[str, int]),
        isolation=IsolationClass(row.isolation),
        network_allowed=row.network_allowed,
        data_classes=msgspec.json.decode(row.data_classes, type=tuple[str, ...]),
        engine=row.engine,
    )
    return PoolPlace(row.id, row.state, facts)


def _pool_names(connection: Connection, _all: str) -> tuple[str, ...]:
    names = connection.execute(select(schema.pools.c.name).order_by(schema.pools.c.name)).scalars()
    return tuple(names)


_Stamp = tuple[object, ...]


def _hosts_stamp(connection: Connection, pool_id: str) -> _Stamp:
    """What differs whenever a host of the pool came, went or is made or dedicated differently."""
    table = schema.hosts
    columns = (func.count(), func.max(table.c.id), func.sum(table.c.version))
    return tuple(connection.execute(select(*columns).where(table.c.pool_id == pool_id)).one())


def _pool_hosts(connection: Connection, pool_id: str) -> tuple[HostGroup, ...]:
    hosts, devices = schema.hosts, schema.devices
    made: defaultdict[str, list[DeviceGroup]] = defaultdict(list)
    alike = (devices.c.host_id, devices.c.kind, devices.c.model, devices.c.partition)
    counted = (
        select(*alike, func.count().label("number"))
        .join(hosts, hosts.c.id == devices.c.host_id)
        .where(hosts.c.pool_id == pool_id, devices.c.health != DeviceHealth.GONE.value)
        .group_by(*alike)
        .order_by(*alike)
    )
    for row in connection.execute(counted):
        made[row.host_id].append(DeviceGroup(row.kind, row.model, row.partition, row.number))
    rows = connection.execute(select(hosts).where(hosts.c.pool_id == pool_id)).all()
    domains = Counter(row.failure_domain for row in rows)
    groups = Counter(
        HostGroup(
            row.cpu_milli,
            row.memory_bytes,
            row.disk_bytes,
            tuple(made[row.id]),
            row.fabric_island,
            # A domain of one host says nothing, and would make every host a group of its own.
            row.failure_domain if domains[row.failure_domain] > 1 else "",
            dedicated_to=row.dedicated_to or "",
        )
        for row in rows
    )
    return tuple(replace(group, count=count) for group, count in groups.items())


def _reservation(connection: Connection, organization_id: str, name: str) -> ReservationPlace | None:
    table, pools = schema.reservations, schema.pools
    statement = (
        select(table.c.pool_id, pools.c.name, table.c.state, table.c.end_us)
        .join(pools, pools.c.id == table.c.pool_id)
        .where(table.c.organization_id == organization_id, table.c.name == name)
        .order_by(table.c.id.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else ReservationPlace(*row)


def _organization_id(connection: Connection, name_or_id: str) -> str | None:
    table = schema.organizations
    statement = select(table.c.id).where(or_(table.c.id == name_or_id, table.c.name == name_or_id))
    return connection.execute(statement).scalar()
