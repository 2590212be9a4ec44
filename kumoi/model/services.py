"""Services: what a tenant wants to be kept running, and what became of it.

A service has revisions; a revision has replicas. A replica is one job of one task, so it is queued, placed,
metered and logged like any other work.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from kumoi.model.ids import END, Id, Name
from kumoi.model.jobs import (
    Argument,
    EnvironmentName,
    ImageDigest,
    PlacementRules,
    Port,
    Resources,
    WorkClass,
)

REPLICAS_MAX = 1_000
CONCURRENCY_MAX = 10_000
SCHEDULES_MAX = 16
HOSTS_MAX = 16
SCALINGS_KEPT = 3_600
"""How many decisions about a service are kept."""
PATH_PATTERN = rf"^(/[A-Za-z0-9._~-]+)*/?{END}"

UrlPath = Annotated[str, Meta(min_length=1, max_length=200, pattern=PATH_PATTERN)]
HostName = Annotated[
    str,
    Meta(max_length=253, pattern=rf"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*{END}"),
]
Replicas = Annotated[int, Meta(ge=0, le=REPLICAS_MAX)]


class ScalePolicy(StrEnum):
    """Who decides how many replicas there are."""

    KUMOI = "kumoi"
    TARGET = "target"
    PANIC = "panic"
    QUEUE = "queue"


class HealthCheck(Struct, frozen=True, forbid_unknown_fields=True):
    """A GET of `path` that must answer 200 to 399 within `timeout_ms`.

    Every `interval_ms`; `failures` in a row count as unhealthy. Until its first success a replica is asked
    much more often, for `start_timeout_s` at most.
    """

    path: UrlPath = "/"
    interval_ms: Annotated[int, Meta(ge=100, le=600_000)] = 2_000
    timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1_000
    failures: Annotated[int, Meta(ge=1, le=100)] = 3
    start_timeout_s: Annotated[int, Meta(ge=1, le=3_600)] = 60


class RevisionSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What a replica is: a change of any of it makes a new revision.

    `command` runs on a pool of sandboxes; with `image` the replica is a container, and the command, if any,
    replaces the image's own. It listens on `port` of all addresses or of 127.0.0.1, in a network of its own
    that only the gateway reaches. `concurrency` requests are sent to it at once at most.
    """

    port: Port
    command: Annotated[tuple[Argument, ...], Meta(max_length=1_024)] = ()
    image: ImageDigest | None = None
    environment: Annotated[dict[EnvironmentName, Argument], Meta(max_length=256)] = field(
        default_factory=dict
    )
    secrets: Annotated[dict[EnvironmentName, Name], Meta(max_length=64)] = field(default_factory=dict)
    resources: Resources = Resources()
    concurrency: Annotated[int, Meta(ge=1, le=CONCURRENCY_MAX)] = 4
    readiness: HealthCheck = HealthCheck()
    liveness: HealthCheck | None = None


class Schedule(Struct, frozen=True, forbid_unknown_fields=True):
    """Other limits at certain hours of certain weekdays (0 is Monday), in `time_zone`'s wall clock."""

    weekdays: Annotated[tuple[Annotated[int, Meta(ge=0, le=6)], ...], Meta(min_length=1, max_length=7)]
    from_minute: Annotated[int, Meta(ge=0, le=1_439)]
    to_minute: Annotated[int, Meta(ge=1, le=1_440)]
    min_replicas: Replicas
    max_replicas: Replicas
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] = "Asia/Tokyo"


class ScaleSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """How many replicas there may be, and what users may have to wait for.

    A request that waits longer than `slo_wait_ms` for a replica violates; `violation_target_ppm` (parts per
    million of requests) is the share that the automatic mode steers to; without it the policy's fixed
    quantile holds. `pin` is a number that a person set, and that no policy changes.
    """

    min_replicas: Replicas = 0
    max_replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] = 10
    policy: ScalePolicy = ScalePolicy.KUMOI
    slo_wait_ms: Annotated[int, Meta(ge=1, le=600_000)] = 2_000
    violation_target_ppm: Annotated[int, Meta(ge=100, le=500_000)] | None = None
    schedules: Annotated[tuple[Schedule, ...], Meta(max_length=SCHEDULES_MAX)] = ()
    pin: Replicas | None = None


class RouteSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests come to the service. Without `hosts` and `path` it is /PROJECT-ID/NAME."""

    hosts: Annotated[tuple[HostName, ...], Meta(max_length=HOSTS_MAX)] = ()
    path: UrlPath | None = None
    strip_path: bool = True
    queue_timeout_ms: Annotated[int, Meta(ge=1, le=600_000)] = 30_000
    queue_length_max: Annotated[int, Meta(ge=1, le=100_000)] = 10_000
    request_timeout_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 300_000


class RolloutSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """How a new revision takes over: `surge` replicas more than wanted at once, watched for `watch_s` each.

    With `rollback` a revision whose replicas do not become or stay ready is given up and the one before it
    serves on.
    """

    surge: Annotated[int, Meta(ge=1, le=100)] = 1
    watch_s: Annotated[int, Meta(ge=0, le=3_600)] = 5
    failures_max: Annotated[int, Meta(ge=1, le=100)] = 3
    rollback: bool = True


class ServiceSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """What to keep running."""

    run: RevisionSpec
    name: Name = "service"
    scale: ScaleSpec = ScaleSpec()
    route: RouteSpec = RouteSpec()
    rollout: RolloutSpec = RolloutSpec()
    pool: Name | None = None
    rules: PlacementRules = PlacementRules()
    priority: Annotated[int, Meta(ge=-1_000, le=1_000)] = 0
    work_class: WorkClass = WorkClass.STANDARD


class ServicePin(Struct, frozen=True, forbid_unknown_fields=True):
    """So many replicas, whatever the demand is."""

    replicas: Replicas


class RolloutUndo(Struct, frozen=True, forbid_unknown_fields=True):
    """The revision to go back to; without it the one that serves, or the one that served before it."""

    revision: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


class Replica(Struct, frozen=True):
    """One replica as its owner sees it. `job` tells the rest: logs, placement, attempts."""

    id: Id
    revision: int
    state: str
    reason: str | None
    job: Id
    busy: int
    asked_at: str
    ready_at: str | None
    ended_at: str | None


class Revision(Struct, frozen=True):
    """One revision of a service. `withheld` as in a job."""

    number: int
    state: str
    reason: str | None
    run: RevisionSpec
    created_at: str
    created_by: Id
    withheld: str = ""


class Condition(Struct, frozen=True):
    """What stands in the way of a service, and what to do: a stable code with its parameters.

    `text` is the sentence made of both, in the reader's language; it is made for an answer and never kept.
    """

    code: str
    at: str
    params: dict[str, str] = {}
    text: str = ""


class Service(Struct, frozen=True):
    """A service as its owner sees it.

    `revision` serves (0: none does). `rollout` is `done`, `rolling`, `paused`, or `failed` where the newest
    revision was given up. The counts are of all replicas; listed are the newest that live and the last that
    ended. `version` counts what people changed and is the ETag: replicas come and go without it.
    `withheld` as in a job.
    """

    id: Id
    organization: Id
    project: Id
    name: Name
    state: str
    spec: ServiceSpec
    url_path: str
    revision: int
    rollout: str
    wanted: int
    ready: int
    starting: int
    draining: int
    conditions: tuple[Condition, ...]
    replicas: tuple[Replica, ...]
    created_at: str
    created_by: Id
    version: int
    withheld: str = ""


class ServiceSummary(Struct, frozen=True):
    """A service in a list."""

    id: Id
    name: Name
    state: str
    revision: int
    wanted: int
    ready: int
    created_at: str
    created_by: Id


class ScaleStep(Struct, frozen=True):
    """One decision of the autoscaler: what was seen, what was wanted, and why.

    `code` is stable and means the same with any `figures`; `reason` is the sentence made of both, in the
    reader's language.
    """

    at: str
    demand: float
    wanted: int
    ready: int
    waiting: int
    code: str
    figures: dict[str, int | float]
    plan: str
    reason: str = ""


class ServiceWhy(Struct, frozen=True):
    """Why a service has as many replicas as it has: what stands in the way, the last decisions, oldest first.

    `explanation` sums it up in the reader's language.
    """

    service: Id
    state: str
    conditions: tuple[Condition, ...]
    steps: tuple[ScaleStep, ...]
    explanation: str = ""
