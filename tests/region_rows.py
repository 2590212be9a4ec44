"""The rows of a small region, written through the store as the plane writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kumoi.model.access import PrincipalKind
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec
from kumoi.model.places import HostHealth, IsolationClass
from kumoi.store import schema
from kumoi.store.database import Store
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.jobs import spec_text
from kumoi.store.keys.platform import PlatformKeys
from kumoi.store.keys.rows import organization_key_row
from kumoi.store.writer import Change

T0_US = 472_222 * 3_600 * 1_000_000
PLATFORM_KEYS = PlatformKeys({1: bytes(32)})
"""A full hour in November 2023, when all of these rows were made."""
GIB = 1 << 30


class RegionRows:
    """The platform and two organizations with a project each, a site, and a pool of the engine `fake`."""

    def __init__(self, store: Store, *, shared: bool = True) -> None:
        self.store = store
        self.projects: dict[str, str] = {}
        self.organizations: dict[str, str] = {}
        self.users: dict[str, str] = {}
        for number, name in enumerate(("platform", "one", "two"), 1):
            self._organization(name, number)
        self.platform = self.organizations["platform"]
        self.site = id_new(IdKind.SITE)
        row = {"id": self.site, "name": "site-1", "country": "JP", "functions": "compute", "address": ""}
        self.write(schema.sites, row | {"created_us": T0_US})
        self.pool = self.pool_add("default", shared=shared)

    def write(self, table: Any, *rows: Mapping[str, Any]) -> None:
        """Insert rows of one table in a commit."""
        self.store.commit_wait(Change([(table, rows)]))

    def pool_add(self, name: str, *, engine: str = "fake", shared: bool = True, state: str = "open") -> str:
        """A pool of hosts whose kernel is shared; whether by organizations says `shared`."""
        pool_id = id_new(IdKind.POOL)
        row = {
            "id": pool_id,
            "site_id": self.site,
            "name": name,
            "engine": engine,
            "isolation": IsolationClass.PROCESS,
            "network_allowed": False,
            "shared_by_organizations": shared,
            "state": state,
            "created_us": T0_US,
        }
        self.write(schema.pools, row)
        return pool_id

    def host_add(self, name: str, *, cpu_milli: int = 4_000, memory_bytes: int = 8 * GIB, **more: Any) -> str:
        """A host that is up, in the first pool unless `pool_id` says another."""
        row = {
            "id": id_new(IdKind.HOST),
            "pool_id": self.pool,
            "name": name,
            "health": HostHealth.UP,
            "detail": "",
            "cpu_milli": cpu_milli,
            "memory_bytes": memory_bytes,
            "failure_domain": name,
            "boot_id": "boot-1",
            "seen_us": T0_US,
        }
        self.write(schema.hosts, row | more)
        self.touch(str(row["id"]))
        return str(row["id"])

    def touch(self, host_id: str) -> None:
        """Note that a host's room changed, as whoever changes it does."""
        self.write(schema.host_touches, {"host_id": host_id})

    def device_add(
        self, host_id: str, ordinal: int, *, kind: str = "gpu", model: str = "h200", **more: Any
    ) -> str:
        """A device of a host."""
        device_id = id_new(IdKind.DEVICE)
        uuid = f"{kind.upper()}-{host_id[-6:]}-{ordinal}"
        row = {"id": device_id, "host_id": host_id, "kind": kind, "model": model, "ordinal": ordinal}
        self.write(
            schema.devices,
            row | {"path": f"/dev/{kind}{ordinal}", "uuid": uuid, "physical_uuid": uuid} | more,
        )
        self.touch(host_id)
        return device_id

    def job_row(self, spec: JobSpec, *, organization: str = "one", **more: Any) -> dict[str, Any]:
        """The row of a job as submission writes it."""
        resources = spec.resources
        return {
            "id": id_new(IdKind.JOB),
            "organization_id": self.organizations[organization],
            "project_id": self.projects[organization],
            "pool_id": self.pool,
            "name": spec.name,
            "spec": spec_text(spec),
            "state": "waiting" if spec.depends_on else "pending",
            "array_size": spec.array_size,
            "gang": spec.gang,
            "cpu_milli": resources.cpu_milli,
            "memory_bytes": resources.memory_bytes,
            "disk_bytes": resources.disk_bytes,
            "wall_time_s": resources.wall_time_s,
            "devices": msgspec.json.encode(resources.devices).decode() if resources.devices else "",
            "rules": msgspec.json.encode(spec.rules).decode(),
            "priority": spec.priority,
            "work_class": spec.work_class.value,
            "on_host_lost": spec.on_host_lost.value,
            "created_us": T0_US,
            "created_by": self.users[organization],
        } | more

    def job_add(self, spec: JobSpec, *, organization: str = "one", **more: Any) -> str:
        """Submit a job with its dependencies (by id); its id."""
        row = self.job_row(spec, organization=organization, **more)
        inserts: list[tuple[Any, Sequence[Mapping[str, Any]]]] = [(schema.jobs, [row])]
        if spec.depends_on:
            edges = [
                {"job_id": row["id"], "depends_on_id": d.job, "condition": d.condition.value}
                for d in spec.depends_on
            ]
            inserts.append((schema.job_dependencies, edges))
        self.store.commit_wait(Change(inserts))
        return str(row["id"])

    def attempt_add(self, job_id: str, host_id: str, ordinal: int = 0, **more: Any) -> str:
        """A running attempt, and its task of a job of the organization `one`."""
        task_id, attempt_id = id_new(IdKind.TASK), id_new(IdKind.ATTEMPT)
        common = {"job_id": job_id, "organization_id": self.organizations["one"]}
        task = {"id": task_id, "ordinal": ordinal, "pool_id": self.pool, "priority": 0, "state": "active"}
        attempt = {
            "id": attempt_id,
            "task_id": task_id,
            "project_id": self.projects["one"],
            "host_id": host_id,
            "plan_id": "plan",
            "candidates": 1,
            "engine": "fake",
            "number": 1,
            "state": "running",
            "epoch": 1,
            "cpu_milli": 1_000,
            "memory_bytes": GIB,
            "placed_us": T0_US,
            "start_before_us": T0_US + 60_000_000,
            "started_us": T0_US,
        }
        rows = [(schema.tasks, [task | common | {"not_before_us": 0}])]
        self.store.commit_wait(Change([*rows, (schema.attempts, [attempt | common | more])]))
        return attempt_id

    def event(self, action: str = "job_create", **detail: object) -> dict[str, Any]:
        """The row of an event of the organization `one`."""
        return event_row(
            action,
            at_us=T0_US,
            actor="plane",
            resource="something",
            organization=self.organizations["one"],
            detail=detail,
        )

    def rows(self, table: Any, **where: Any) -> list[Any]:
        """The rows of a table by id, those with the given values."""
        statement = table.select().order_by(*table.primary_key.columns)
        for name, value in where.items():
            statement = statement.where(table.c[name] == value)
        return list(self.store.read_wait(lambda connection: connection.execute(statement).all()))

    def _organization(self, name: str, number: int) -> None:
        organization_id, user_id, project_id = (
            id_new(kind) for kind in (IdKind.ORGANIZATION, IdKind.USER, IdKind.PROJECT)
        )
        self.organizations[name], self.users[name], self.projects[name] = organization_id, user_id, project_id
        organization = {
            "id": organization_id,
            "name": name,
            "display_name": name,
            "is_platform": name == "platform",
            "created_us": T0_US,
        }
        belongs = {"organization_id": organization_id, "created_us": T0_US}
        user = {"id": user_id, "name": "admin", "kind": PrincipalKind.USER} | belongs
        project = {"id": project_id, "name": "main", "number": number} | belongs
        key = organization_key_row(PLATFORM_KEYS.current, organization_id, 1, T0_US)
        inserts = [
            (schema.organizations, [organization]),
            (schema.organization_keys, [key]),
            (schema.principals, [user]),
        ]
        self.store.commit_wait(Change([*inserts, (schema.projects, [project])]))
