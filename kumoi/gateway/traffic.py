"""All services of the table in use, and what the plane wants to know about them."""

import asyncio
import os
import time
from collections.abc import Callable

from kumoi.gateway.routing import Router
from kumoi.gateway.services import Replica, Service
from kumoi.model.routes import GatewayReport, ReplicaRoute, RouteTable, ServiceTraffic

NO_TABLE = RouteTable(0, ())


class Traffic:
    """The state that requests, checks and the plane meet in. Lives in one event loop.

    `attention` is set when the plane should look now: a request waits where no replica is ready, or a
    replica's health changed. `started`, `suspected` and `ended` tell the checks about replicas; `changed`
    tells HAProxy that it may have to follow.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.epoch = os.urandom(8).hex()
        self.table = NO_TABLE
        self.router = Router(())
        self.services: dict[str, Service] = {}
        self.attention = asyncio.Event()
        self.started: Callable[[Service, Replica], None] = lambda _service, _replica: None
        self.ended: Callable[[Replica], None] = lambda _replica: None
        self.suspected: Callable[[Replica], None] = lambda _replica: None
        self.changed: Callable[[], None] = lambda: None
        self._woken: set[str] = set()
        self._loop = loop

    def table_use(self, table: RouteTable) -> None:
        """Follow `table`: new replicas are checked, those it no longer names get no more requests."""
        named = {route.id for route in table.services}
        for service_id in [known for known in self.services if known not in named]:
            service = self.services.pop(service_id)
            self._replicas_follow(service, ())
            service.end()
        for route in table.services:
            service = self.services.get(route.id) or Service(route, self._loop, self._wake)
            self.services[route.id] = service
            service.route_change(route)
            self._replicas_follow(service, route.replicas)
        self.table = table
        self.router = Router(table.services)
        self.changed()

    def _replicas_follow(self, service: Service, routes: tuple[ReplicaRoute, ...]) -> None:
        named = {route.id for route in routes}
        for replica_id in [each for each in service.replicas if each not in named]:
            replica = service.replicas.pop(replica_id)
            service.replica_changed(replica)
            replica.idle_close()
            self.ended(replica)
        for route in routes:
            known = service.replicas.get(route.id)
            if known is None:
                known = service.replicas[route.id] = Replica(route)
                self.started(service, known)
            known.route = route
            service.replica_changed(known)

    def replica_suspect(self, service: Service, replica: Replica, detail: str) -> None:
        """A request did not reach it: no more of them until a check succeeds."""
        replica.ready = False
        replica.detail = detail
        self.replica_seen(service, replica)
        self.suspected(replica)

    def replica_seen(self, service: Service, replica: Replica) -> None:
        """A check changed what is known of a replica: use it, and let the plane know."""
        service.replica_changed(replica)
        if service.slots:
            self._woken.discard(service.route.id)
        self.attention.set()
        self.changed()

    def _wake(self, service: Service) -> None:
        if service.route.id not in self._woken or len(service.waiting) <= 1:
            self._woken.add(service.route.id)
            self.attention.set()

    def report(self) -> GatewayReport:
        """What to tell the plane now; `attention` begins anew."""
        self.attention.clear()
        return GatewayReport(
            epoch=self.epoch,
            table_version=self.table.version,
            at_us=time.time_ns() // 1_000,
            services=tuple(service_report(service) for service in self.services.values()),
        )


def service_report(service: Service) -> ServiceTraffic:
    """One service's counters and gauges: the activator's and HAProxy's."""
    held, carried = service.counters, service.carried
    return ServiceTraffic(
        id=service.route.id,
        arrived=held.arrived + carried.arrived,
        completed=held.completed + carried.completed,
        violated=held.violated + carried.violated,
        lost=held.lost + carried.lost,
        service_us=held.service_us + carried.service_us,
        waiting=len(service.waiting) + carried.waiting,
        busy=service.busy + carried.busy,
        replicas=tuple(
            replica.health(carried.busy_at.get(replica.id, 0)) for replica in service.replicas.values()
        ),
    )
