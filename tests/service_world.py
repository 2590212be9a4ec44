"""A plane with services: the loops over a fake engine and a gateway in memory, under a manual clock."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from loop_world import S_US, World, report
from msgspec.structs import replace
from region_rows import RegionRows

from kumoi.core.service_specs import service_hosts, service_path
from kumoi.engines.base import EngineError
from kumoi.loops.gateway_link import Heard
from kumoi.loops.services import ServicesMemory, services_activate
from kumoi.model.ids import IdKind
from kumoi.model.jobs import Resources
from kumoi.model.routes import (
    GatewayReport,
    ReplicaHealth,
    ReplicaRoute,
    RouteTable,
    ServiceRoute,
    ServiceTraffic,
)
from kumoi.model.services import HealthCheck, RevisionSpec, RolloutSpec, ScaleSpec, ServiceSpec
from kumoi.store import schema
from kumoi.store.database import Connection, Store
from kumoi.store.ids import id_new
from kumoi.store.keys.names import Sealed
from kumoi.store.leases import leases_hold
from kumoi.store.services import revision_add, service_change, service_delete, spec_text
from kumoi.store.specs import content_pack, content_strip, sealed_values, spec_seal_name
from kumoi.store.writer import Change, Fence

SMALL = Resources(cpu_milli=100, memory_bytes=64 << 20)


def run_spec(number: int = 1, **more: Any) -> RevisionSpec:
    """A revision that its replicas can be told by."""
    values = {
        "command": ("serve",),
        "port": 8_000,
        "resources": SMALL,
        "environment": {"REVISION": str(number)},
    }
    return RevisionSpec(**(values | more))


def service_spec(run: RevisionSpec | None = None, *, watch_s: int = 2, **scale: Any) -> ServiceSpec:
    """A service that follows demand quickly."""
    return ServiceSpec(
        run=run or run_spec(),
        name="web",
        scale=ScaleSpec(**({"min_replicas": 1, "max_replicas": 8} | scale)),
        rollout=RolloutSpec(watch_s=watch_s),
    )


class FakeGateway:
    """Keeps the table that it is given. Its checks succeed `ready_s` after it first heard of a replica."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.epoch = "epoch-1"
        self.table = RouteTable(0, ())
        self.silent = False
        self.starting = False
        self.since_us = clock()
        self.ready_s = 0.5
        self.never_ready: set[int] = set()
        self.not_alive: set[str] = set()
        self.busy: dict[str, int] = {}
        self.waiting: Counter[str] = Counter()
        self.arrived: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.seen_us: dict[str, int] = {}

    def heard(self) -> Heard | None:
        """See `Gateway`."""
        return None if self.silent else Heard(self.report(), self.since_us)

    def is_starting(self) -> bool:
        """See `Gateway.is_starting`."""
        return self.starting

    def publish(self, services: tuple[ServiceRoute, ...]) -> int:
        """See `Gateway`."""
        if not self.silent and services != self.table.services:
            self.table = RouteTable(self.table.version + 1, services)
            for route in services:
                for replica in route.replicas:
                    self.seen_us.setdefault(replica.id, self.clock())
        return self.table.version

    def load(self, service_id: str, requests: int, *, waiting: int = 0) -> None:
        """So many requests came and were served."""
        self.arrived[service_id] += requests
        self.completed[service_id] += requests
        self.waiting[service_id] = waiting

    def serving(self, service_id: str) -> list[ReplicaRoute]:
        """The replicas that get requests now."""
        return [
            replica
            for route in self.table.services
            if route.id == service_id
            for replica in route.replicas
            if replica.serving and self.health(replica).ready
        ]

    def health(self, replica: ReplicaRoute) -> ReplicaHealth:
        """What the checks say."""
        age_us = self.clock() - self.seen_us[replica.id]
        ready = age_us >= self.ready_s * S_US and replica.revision not in self.never_ready
        return ReplicaHealth(
            replica.id,
            True if ready else None,
            replica.id not in self.not_alive,
            self.busy.get(replica.id, 0),
            detail="" if ready else "readiness: port 8000 cannot be reached: Connection refused",
        )

    def report(self) -> GatewayReport:
        """What the plane is told."""
        return GatewayReport(
            self.epoch,
            self.table.version,
            self.clock(),
            tuple(
                ServiceTraffic(
                    route.id,
                    self.arrived[route.id],
                    self.completed[route.id],
                    0,
                    0,
                    self.completed[route.id] * S_US,
                    self.waiting[route.id],
                    sum(self.busy.get(one.id, 0) for one in route.replicas),
                    tuple(self.health(one) for one in route.replicas),
                )
                for route in self.table.services
            ),
        )


class ServiceWorld(World):
    """`World` with the services loop, a gateway, and replicas that may exit as soon as they run."""

    def __init__(self, store: Store, **more: Any) -> None:
        self.gateway: Any = None
        self.exits: set[int] = set()
        super().__init__(store, hosts=(report(cpu_milli=8_000),), **more)

    def start(
        self, *, store: Any = None, engines: Mapping[str, Any] | None = None, holder: str = "plane"
    ) -> None:
        """See `World.start`: the gateway is a process of its own and goes on."""
        super().start(store=store, engines=engines, holder=holder)
        if self.gateway is None:
            self.gateway = FakeGateway(self.clock)
        held_by = self.fences["tasks"].holder
        epochs = self.store.transact_wait(None, leases_hold, ("services",), held_by, None)
        self.fences["services"] = Fence("services", held_by, epochs["services"])
        self.memory = ServicesMemory()

    def services(self, gateway: Any = None) -> bool:
        """One activation of the services loop."""
        return services_activate(self.memory, gateway or self.gateway, self.context, self.fences["services"])

    def tick(self, seconds: float = 1.0) -> None:
        """Everything once as the runner would, then time passes."""
        self.services()
        for name in ("jobs", "placement", "tasks"):
            self.activate(name)
        self.replicas_play()
        self.services()
        self.clock.pass_s(seconds)

    def ticks(self, count: int, seconds: float = 1.0) -> None:
        """Several times."""
        for _ in range(count):
            self.tick(seconds)

    def replicas_play(self) -> None:
        """End replicas of revisions that exit, and let the plane know."""
        ended = [ref for ref in self.engine.running() if self.revision_of(ref) in self.exits]
        for ref in ended:
            self.engine.finish(ref, exit_code=1)
        if ended:
            self.activate("tasks")

    def revision_of(self, ref: str) -> int:
        """The revision of an attempt."""
        spec = self.engine._attempts[ref].spec
        assert spec is not None
        return int(spec.environment["REVISION"])

    def service_add(self, spec: ServiceSpec, *, name: str = "web") -> str:
        """Create a service as a request does."""
        region = self.region
        service_id = id_new(IdKind.SERVICE)
        row = {
            "id": service_id,
            "organization_id": region.organizations["one"],
            "project_id": region.projects["one"],
            "pool_id": region.pool,
            "name": name,
            "spec": spec_text(_stripped(spec)),
            **sealed_values(self._sealed(spec)),
            "target": 1,
            "created_us": self.clock(),
            "created_by": region.users["one"],
        }
        routes = [
            {
                "host": host,
                "path": service_path(region.projects["one"], spec).replace("web", name),
                "project_id": region.projects["one"],
                "service_id": service_id,
            }
            for host in service_hosts(spec)
        ]
        self.store.commit_wait(Change([(schema.services, [row]), (schema.service_routes, routes)]))
        run, by = content_strip(spec.run), region.users["one"]
        self.store.transact_wait(
            None, revision_add, service_id, 1, run, self.clock(), by, self._sealed(spec, again=True)
        )
        return service_id

    def _sealed(self, spec: ServiceSpec, *, again: bool = False) -> Sealed:
        """What is sealed of a service; a revision has the service's own blob."""
        if not again:
            name = spec_seal_name(self.region.organizations["one"], self.region.projects["one"])
            self._last_sealed = self.context.keys.seal(name, content_pack(spec.run))
        return self._last_sealed

    def service(self, service_id: str) -> Any:
        """The row of a service."""
        return self.region.rows(schema.services, id=service_id)[0]

    def update(self, service_id: str, spec: ServiceSpec, **values: Any) -> None:
        """Change a service as a request does; a new `run` is a new revision."""

        def work(connection: Connection) -> None:
            row = connection.execute(schema.services.select().where(schema.services.c.id == service_id)).one()
            numbers = [one.number for one in self.region.rows(schema.revisions, service_id=service_id)]
            if spec.run.environment.get("REVISION") != str(max(numbers)):
                table = schema.revisions
                connection.execute(
                    table.update()
                    .where(table.c.service_id == service_id, table.c.state == "rolling")
                    .values(state="retired")
                )
                number = max(numbers) + 1
                run, by, sealed = content_strip(spec.run), self.region.users["one"], self._sealed(spec)
                revision_add(connection, service_id, number, run, self.clock(), by, sealed)
                values.update(target=number, failures=0, retry_us=None, **sealed_values(sealed))
            service_change(connection, row, _stripped(spec), values)

        self.store.transact_wait(None, work)

    def delete(self, service_id: str) -> None:
        """Delete a service as a request does."""
        row = self.service(service_id)
        self.store.transact_wait(None, service_delete, row)

    def replicas(self, service_id: str, *, live: bool = True) -> list[Any]:
        """The rows of a service's replicas."""
        rows = self.region.rows(schema.replicas, service_id=service_id)
        return [row for row in rows if not live or row.state != "ended"]

    def states(self, service_id: str) -> Counter[tuple[int, str]]:
        """Replicas by revision and state."""
        return Counter((row.revision, row.state) for row in self.replicas(service_id))


def region_of(store: Store, facts: dict[str, Any]) -> RegionRows:
    """A region whose rows are in the store already."""
    region = RegionRows.__new__(RegionRows)
    region.__dict__ = {"store": store, **facts}
    return region


NEVER = HealthCheck(path="/nope", start_timeout_s=10)
TOLERATED = (EngineError,)


def _stripped(spec: ServiceSpec) -> ServiceSpec:
    return replace(spec, run=content_strip(spec.run))
