"""The engine protocol: what really runs work.

The plane writes the reference of an attempt before it calls an engine, so every call may be repeated: after
a crash nobody knows whether the last one arrived. Engines are asked in bulk, never once per attempt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from kumoi.model.jobs import AttemptOutcome
from kumoi.model.routes import Endpoint


class EngineError(Exception):
    """The engine could not do what was asked; the loops try again later."""


class EngineUnavailable(EngineError):
    """The engine, or the host behind it, cannot be reached now. Nothing is known about its attempts."""


class StartRefused(EngineError):
    """The engine will never start this attempt: the request itself is not possible there."""


class PlacementGrain(StrEnum):
    """Who chooses the host: the plane (`host`) or the engine inside a pool (`pool`)."""

    HOST = "host"
    POOL = "pool"


class Phase(StrEnum):
    """Where an attempt is, as the engine sees it."""

    RUNNING = "running"
    ENDED = "ended"


class Stream(StrEnum):
    """The two streams of a task."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine must hold the attempt to."""

    cpu_milli: int
    memory_bytes: int
    processes: int
    wall_time_s: int
    log_bytes: int = 64 << 20
    file_bytes: int = 16 << 30


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """`milli` thousandths of a device that an attempt holds; 1,000 is all of it."""

    uuid: str
    kind: str
    milli: int


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """Everything an engine needs to start one attempt.

    `ref` is written in the store before the call and is unique for ever; `start_before_us` fences late
    callers: an engine never starts an attempt after it (a plane that was frozen may ask again long after
    the attempt ended and was forgotten). `lease_expires_us` is None for attempts that may outlive any
    silence of the plane; otherwise the engine ends the attempt by then unless `renew` moved it.
    `secrets` holds file name -> content and is never logged or written outside the attempt's own memory.
    `devices` are what it holds, `device_paths` the device files that these need. An attempt with a `port`
    serves: it has a network of its own even where others have the host's, and `endpoint` tells how to reach
    it. `image` is a container image by digest; an engine without containers refuses it (StartRefused).
    """

    ref: str
    organization_id: str
    project_id: str
    project_number: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    limits: Limits
    start_before_us: int
    lease_expires_us: int | None = None
    network: bool = False
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    device_paths: tuple[str, ...] = ()
    devices: tuple[DeviceShare, ...] = ()
    port: int | None = None
    image: str | None = None


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """How an attempt ended. Times are microseconds UTC; `started_us` is None if it never started."""

    outcome: AttemptOutcome
    exit_code: int | None
    signal: int | None
    started_us: int | None
    ended_us: int
    cpu_us: int = 0
    memory_peak_bytes: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One attempt as the engine sees it; `exit` is set if and only if the phase is ENDED."""

    ref: str
    phase: Phase
    started_us: int | None
    exit: ExitRecord | None


@dataclass(frozen=True, slots=True)
class ObservationPage:
    """A bounded part of an engine's list; pass `cursor` back for the next part, None at the end."""

    items: tuple[Observation, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """A device that a host offers. `partition` is the profile of a hardware partition, empty for a whole one.

    `uuid` stays the same as long as the device does (NVML's UUID for GPUs). `physical_uuid` is that of the
    device that a partition is a part of, empty for a whole one. `paths` are the device files that it needs.
    """

    uuid: str
    kind: str
    model: str
    memory_bytes: int
    paths: tuple[str, ...]
    healthy: bool = True
    detail: str = ""
    partition: str = ""
    physical_uuid: str = ""


@dataclass(frozen=True, slots=True)
class HostReport:
    """What an engine can offer on one host, and whether it is fit to take work. `boot_id` changes at boot."""

    name: str
    cpu_milli: int
    memory_bytes: int
    boot_id: str
    healthy: bool
    detail: str = ""
    disk_bytes: int = 0
    failure_domain: str = ""
    fabric_island: str = ""
    devices: tuple[DeviceReport, ...] = ()


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Bytes of a stream from an offset; `ended` when no more will come."""

    data: bytes
    next_offset: int
    ended: bool


class Engine(Protocol):
    """What every engine does. All calls are bounded in time, idempotent, and safe from several threads."""

    name: str
    placement_grain: PlacementGrain

    def ensure(self, specs: Sequence[AttemptSpec]) -> Mapping[str, EngineError | None]:
        """Start the attempts that are not there yet; by ref, None or why it could not (now or ever).

        One that ended and was forgotten is told as ended again, as it did: whoever asks for it knows nothing
        of its end, for its store is from a backup.
        """

    def stop(self, refs: Sequence[str], grace_s: float) -> None:
        """Ask the attempts to end: SIGTERM, after `grace_s` SIGKILL. Ended and purged refs are ignored.

        Returns at once; the end is observed like any other. An attempt that never started will not, and
        is told as ended (CANCELLED, `started_us` None), so that a stop always leads to an end. Asked again,
        the shorter grace counts. Raises EngineUnavailable if some could not be asked, after all others were.
        """

    def ended(self, limit: int) -> Sequence[Observation]:
        """Attempts that ended and were not forgotten yet, oldest first, at most `limit`. Cheap when none."""

    def observe(self, cursor: str | None, limit: int) -> ObservationPage:
        """Every attempt that the engine knows, in pages of at most `limit`."""

    def forget(self, refs: Sequence[str]) -> None:
        """Drop ended attempts whose exit record is committed; their logs stay readable until `purge`."""

    def purge(self, refs: Sequence[str]) -> None:
        """Remove what is left of forgotten attempts, logs included."""

    def renew(self, leases: Mapping[str, int]) -> None:
        """Move leases: ref -> microseconds UTC; never backwards. Unknown refs are ignored."""

    def log_read(self, ref: str, stream: Stream, offset: int, limit: int) -> LogChunk:
        """At most `limit` bytes of a stream. An unknown ref reads as empty and ended."""

    def hosts(self) -> Sequence[HostReport]:
        """The hosts behind this engine. Raises EngineUnavailable when it cannot tell."""

    def endpoints(self, refs: Sequence[str], /) -> Mapping[str, Endpoint]:
        """Where running attempts with a port can be reached, by ref. Left out: unknown, ended, not yet up."""

    def on_change(self, nudge: "Nudge") -> None:
        """Call `nudge` (from any thread, without payload) when something may have started or ended."""

    def close(self) -> None:
        """Release what this process holds. Never ends an attempt."""


class Nudge(Protocol):
    """A wake-up without payload."""

    def __call__(self) -> None:
        """Wake whoever waits."""
