"""A region in one process: the plane's loops and store, an engine that runs nothing, a clock moved by hand.

What a loop costs is the processor time of the whole process while it runs, so the writer's thread counts too;
what the simulation itself does (arrivals, ends, looking) is left out.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sim_engine import SimEngine, host_reports
from sqlalchemy import func, select

from kumoi.ledger.note import Signer
from kumoi.loops.context import LoopContext
from kumoi.loops.hosts import hosts_activate
from kumoi.loops.jobs import jobs_activate
from kumoi.loops.ledger import ledger_activate
from kumoi.loops.placement import placement_activate
from kumoi.loops.placement_memory import PlacementMemory
from kumoi.loops.tasks import tasks_activate
from kumoi.loops.upkeep import upkeep_activate
from kumoi.model.access import PrincipalKind
from kumoi.model.ids import IdKind
from kumoi.model.jobs import JobSpec
from kumoi.model.places import IsolationClass
from kumoi.store import schema
from kumoi.store.database import Connection, Store
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.jobs import spec_text
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.platform import PlatformKeys
from kumoi.store.keys.ring import KeyRing
from kumoi.store.keys.rows import organization_key_row
from kumoi.store.leases import leases_hold
from kumoi.store.volumes.mounts import PlainVolumes
from kumoi.store.writer import Change, Fence

T0_US = 1_800_000_000 * 1_000_000
PLATFORM_KEYS = PlatformKeys({1: bytes(32)})
"""Midnight-ish of a day in 2027: where the clock begins."""
ACTIVATIONS_MAX = 200


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant with its only project."""

    id: str
    project_id: str
    user_id: str


class RegionWorld:
    """A region of one site and one pool, with what its loops cost so far."""

    def __init__(self, directory: Path, hosts: int, organizations: int) -> None:
        self.now_us = T0_US
        self.store = Store(f"sqlite:///{directory / 'region.db'}")
        self.engine = SimEngine(self.clock_us, host_reports(hosts))
        self.cpu_s: defaultdict[str, float] = defaultdict(float)
        self.activations: Counter[str] = Counter()
        self.longest_s: defaultdict[str, float] = defaultdict(float)
        self._nudged: set[str] = set()
        platform, *self.organizations = (
            self._organization(f"org-{number}", number) for number in range(organizations + 1)
        )
        self.pool_id = self._pool()
        context = LoopContext(
            store=self.store,
            engines={self.engine.name: self.engine},
            keys=KeyRing(self.store, KeyEncryptions(PLATFORM_KEYS)),
            volumes=PlainVolumes(directory),
            clock_us=self.clock_us,
            nudge=lambda *names: self._nudged.update(names),
            incarnation="incarnation-1",
            platform_organization_id=platform.id,
        )
        memory = PlacementMemory()
        signer = Signer("kumoi.local/region", bytes(32))
        self._loops: dict[str, Callable[[Fence], bool]] = {
            "hosts": lambda fence: hosts_activate(context, fence),
            "jobs": lambda fence: jobs_activate(context, fence),
            "placement": lambda fence: placement_activate(memory, context, fence),
            "tasks": lambda fence: tasks_activate(context, fence),
            "upkeep": lambda fence: upkeep_activate(context, fence),
            "ledger": lambda fence: ledger_activate(context, signer, fence),
        }
        epochs = self.store.transact_wait(None, leases_hold, tuple(self._loops), "plane", None)
        self._fences = {name: Fence(name, "plane", epoch) for name, epoch in epochs.items()}

    def clock_us(self) -> int:
        """Microseconds UTC."""
        return self.now_us

    def activate(self, name: str) -> None:
        """Run a loop until it says that there is no more to do."""
        for _ in range(ACTIVATIONS_MAX):
            begun_s = time.process_time()
            more = self._loops[name](self._fences[name])
            took_s = time.process_time() - begun_s
            self.cpu_s[name] += took_s
            self.activations[name] += 1
            self.longest_s[name] = max(self.longest_s[name], took_s)
            if not more:
                return
        raise RuntimeError(f"the loop {name} always has more to do")

    def settle(self, names: Sequence[str] = ("tasks", "jobs", "placement")) -> None:
        """Run the loops that work is moved by, then those of them that were woken."""
        self._nudged.clear()
        for name in names:
            self.activate(name)
        for _ in range(ACTIVATIONS_MAX):
            woken = [name for name in names if name in self._nudged]
            if not woken:
                return
            self._nudged.clear()
            for name in woken:
                self.activate(name)
        raise RuntimeError("the loops always wake each other")

    def submit(self, jobs: Iterable[tuple[Organization, JobSpec]]) -> list[str]:
        """Accept jobs in one commit, as the API does, each with its event."""
        rows, events = [], []
        for organization, spec in jobs:
            row = self._job_row(organization, spec)
            rows.append(row)
            events.append(
                event_row(
                    "job_create",
                    at_us=self.now_us,
                    actor=organization.user_id,
                    resource=str(row["id"]),
                    organization=organization.id,
                    project=organization.project_id,
                    detail={"name": spec.name},
                )
            )
        if rows:
            self.store.commit_wait(Change([(schema.jobs, rows), (schema.events, events)]))
        return [str(row["id"]) for row in rows]

    def allocation(self) -> float:
        """The part of all devices that is held, 0 to 1."""

        def ask(connection: Connection) -> float:
            table = schema.devices
            used, count = connection.execute(select(func.sum(table.c.milli_used), func.count())).one()
            return (used or 0) / (1_000 * count) if count else 0.0

        return self.store.read_wait(ask)

    def count(self, table: Any, *where: Any) -> int:
        """Rows of a table."""
        statement = select(func.count()).select_from(table).where(*where)
        return self.store.read_wait(lambda connection: int(connection.execute(statement).scalar_one()))

    def write(self, table: Any, row: dict[str, Any]) -> None:
        """Insert a row in a commit of its own."""
        self.store.commit_wait(Change([(table, [row])]))

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def _organization(self, name: str, number: int) -> Organization:
        made = Organization(*(id_new(kind) for kind in (IdKind.ORGANIZATION, IdKind.PROJECT, IdKind.USER)))
        belongs = {"organization_id": made.id, "created_us": self.now_us}
        is_platform = number == 0
        organization = {"id": made.id, "name": name, "display_name": name, "is_platform": is_platform}
        user = {"id": made.user_id, "name": "admin", "kind": PrincipalKind.USER}
        project = {"id": made.project_id, "name": "main", "number": number + 1}
        self.store.commit_wait(
            Change(
                [
                    (schema.organizations, [organization | {"created_us": self.now_us}]),
                    (
                        schema.organization_keys,
                        [organization_key_row(PLATFORM_KEYS.current, made.id, 1, self.now_us)],
                    ),
                    (schema.principals, [user | belongs]),
                    (schema.projects, [project | belongs]),
                ]
            )
        )
        return made

    def _pool(self) -> str:
        """A pool whose work is isolated by virtual machines: organizations meet on hosts, not on devices."""
        site_id, pool_id = id_new(IdKind.SITE), id_new(IdKind.POOL)
        site = {"id": site_id, "name": "site-1", "country": "JP", "functions": "compute", "address": ""}
        self.write(schema.sites, site | {"created_us": self.now_us})
        pool = {
            "id": pool_id,
            "site_id": site_id,
            "name": "default",
            "engine": self.engine.name,
            "isolation": IsolationClass.VM,
            "network_allowed": False,
            "shared_by_organizations": False,
            "state": "open",
            "created_us": self.now_us,
        }
        self.write(schema.pools, pool)
        return pool_id

    def _job_row(self, organization: Organization, spec: JobSpec) -> dict[str, Any]:
        resources = spec.resources
        return {
            "id": id_new(IdKind.JOB),
            "organization_id": organization.id,
            "project_id": organization.project_id,
            "pool_id": self.pool_id,
            "name": spec.name,
            "spec": spec_text(spec),
            "state": "pending",
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
            "created_us": self.now_us,
            "created_by": organization.user_id,
        }
