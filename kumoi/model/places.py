"""Where work runs: sites, pools, hosts and devices."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from kumoi.model.ids import END, Id, Name

PROJECT_UID_BASE = 200_000
"""A project's tasks and files belong to the operating-system user `PROJECT_UID_BASE` + its number."""

ENGINES_OF_COMMANDS = ("sandbox",)
ENGINES_OF_CONTAINERS = ("podman",)
"""Which engines run only commands, and which only images. The first of each is the one to recommend."""


CountryCode = Annotated[str, Meta(pattern=rf"^[A-Z]{{2}}{END}")]
"""ISO 3166-1 alpha-2."""
LatencyMs = Annotated[int, Meta(ge=0, le=10_000)]


class HostHealth(StrEnum):
    """What the last health check saw."""

    UP = "up"
    LOST = "lost"


class IsolationClass(StrEnum):
    """What stands between two tenants on one machine."""

    PROCESS = "process"
    CONTAINER = "container"
    VM = "vm"
    HOST = "host"


class SiteFunction(StrEnum):
    """What a site is for (policy chapter 1 note 10: main sites for development, operation)."""

    COMPUTE = "compute"
    OPERATION = "operation"
    DEVELOPMENT = "development"


class SiteCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new site. `latencies` are declared round trips in milliseconds to named places."""

    name: Name
    country: CountryCode
    functions: Annotated[tuple[SiteFunction, ...], Meta(min_length=1, max_length=3)] = (SiteFunction.COMPUTE,)
    address: Annotated[str, Meta(max_length=400)] = ""
    latencies: Annotated[dict[Name, LatencyMs], Meta(max_length=64)] = {}


class Site(Struct, frozen=True):
    """A place with an address, a country and its functions."""

    id: Id
    name: Name
    country: str
    functions: tuple[SiteFunction, ...]
    address: str
    latencies: dict[Name, int]
    created_at: str


class PoolCreate(Struct, frozen=True, forbid_unknown_fields=True):
    """A new pool of hosts at a site, run by one engine.

    A pool outside the jurisdiction that a project's data is bound to takes its work only if it names the
    project's data class in `data_classes`; a pool that names any takes no other. With `defragment`
    restartable work (preemptible, or replaced when its host is lost) may be moved so that a large group fits.
    """

    name: Name
    site: Id
    engine: Name = "sandbox"
    isolation: IsolationClass = IsolationClass.PROCESS
    network_allowed: bool = False
    shared_by_organizations: bool = False
    data_classes: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    defragment: bool = False


class Pool(Struct, frozen=True):
    """Hosts that take work together. A paused pool accepts and holds work."""

    id: Id
    name: Name
    site: Id
    engine: Name
    isolation: IsolationClass
    network_allowed: bool
    shared_by_organizations: bool
    data_classes: tuple[Name, ...]
    defragment: bool
    state: str
    created_at: str
    version: int


class DeviceHealth(StrEnum):
    """Whether a device may be given to work: only healthy ones are. A gone one is not reported."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    GONE = "gone"


class Device(Struct, frozen=True):
    """A device of a host. `milli_used` thousandths of it are held by `attempts`.

    A partition is a part of the device `physical_uuid`; of a whole device that is its own.
    """

    id: Id
    uuid: str
    physical_uuid: str
    kind: Name
    model: str
    partition: str | None
    memory_bytes: int
    health: DeviceHealth
    detail: str
    service_start: str | None
    milli_used: int
    attempts: tuple[Id, ...]


class HostDedicate(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose work alone a host takes from now on: an organization's (id or name), or everybody's (null)."""

    organization: Annotated[str, Meta(min_length=1, max_length=63)] | None


class Host(Struct, frozen=True):
    """A machine. Capacity is what it offers, used is what its live attempts hold."""

    id: Id
    name: Name
    pool: Id
    state: str
    health: HostHealth
    detail: str
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    cpu_milli_used: int
    memory_bytes_used: int
    disk_bytes_used: int
    attempts: int
    failure_domain: str
    fabric_island: str
    dedicated_to: Id | None
    devices: tuple[Device, ...]
    seen_at: str | None
    version: int
