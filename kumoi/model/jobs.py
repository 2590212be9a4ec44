"""Jobs: what a tenant asks to be run, and what became of it.

A job is one command run `array_size` times. Each run is a task; each try of a task is an attempt.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct, field

from kumoi.model.ids import END, Id, Name
from kumoi.model.places import CountryCode, IsolationClass

ARRAY_SIZE_MAX = 10_000
BATCH_MAX = 1_000
GANG_MAX = 256
CPU_MILLI_MAX = 1_024_000
MEMORY_BYTES_MAX = 64 << 40
DISK_BYTES_MAX = 1 << 50
DEVICE_MILLI = 1_000
"""A whole device, in the thousandths that it is shared in."""
WALL_TIME_S_MAX = 31 * 86_400

# Without U+0000, which the API refuses in every text: a pattern here would cost a search for each argument.
Argument = Annotated[str, Meta(max_length=32_768)]
EnvironmentName = Annotated[str, Meta(pattern=rf"^[A-Za-z_][A-Za-z0-9_]{{0,127}}{END}")]
IMAGE_PATTERN = rf"^[a-z0-9]([a-z0-9._/:-]{{0,240}}[a-z0-9])?@sha256:[0-9a-f]{{64}}{END}"
ImageDigest = Annotated[
    str, Meta(pattern=IMAGE_PATTERN, description="a container image by digest: NAME@sha256:HEX")
]
Port = Annotated[int, Meta(ge=1, le=65_535)]
ExitCode = Annotated[int, Meta(ge=0, le=255)]


class WorkClass(StrEnum):
    """What happens to work when capacity is short."""

    GUARANTEED = "guaranteed"
    STANDARD = "standard"
    PREEMPTIBLE = "preemptible"


CLASS_RANKS = {WorkClass.GUARANTEED: 0, WorkClass.STANDARD: 1, WorkClass.PREEMPTIBLE: 2}
"""The order in which classes are served."""


class HostLossPolicy(StrEnum):
    """What a task does when its host is lost: wait for it, or be replaced once its lease has run out."""

    WAIT = "wait"
    REPLACE = "replace"


class RetryReason(StrEnum):
    """The ends of an attempt that may be tried again."""

    EXIT_CODE = "exit_code"
    HOST_LOST = "host_lost"
    TIMEOUT = "timeout"


class DependencyCondition(StrEnum):
    """What the other job must have done."""

    SUCCEEDED = "succeeded"
    ENDED = "ended"


class AttemptOutcome(StrEnum):
    """How an attempt ended."""

    EXITED = "exited"
    SIGNALLED = "signalled"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CANCELLED = "cancelled"
    LEASE_LOST = "lease_lost"
    HOST_LOST = "host_lost"
    START_FAILED = "start_failed"
    PREEMPTED = "preempted"


DeviceModel = Annotated[str, Meta(min_length=1, max_length=128)]


class DeviceRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """`count` devices of a kind, of one of `models` (any where empty).

    `milli` below 1,000 asks for a share of one device in thousandths of its time and memory. `partition` asks
    for a hardware partition by its profile (NVIDIA MIG, e.g. `1g.18gb`); without it only whole devices serve.
    """

    kind: Name
    count: Annotated[int, Meta(ge=1, le=64)] = 1
    models: Annotated[tuple[DeviceModel, ...], Meta(max_length=16)] = ()
    milli: Annotated[int, Meta(ge=1, le=DEVICE_MILLI)] = DEVICE_MILLI
    partition: Annotated[str, Meta(pattern=rf"^[0-9]+g\.[0-9]+gb{END}")] | None = None


class Resources(Struct, frozen=True, forbid_unknown_fields=True):
    """What one task may use. A task over its memory or wall time is ended."""

    cpu_milli: Annotated[int, Meta(ge=1, le=CPU_MILLI_MAX)] = 1_000
    memory_bytes: Annotated[int, Meta(ge=4 << 20, le=MEMORY_BYTES_MAX)] = 256 << 20
    disk_bytes: Annotated[int, Meta(ge=0, le=DISK_BYTES_MAX)] = 0
    wall_time_s: Annotated[int, Meta(ge=1, le=WALL_TIME_S_MAX)] = 3_600
    processes: Annotated[int, Meta(ge=1, le=32_768)] = 256
    devices: Annotated[tuple[DeviceRequest, ...], Meta(max_length=8)] = ()


class SpreadOver(StrEnum):
    """The domains that tasks of a job can be spread over."""

    HOST = "host"
    FAILURE_DOMAIN = "failure_domain"


class Spread(Struct, frozen=True, forbid_unknown_fields=True):
    """At most `most` tasks of the job at once in one domain. `host` with 1 is anti-affinity."""

    over: SpreadOver = SpreadOver.HOST
    most: Annotated[int, Meta(ge=1, le=ARRAY_SIZE_MAX)] = 1


class GangScope(StrEnum):
    """How near to each other the tasks of a gang must be. The pool is of one site."""

    HOST = "host"
    FABRIC_ISLAND = "fabric_island"
    SITE = "site"


class LatencyLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """Only sites whose operator declares at most `max_ms` milliseconds (round trip) to the place `to`."""

    to: Name
    max_ms: Annotated[int, Meta(ge=1, le=10_000)]


class PlacementRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Where work may run. Every rule given must hold; empty means no rule.

    `isolation` is the least that must stand between this work and other organizations' (process < container
    < vm < host). `dedicated` takes only hosts dedicated to the organization; `reservation` only those of the
    named reservation, while it lasts.
    """

    sites: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    jurisdictions: Annotated[tuple[CountryCode, ...], Meta(max_length=64)] = ()
    latency: Annotated[tuple[LatencyLimit, ...], Meta(max_length=16)] = ()
    isolation: IsolationClass | None = None
    spread: Spread | None = None
    gang_within: GangScope | None = None
    dedicated: bool = False
    reservation: Name | None = None


class RetryPolicy(Struct, frozen=True, forbid_unknown_fields=True):
    """How often and after what ends a task is tried again; `exit_codes` empty means any code but 0."""

    limit: Annotated[int, Meta(ge=0, le=10)] = 0
    on: Annotated[tuple[RetryReason, ...], Meta(max_length=3)] = (RetryReason.HOST_LOST,)
    exit_codes: Annotated[tuple[ExitCode, ...], Meta(max_length=256)] = ()


class Dependency(Struct, frozen=True, forbid_unknown_fields=True):
    """Another job that must have ended first: `job` is an id, or the name of a job in the same batch."""

    job: Annotated[str, Meta(min_length=1, max_length=64)]
    condition: DependencyCondition = DependencyCondition.SUCCEEDED


class JobSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What to run. Secrets are references: file name under /run/secrets -> name of the project's secret.

    `image` is a container image by digest, for pools of containers; the command may then be empty. `port` is
    set by services alone: it is where a replica listens.
    """

    command: Annotated[tuple[Argument, ...], Meta(max_length=1_024)] = ()
    name: Name = "job"
    environment: Annotated[dict[EnvironmentName, Argument], Meta(max_length=256)] = field(
        default_factory=dict
    )
    secrets: Annotated[dict[EnvironmentName, Name], Meta(max_length=64)] = field(default_factory=dict)
    resources: Resources = Resources()
    array_size: Annotated[int, Meta(ge=1, le=ARRAY_SIZE_MAX)] = 1
    gang: bool = False
    retries: RetryPolicy = RetryPolicy()
    on_host_lost: HostLossPolicy = HostLossPolicy.WAIT
    priority: Annotated[int, Meta(ge=-1_000, le=1_000)] = 0
    work_class: WorkClass = WorkClass.STANDARD
    depends_on: Annotated[tuple[Dependency, ...], Meta(max_length=64)] = ()
    pool: Name | None = None
    rules: PlacementRules = PlacementRules()
    network: bool = False
    image: ImageDigest | None = None
    port: Port | None = None


class JobBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Several jobs, written together or not at all. `depends_on` may name jobs of the same batch."""

    jobs: Annotated[tuple[JobSpec, ...], Meta(min_length=1, max_length=BATCH_MAX)]


class TaskCounts(Struct, frozen=True):
    """Tasks of a job by state."""

    queued: int = 0
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0


class Job(Struct, frozen=True):
    """A job as its owner sees it. Times are RFC 3339.

    `withheld` is the code of why the command and the environment are not shown; empty where they are.
    """

    id: Id
    organization: Id
    project: Id
    name: Name
    state: str
    reason: str | None
    spec: JobSpec
    tasks: TaskCounts
    created_at: str
    created_by: Id
    ended_at: str | None
    version: int
    withheld: str = ""


class JobSummary(Struct, frozen=True):
    """A job in a list."""

    id: Id
    name: Name
    state: str
    reason: str | None
    array_size: int
    priority: int
    created_at: str
    created_by: Id
    ended_at: str | None


class JobRef(Struct, frozen=True):
    """What a submission answers for each job."""

    id: Id
    name: Name
    state: str


class JobRefs(Struct, frozen=True):
    """The jobs of a batch, in the order in which they were given."""

    items: tuple[JobRef, ...]


class Attempt(Struct, frozen=True):
    """One try of a task, with its exit record."""

    id: Id
    number: int
    state: str
    host: Id
    outcome: AttemptOutcome | None
    exit_code: int | None
    signal: int | None
    placed_at: str
    started_at: str | None
    ended_at: str | None
    cpu_s: float | None
    memory_peak_bytes: int | None


class Task(Struct, frozen=True):
    """One run of a job's command; `index` is 0..array_size-1 and `KUMOI_TASK_INDEX` in its environment."""

    id: Id
    job: Id
    index: int
    state: str
    reason: str | None
    attempts: tuple[Attempt, ...]


class HostRefusal(Struct, frozen=True):
    """Why hosts did not take a task, by a stable code and in the reader's language, and how many of them."""

    code: str
    hosts: int
    reason: str = ""


class TaskLog(Struct, frozen=True):
    """Bytes of a task's stream from an offset; `ended` when no more will come."""

    data: bytes
    next_offset: int
    ended: bool


class JobWhy(Struct, frozen=True):
    """Why a job waits, or where it was placed and by which decision.

    `code` is stable; `explanation` is the sentence made of it, of `params` and of the refusals, in the
    reader's language.
    """

    job: Id
    state: str
    code: str
    params: dict[str, str]
    waiting_for: tuple[Id, ...]
    refusals: tuple[HostRefusal, ...]
    placements: tuple["Placement", ...]
    explanation: str = ""


class HostCost(Struct, frozen=True):
    """What the policy thought of a host: the lower the cost the better."""

    host_name: Name
    cost: float


class Placement(Struct, frozen=True):
    """Where an attempt was placed, by which plan (`kumoi replay` recomputes it), over how many candidates.

    `best` are the first three of them, the chosen one among them. Both `policy` and `best` are empty when the
    plan is not kept any more.
    """

    attempt: Id
    task_index: int
    host: Id
    host_name: Name
    plan: Id
    policy: str
    decided_at: str
    candidates: int
    best: tuple[HostCost, ...]


SPEC_ENCODER = msgspec.json.Encoder(order="deterministic")
SPEC_DECODER = msgspec.json.Decoder(JobSpec)
