"""What the plane tells the gateway, and what the gateway tells back: one snapshot each way.

The plane puts a `RouteTable` whenever it changed and asks for `GatewayReport`s; the gateway keeps the last
good table, so traffic outlives the plane. Neither knows the other's types beyond these.
"""

from msgspec import Struct

from kumoi.model.services import HealthCheck


class Endpoint(Struct, frozen=True):
    """Where a replica listens: a TCP port of `address`, seen from inside the network namespace at `netns`.

    `netns` is a file that setns(2) takes, empty for the host's own network; `userns` is that of the user
    namespace which must be joined first where the gateway is not root, empty where none is needed.
    """

    address: str
    port: int
    netns: str = ""
    userns: str = ""


class ReplicaRoute(Struct, frozen=True):
    """A replica that runs. `serving` ones get requests once their readiness check passes; others drain.

    `readiness` and `liveness` are the checks of its own revision where these are not the service's: a new
    revision's mistaken check must not fail the replicas of the old one.
    """

    id: str
    revision: int
    endpoint: Endpoint
    serving: bool
    readiness: HealthCheck | None = None
    liveness: HealthCheck | None = None


class ServiceRoute(Struct, frozen=True):
    """How requests reach one service. Times in milliseconds.

    `hosts` are lower-case host names, empty for any; `path` is a prefix by whole segments, `/` for all. The
    longest path wins, of the routes for any host first (each lies below its project's own path), then of
    those for the named one: so nobody gets others' requests by claiming the gateway's own name.
    """

    id: str
    name: str
    hosts: tuple[str, ...]
    path: str
    strip_path: bool
    concurrency: int
    queue_timeout_ms: int
    queue_length_max: int
    request_timeout_ms: int
    slo_wait_ms: int
    readiness: HealthCheck
    liveness: HealthCheck | None
    replicas: tuple[ReplicaRoute, ...]


class RouteTable(Struct, frozen=True):
    """Every route of a region. `version` only ever grows; the gateway ignores an older table."""

    version: int
    services: tuple[ServiceRoute, ...]


class ReplicaHealth(Struct, frozen=True):
    """What the gateway's checks say of a replica.

    `ready` is what the readiness check says now, None before it said anything; `alive` is False after
    `failures` liveness checks in a row failed. `busy` requests are in flight there. `detail` says what
    failed last, for people.
    """

    id: str
    ready: bool | None
    alive: bool = True
    busy: int = 0
    ready_ms: int | None = None
    detail: str = ""


class ServiceTraffic(Struct, frozen=True):
    """What happened to one service since the gateway started (counters) and what is now (gauges).

    A violation is a request that waited longer than `slo_wait_ms` for a slot. `service_us` is the sum over
    `completed` requests of the time from slot to last byte. `lost` are requests that were accepted and got
    no answer from a replica.
    """

    id: str
    arrived: int
    completed: int
    violated: int
    lost: int
    service_us: int
    waiting: int
    busy: int
    replicas: tuple[ReplicaHealth, ...]


class GatewayReport(Struct, frozen=True):
    """The state of the gateway. `epoch` changes when it starts anew, and its counters begin at 0 again."""

    epoch: str
    table_version: int
    at_us: int
    services: tuple[ServiceTraffic, ...]
