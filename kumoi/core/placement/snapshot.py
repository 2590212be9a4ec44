"""What placement looks at and what it answers: frozen data, so that a plan can be recomputed."""

import hashlib
from dataclasses import dataclass

import msgspec

from kumoi.model.jobs import DeviceRequest


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A free device."""

    id: str
    kind: str
    model: str


@dataclass(frozen=True, slots=True)
class HostView:
    """What a host has left. `generation` counts what was placed on it; `tenants` are on it now."""

    id: str
    name: str
    pool_id: str
    generation: int
    cpu_milli_free: int
    memory_bytes_free: int
    devices_free: tuple[DeviceView, ...] = ()
    tenants: frozenset[str] = frozenset()
    dedicated_to: str | None = None
    exclusive: bool = False
    """Whether two organizations may not be on it at once (isolation below `vm`, not relaxed by the pool)."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a task asks for. Tasks of one `gang` are placed together or not at all."""

    id: str
    job_id: str
    organization_id: str
    pool_id: str
    cpu_milli: int
    memory_bytes: int
    devices: tuple[DeviceRequest, ...] = ()
    gang: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The hosts that may take work and the tasks that wait, in the order in which they are considered."""

    hosts: tuple[HostView, ...]
    tasks: tuple[TaskView, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """A task's host and devices. `candidates` hosts would have fitted."""

    task_id: str
    host_id: str
    device_ids: tuple[str, ...] = ()
    candidates: int = 0


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


def snapshot_digest(snapshot: Snapshot) -> str:
    """SHA-256 (hex) over the canonical form of the snapshot."""
    return hashlib.sha256(msgspec.json.encode(snapshot, order="deterministic")).hexdigest()
