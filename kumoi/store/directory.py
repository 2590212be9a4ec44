"""What is where: a bounded cache of facts that hardly ever change, for the path of every request.

An entry lives for a second, so that planes beside this one are noticed; `forget` drops all at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection, or_, select

from kumoi.model.ids import is_reference
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
    """A pool by name or id."""

    id: str
    name: str
    state: str
    engine: str
    network_allowed: bool


class Directory:
    """Cached look-ups. Absence is not cached: what was just made is found at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], tuple[object, float]] = {}
        self._generation = 0

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


def _project(connection: Connection, project_id: str) -> ProjectPlace | None:
    table = schema.projects
    row = connection.execute(select(table).where(table.c.id == project_id)).one_or_none()
    if row is None:
        return None
    return ProjectPlace(row.id, row.organization_id, row.number, row.state, row.data_class, row.jurisdiction)


def _pool(connection: Connection, name_or_id: str) -> PoolPlace | None:
    table = schema.pools
    statement = select(table).where(or_(table.c.id == name_or_id, table.c.name == name_or_id))
    row = connection.execute(statement).first()
    if row is None:
        return None
    return PoolPlace(row.id, row.name, row.state, row.engine, row.network_allowed)


def _organization_id(connection: Connection, name_or_id: str) -> str | None:
    table = schema.organizations
    statement = select(table.c.id).where(or_(table.c.id == name_or_id, table.c.name == name_or_id))
    return connection.execute(statement).scalar()
