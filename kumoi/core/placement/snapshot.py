"""What placement looks at and what it answers: frozen data, so that a plan can be recomputed.

Devices are named by code, `kind/model` or `kind/model/partition`: what a request may take is a set of codes.
"""

from dataclasses import dataclass

from kumoi.model.jobs import DEVICE_MILLI, GangScope, SpreadOver


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device that work may be given: `milli_free` thousandths of it are free."""

    id: str
    code: str
    milli_free: int = DEVICE_MILLI


@dataclass(frozen=True, slots=True)
class Window:
    """A time during which a host is held for one organization (dated reservation). Microseconds UTC."""

    reservation: str
    organization_id: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Holding:
    """Live work on a host: what it holds and until when at most (`ends_us`, by its wall time).

    `class_rank` is 0 for guaranteed, 1 standard, 2 preemptible; `restartable` work may be moved.
    """

    attempt_id: str
    job_id: str
    organization_id: str
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    devices: tuple[tuple[str, int], ...]
    placed_us: int
    ends_us: int
    class_rank: int = 1
    priority: int = 0
    gang: bool = False
    restartable: bool = False


@dataclass(frozen=True, slots=True)
class HostView:
    """A host that may take work, with all that live work holds on it.

    `generation` counts its changes. `cpu_milli`, `memory_bytes`, `disk_bytes` are its capacity, `devices` its
    healthy devices with what is free of each.
    """

    id: str
    name: str
    generation: int
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    devices: tuple[DeviceView, ...] = ()
    holdings: tuple[Holding, ...] = ()
    failure_domain: str = ""
    fabric_island: str = ""
    dedicated_to: str | None = None
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceWish:
    """`count` devices out of `codes`, `milli` thousandths of each (below 1,000 only for one)."""

    codes: frozenset[str]
    count: int
    milli: int = DEVICE_MILLI


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a task asks for. Tasks of one `gang` follow each other, and are placed together or not at all."""

    id: str
    job_id: str
    organization_id: str
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    devices: tuple[DeviceWish, ...] = ()
    wall_time_s: int = 3_600
    class_rank: int = 1
    priority: int = 0
    gang: str | None = None
    gang_within: GangScope | None = None
    spread_over: SpreadOver | None = None
    spread_most: int = 1
    alone: bool = False
    """No other organization on the host (isolation `host`)."""
    dedicated: bool = False
    reservation: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A host that would fit and its cost: the lower the better."""

    host_id: str
    cost: float


@dataclass(frozen=True, slots=True)
class Placed:
    """A task's host and devices. `candidates` hosts would have fitted; `best` are the first three of them."""

    task_id: str
    host_id: str
    devices: tuple[tuple[str, int], ...] = ()
    candidates: int = 0
    best: tuple[Scored, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A task that no host takes now: how many hosts refused it for which reason."""

    task_id: str
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer: what goes where, and what does not and why."""

    policy: str
    seed: int
    decided_us: int
    snapshot_digest: str
    placed: tuple[Placed, ...]
    refused: tuple[Refused, ...]
