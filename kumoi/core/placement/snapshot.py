"""What placement looks at and what it answers: frozen data, so that a plan can be recomputed."""

import hashlib
import zlib
from dataclasses import dataclass, replace

import msgspec

from kumoi.model.jobs import DeviceRequest, GangScope, SpreadOver
from kumoi.model.time import US_PER_S


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device that work may be given, unless it is unhealthy."""

    id: str
    kind: str
    model: str
    partition: str = ""
    healthy: bool = True


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

    `devices` are ids with the thousandths held. `class_rank` is 0 for guaranteed, 1 standard, 2 preemptible;
    `restartable` work may be moved. Beside work that is `alone` comes no other organization's.
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
    alone: bool = False


@dataclass(frozen=True, slots=True)
class HostView:
    """A host that may take work, with all that live work holds on it.

    `generation` counts its changes. `cpu_milli`, `memory_bytes` and `disk_bytes` are its capacity.
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


START_WINDOW_S = 60
"""An engine never starts an attempt later than this after its placement."""
STOP_MOST_S = 10
"""How long work at the most takes to stop when its wall time is over."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a task asks for. Tasks of one `gang` follow each other, and are placed together or not at all."""

    id: str
    job_id: str
    organization_id: str
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    devices: tuple[DeviceRequest, ...] = ()
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

    @property
    def hold_us(self) -> int:
        """How long it holds its place at most: it may start late, and takes a while to stop."""
        return (START_WINDOW_S + self.wall_time_s + STOP_MOST_S) * US_PER_S


@dataclass(frozen=True, slots=True)
class PoolView:
    """The pool that is decided on.

    `exclusive`: two organizations may not be on one host at once (isolation below `vm`, not relaxed).
    `devices_shared`: they may hold shares of one device (the provider relaxed it). `defragment`: restartable
    work may be moved so that a large group fits. `chooses_pool_only`: the pool's engine chooses hosts itself
    (its placement grain is `pool`), so only room is counted here: no policy, no nearness and no spread.
    """

    id: str
    exclusive: bool = False
    devices_shared: bool = False
    defragment: bool = False
    chooses_pool_only: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Hosts kept for a group that waits (a gang's job, or a task): others must end there by `start_us`.

    Work of a class higher than the group's (`class_rank`) is not bound by it. Valid until `until_us`. The
    group needs the hosts for `wall_s` at most.
    """

    group_id: str
    host_ids: tuple[str, ...]
    start_us: int
    until_us: int
    wall_s: int = 0
    class_rank: int = 0


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
class Inputs:
    """All that one plan was decided on.

    `base` are all hosts of the pool by id, or None where the inputs follow those of the plan before: then
    only `changed` hosts differ (new ones in the order in which they joined) and `gone` ones left. `learned`
    is the policy's state where it changed.
    """

    pool: PoolView
    base: tuple[HostView, ...] | None
    changed: tuple[HostView, ...]
    gone: tuple[str, ...]
    tasks: tuple[TaskView, ...]
    holds: tuple[Hold, ...]
    policy: str
    learned: bytes | None
    now_us: int
    seed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer: what goes where, and what does not and why."""

    policy: str
    seed: int
    decided_us: int
    placed: tuple[Placed, ...]
    refused: tuple[Refused, ...]


def gang_members(task: TaskView, count: int) -> list[TaskView]:
    """`count` tasks like this one, of the same gang: to ask what would become of them."""
    return [replace(task, id=f"{task.id}/{number}") for number in range(count)]


class ReplayError(Exception):
    """The recorded inputs do not make a chain that begins with a base."""


INPUTS_BYTES_MAX = 256 << 20
"""Room for the hosts of a region of 100,000; what is handed in to be replayed must not fill the memory."""
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Inputs)


def inputs_pack(inputs: Inputs) -> bytes:
    """The inputs in the form in which they are kept and digested."""
    return zlib.compress(_encoder.encode(inputs), 3)


def inputs_unpack(packed: bytes) -> Inputs:
    """The inputs of `inputs_pack`. Raises ValueError for bytes that are none, or unfold to too much."""
    unfold = zlib.decompressobj()
    try:
        raw = unfold.decompress(packed, INPUTS_BYTES_MAX)
        if not unfold.eof:
            raise ValueError(f"the inputs of a plan are cut off, or more than {INPUTS_BYTES_MAX} bytes")
        return _decoder.decode(raw)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"these are not the inputs of a plan: {error}") from error


def inputs_digest(previous: str, inputs: Inputs) -> str:
    """SHA-256 (hex) over the digest before (empty at a base) and these inputs."""
    return hashlib.sha256(previous.encode() + _encoder.encode(inputs)).hexdigest()
