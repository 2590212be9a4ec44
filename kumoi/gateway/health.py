"""Readiness and liveness: asked by the gateway, which reaches replicas that nobody else does."""

import asyncio
import re
from typing import Final, cast
from weakref import WeakKeyDictionary

from kumoi.gateway.connecting import Connector
from kumoi.gateway.services import Replica, Service
from kumoi.gateway.traffic import Traffic
from kumoi.model.routes import Endpoint
from kumoi.model.services import HealthCheck

EAGER_INTERVAL_S: Final = 0.02
EAGER_S: Final = 10.0
"""For this long a replica that is not ready is asked every 20 ms, then every 200 ms."""
PATIENT_INTERVAL_S: Final = 0.2
AT_ONCE_MAX: Final = 16
"""Checks of one service at a time: one whose replicas never answer keeps no other from being asked."""
ANSWER_BYTES_MAX: Final = 4_096
CLOSED: Final = "port"
"""How the detail of a check begins that found nobody listening; one such check is enough."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class Health:
    """One task per replica, from when the table names it until it does not."""

    def __init__(self, traffic: Traffic, connector: Connector, loop: asyncio.AbstractEventLoop) -> None:
        self._traffic = traffic
        self._connector = connector
        self._loop = loop
        self._tasks: dict[Replica, list[asyncio.Task[None]]] = {}
        self._suspected: dict[Replica, asyncio.Event] = {}
        self._at_once: WeakKeyDictionary[Service, asyncio.Semaphore] = WeakKeyDictionary()
        traffic.started = self.replica_follow
        traffic.suspected = self.replica_suspect
        traffic.ended = self.replica_forget

    def replica_follow(self, service: Service, replica: Replica) -> None:
        """Ask it from now on."""
        self._suspected[replica] = asyncio.Event()
        self._tasks[replica] = [
            self._loop.create_task(self._readiness(service, replica)),
            self._loop.create_task(self._liveness(service, replica)),
        ]

    def replica_suspect(self, replica: Replica) -> None:
        """Ask it now."""
        if replica in self._suspected:
            self._suspected[replica].set()

    def replica_forget(self, replica: Replica) -> None:
        """Ask it no more."""
        self._suspected.pop(replica, None)
        for task in self._tasks.pop(replica, []):
            task.cancel()

    def close(self) -> None:
        """Ask nobody any more."""
        for replica in list(self._tasks):
            self.replica_forget(replica)

    async def _readiness(self, service: Service, replica: Replica) -> None:
        suspected = self._suspected[replica]
        began = unready_since = self._loop.time()
        failures = 0
        while True:
            check = replica.route.readiness or service.route.readiness
            detail = await self._probe(service, replica.endpoint, check)
            now = self._loop.time()
            if not detail:
                failures = 0
                if replica.ready is not True:
                    self._ready(service, replica, now - began)
            else:
                failures += 1
                replica.detail = f"readiness: {detail}"
                late = replica.ready is None and now - began >= check.start_timeout_s
                closed = detail.startswith(CLOSED)
                if late or (replica.ready is True and (closed or failures >= check.failures)):
                    replica.ready = False
                    unready_since = now
                    self._traffic.replica_seen(service, replica)
            suspected.clear()
            try:
                async with asyncio.timeout(self._pause_s(replica, check, now - unready_since)):
                    await suspected.wait()
                unready_since = self._loop.time()
            except TimeoutError:
                continue

    def _ready(self, service: Service, replica: Replica, took_s: float) -> None:
        replica.ready = True
        replica.detail = ""
        if replica.ready_ms is None:
            replica.ready_ms = int(took_s * 1_000)
        self._traffic.replica_seen(service, replica)

    def _pause_s(self, replica: Replica, check: HealthCheck, unready_s: float) -> float:
        if replica.ready is True:
            return check.interval_ms / 1_000
        return EAGER_INTERVAL_S if unready_s < EAGER_S else PATIENT_INTERVAL_S

    async def _liveness(self, service: Service, replica: Replica) -> None:
        failures = 0
        while True:
            own = replica.route.readiness is not None
            check = replica.route.liveness if own else service.route.liveness
            await asyncio.sleep((check or service.route.readiness).interval_ms / 1_000)
            if check is None or replica.ready_ms is None:
                continue
            detail = await self._probe(service, replica.endpoint, check)
            failures = failures + 1 if detail else 0
            alive = failures < check.failures
            if detail:
                replica.detail = f"liveness: {detail}"
            if alive != replica.alive:
                replica.alive = alive
                self._traffic.replica_seen(service, replica)

    async def _probe(self, service: Service, endpoint: Endpoint, check: HealthCheck) -> str:
        """What is wrong, or nothing."""
        at_once = self._at_once.setdefault(service, asyncio.Semaphore(AT_ONCE_MAX))
        try:
            async with at_once, asyncio.timeout(check.timeout_ms / 1_000):
                status = await self._status(endpoint, check.path)
        except TimeoutError:
            return f"GET {check.path} on port {endpoint.port} got no answer within {check.timeout_ms} ms"
        except OSError as error:
            return f"{CLOSED} {endpoint.port} cannot be reached: {error.strerror or error}"
        if status is None:
            return f"GET {check.path} on port {endpoint.port} was not answered with HTTP/1.1"
        return "" if 200 <= status < 400 else f"GET {check.path} on port {endpoint.port} answered {status}"

    async def _status(self, endpoint: Endpoint, path: str) -> int | None:
        head = f"GET {path} HTTP/1.1\r\nhost: {endpoint.address}:{endpoint.port}\r\n"
        order = f"{head}user-agent: kumoi-gateway\r\nconnection: close\r\n\r\n".encode()
        asked = await self._connector.connect(endpoint, lambda: _Asked(order, self._loop))
        try:
            return await asked.status
        finally:
            asked.close()


class _Asked(asyncio.Protocol):
    """One question and the status of its answer."""

    def __init__(self, order: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self.status: asyncio.Future[int | None] = loop.create_future()
        self._order = order
        self._answer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._order)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        found = _STATUS.match(self._answer)
        if not self.status.done() and (found or len(self._answer) > ANSWER_BYTES_MAX):
            self.status.set_result(int(found[1]) if found else None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if not self.status.done():
            self.status.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
