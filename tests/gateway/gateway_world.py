"""A gateway in this process and replicas that are small real servers, all on 127.0.0.1.

async def story(world: World) -> None:
    replica = await world.replica(answer)
    await world.use(service_route("svc_a", replicas=[replica]))
    status, fields, body = await world.ask("GET /a HTTP/1.1")

world_run(story)
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from kumoi.gateway.activator import Activator
from kumoi.gateway.connecting import Connector
from kumoi.gateway.health import Health
from kumoi.gateway.services import Service
from kumoi.gateway.traffic import Traffic
from kumoi.model.routes import Endpoint, ReplicaRoute, RouteTable, ServiceRoute
from kumoi.model.services import HealthCheck

TIMEOUT_S = 20
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = tuple[int, dict[str, str], bytes]


def service_route(service_id: str, **changes: Any) -> ServiceRoute:
    """A route with tame defaults."""
    values: dict[str, Any] = {
        "hosts": (),
        "path": "/a",
        "strip_path": True,
        "concurrency": 2,
        "queue_timeout_ms": 5_000,
        "queue_length_max": 100,
        "request_timeout_ms": 5_000,
        "slo_wait_ms": 1_000,
        "readiness": HealthCheck(path="/health", interval_ms=100, failures=2),
        "liveness": None,
        "replicas": (),
    } | changes
    values["replicas"] = tuple(values["replicas"])
    return ServiceRoute(id=service_id, name=service_id.removeprefix("svc_"), **values)


class Replica:
    """A server that answers checks with 200 and leaves the rest to `talk`, once per request's head."""

    def __init__(self, talk: Talk) -> None:
        self.heads: list[bytes] = []
        self.healthy = True
        self.connections = 0
        self._talk = talk
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As if the process were killed."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /health "):
                    writer.write(
                        b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % (200 if self.healthy else 500)
                    )
                    continue
                self.heads.append(head)
                await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()


async def answer_ok(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The simplest answer."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


class World:
    """See the module."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.traffic = Traffic(loop)
        self.connector = Connector(loop)
        self.health = Health(self.traffic, self.connector, loop)
        self.activator = Activator(self.traffic, self.connector, loop)
        self.port = 0
        self._versions = itertools.count(1)
        self._replicas: list[Replica] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await self.loop.create_server(self.activator.protocol, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.health.close()
        if self._server is not None:
            self._server.close()
        for client in list(self.activator.shared.clients):
            client.close()
        for replica in self._replicas:
            await replica.stop()
        self.connector.close()
        await asyncio.sleep(0)

    async def replica(self, talk: Talk = answer_ok) -> Replica:
        made = Replica(talk)
        await made.start()
        self._replicas.append(made)
        return made

    async def use(self, *routes: ServiceRoute, ready: bool = True) -> Service:
        """Put a table; with `ready` wait until every serving replica of the first service is."""
        self.traffic.table_use(RouteTable(next(self._versions), routes))
        service = self.traffic.services[routes[0].id]
        if ready:
            serving = sum(replica.serving for replica in routes[0].replicas)
            await self.until(lambda: len(service.slots) == serving)
        return service

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(TIMEOUT_S):
            while not true():
                await asyncio.sleep(0.002)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, line: str, *lines: str, body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        reader, writer = await self.connect()
        head = "\r\n".join([line, "host: a.example", *lines, "", ""])
        writer.write(head.encode() + body)
        try:
            return await answer_read(reader, line.startswith("HEAD"))
        finally:
            writer.close()


def replica_route(replica: Replica, number: int = 1, *, serving: bool = True) -> ReplicaRoute:
    """The route to a replica."""
    return ReplicaRoute(f"rep_{number}", 1, Endpoint("127.0.0.1", replica.port), serving)


async def answer_read(reader: asyncio.StreamReader, head_only: bool = False) -> Answer:
    """Status, fields and body of one answer."""
    async with asyncio.timeout(TIMEOUT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")[:-2]
        fields = {
            name.lower(): value.strip() for name, _colon, value in (line.partition(":") for line in lines)
        }
        status = int(first.split()[1])
        if head_only or status in (101, 204, 304) or status < 200:
            return status, fields, b""
        if fields.get("transfer-encoding") == "chunked":
            return status, fields, await _chunks_read(reader)
        if "content-length" in fields:
            return status, fields, await reader.readexactly(int(fields["content-length"]))
        return status, fields, await reader.read()


async def _chunks_read(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if not size:
            return body


def world_run(story: Callable[[World], Awaitable[None]]) -> None:
    """Run one story in a loop of its own."""

    async def told() -> None:
        world = World(asyncio.get_running_loop())
        await world.start()
        try:
            async with asyncio.timeout(TIMEOUT_S * 3):
                await story(world)
        finally:
            await world.close()

    uvloop.run(told())
