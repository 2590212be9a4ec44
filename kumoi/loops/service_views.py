"""Rows, reports and endpoints as the pure functions want to see a service."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from kumoi.core.autoscale.inputs import ScaleRules
from kumoi.core.autoscale.inputs import Schedule as Window
from kumoi.core.rollout import RevisionView, RolloutRules, ServiceView
from kumoi.core.rollout_conditions import ConditionView
from kumoi.core.rollout_replicas import Failure, ReplicaView
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.routes import (
    Endpoint,
    GatewayReport,
    ReplicaHealth,
    ReplicaRoute,
    ServiceRoute,
    ServiceTraffic,
)
from kumoi.model.services import Condition, RevisionSpec, ScaleSpec, Schedule, ServiceSpec
from kumoi.model.time import US_PER_S, time_format
from kumoi.store.replicas import ReplicaRead, ServiceRead
from kumoi.store.schema import AnyRow
from kumoi.store.services import run_of
from kumoi.store.specs import content_same

US_PER_MS = 1_000
NO_HEALTH = ReplicaHealth("", None)
NOWHERE = "deleted.invalid"
"""The host of services that are being deleted (RFC 2606): requests in flight end, new ones do not come."""
_JOB_ENDED = ("succeeded", "failed", "cancelled")
_NOT_ITS_OWN = (AttemptOutcome.PREEMPTED, AttemptOutcome.TIMEOUT)
_WITH_HOST = (AttemptOutcome.HOST_LOST, AttemptOutcome.LEASE_LOST)
_ENDS = {
    AttemptOutcome.MEMORY: "it used more memory than it asked for",
    AttemptOutcome.HOST_LOST: "its host lost it",
    AttemptOutcome.LEASE_LOST: "its host lost it",
    AttemptOutcome.CANCELLED: "it was ended from outside",
    AttemptOutcome.START_FAILED: "it could not be started",
}


_said = msgspec.json.Decoder(tuple[Condition, ...])
_encoder = msgspec.json.Encoder(order="deterministic")


def runs_of(read: ServiceRead) -> dict[int, RevisionSpec]:
    """What a replica is, by revision."""
    return {row.number: run_of(row) for row in read.revisions}


def run_current(read: ServiceRead, spec: ServiceSpec, runs: Mapping[int, RevisionSpec]) -> RevisionSpec:
    """What a replica is now: of the revision that serves, else of the one that is to."""
    return runs.get(read.row.revision) or runs.get(read.row.target) or spec.run


def service_view(
    read: ServiceRead,
    spec: ServiceSpec,
    runs: Mapping[int, RevisionSpec],
    replicas: tuple[ReplicaView, ...],
    *,
    wanted: int,
    waiting: int,
    heard_us: int | None,
    is_gateway_starting: bool,
    serving_failed_us: int | None,
) -> ServiceView:
    """What a rollout is decided on."""
    row, rollout = read.row, spec.rollout
    said = {one.code: one.params for one in _said.decode(row.conditions)}
    return ServiceView(
        revision=row.revision,
        target=row.target,
        wanted=wanted,
        revisions=tuple(
            RevisionView(
                one.number,
                one.state,
                runs[one.number].readiness.start_timeout_s * US_PER_S,
                one.reason or "",
                runs[one.number] == spec.run and content_same(row, one),
                runs[one.number].port,
            )
            for one in read.revisions
        ),
        replicas=replicas,
        rules=RolloutRules(
            surge=rollout.surge,
            watch_us=rollout.watch_s * US_PER_S,
            failures_max=rollout.failures_max,
            rollback=rollout.rollback,
            drain_timeout_us=max(spec.route.request_timeout_ms, 1_000) * US_PER_MS,
        ),
        paused=row.paused,
        deleting=row.state == "deleting",
        failures=row.failures,
        retry_us=row.retry_us,
        last=_failure_said(said.get("revision_failing")),
        given_up=_failure_said(said.get("revision_failed")),
        serving_failed_us=serving_failed_us,
        waiting=waiting,
        heard_us=heard_us,
        is_gateway_starting=is_gateway_starting,
        name=row.name,
    )


def _failure_said(params: Mapping[str, str] | None) -> Failure | None:
    """The last failure as the condition that tells of it has kept it."""
    if params is None:
        return None
    return Failure(
        int(params["revision"]),
        params["why"],
        replica=params.get("replica", ""),
        never_ran="never_ran" in params,
    )


def replica_view(
    one: ReplicaRead, health: ReplicaHealth, *, unready_us: int | None, is_drained: bool
) -> ReplicaView:
    """A replica from its rows and the gateway's word."""
    row, attempt = one.row, one.attempt
    has_ended = row.job_state in _JOB_ENDED
    # A replica is tried once: an attempt that ended leaves a job that would go on without us.
    is_lost = not has_ended and attempt is not None and attempt.state == "ended"
    is_running = attempt is not None and attempt.state == "running"
    return ReplicaView(
        id=row.id,
        revision=row.revision,
        state=row.state,
        asked_us=row.asked_us,
        job_id=row.job_id,
        ready_us=row.ready_us,
        drain_us=row.drain_us,
        started_us=attempt.started_us if attempt is not None and is_running else None,
        has_ended=has_ended,
        is_lost=is_lost,
        failure=_failure(attempt) if has_ended or is_lost else "",
        never_ran=attempt is not None and attempt.outcome == AttemptOutcome.START_FAILED,
        fell_with_host=attempt is not None and attempt.outcome in _WITH_HOST,
        ready=health.ready,
        unready_us=unready_us,
        alive=health.alive,
        busy=health.busy,
        neighbours=one.neighbours,
        detail=health.detail,
        is_drained=is_drained,
        is_stopping=row.job_state == "cancelling",
    )


def _failure(attempt: AnyRow | None) -> str:
    """What went wrong with a replica that was not asked to end; empty where it gave way or grew old.

    A lost host counts, too: what is lost again and again must not be started again and again.
    """
    if attempt is None or attempt.outcome is None:
        return ""
    outcome = AttemptOutcome(attempt.outcome)
    if outcome in _NOT_ITS_OWN:
        return ""
    match outcome:
        case AttemptOutcome.EXITED:
            return f"its command ended with exit code {attempt.exit_code}"
        case AttemptOutcome.SIGNALLED:
            return f"its command was ended by signal {attempt.signal}"
    return f"{_ENDS[outcome]}: {attempt.detail}" if attempt.detail else _ENDS[outcome]


def conditions_text(kept: str, found: tuple[ConditionView, ...], now_us: int) -> str:
    """The conditions as they are kept. One that stays keeps the time at which it was first told."""
    before = {(one.code, one.params.get("revision")): one.at for one in _said.decode(kept)}
    said = []
    for one in found:
        params = dict(one.params)
        at = before.get((one.code, params.get("revision")), time_format(now_us))
        said.append({"code": one.code, "at": at, "params": params})
    return _encoder.encode(said).decode()


def scale_rules(scale: ScaleSpec, slots: int, now_us: int) -> ScaleRules:
    """What the autoscaler holds to now. Schedules become the windows that are open."""
    return ScaleRules(
        policy=scale.policy.value,
        min_replicas=scale.min_replicas,
        max_replicas=scale.max_replicas,
        slots=slots,
        slo_wait_ms=scale.slo_wait_ms,
        violation_target_ppm=scale.violation_target_ppm,
        schedules=tuple(
            window
            for schedule in scale.schedules
            for window in _windows(schedule, now_us // (900 * US_PER_S))
            if window.active(now_us)
        ),
        pin=scale.pin,
    )


@lru_cache(1_024)
def _windows(schedule: Schedule, quarter: int) -> tuple[Window, ...]:
    """The times of a schedule around a quarter of an hour, counted since 1970."""
    try:
        zone = ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ()
    today = datetime.fromtimestamp(quarter * 900, UTC).astimezone(zone).date()
    days = (today + timedelta(days=offset) for offset in (-1, 0, 1))
    return tuple(
        Window(
            _local_us(day, schedule.from_minute, zone),
            _local_us(day, schedule.to_minute, zone),
            min_replicas=schedule.min_replicas,
            max_replicas=schedule.max_replicas,
        )
        for day in days
        if day.weekday() in schedule.weekdays
    )


def _local_us(day: date, minute: int, zone: ZoneInfo) -> int:
    """A minute of a day by the wall clock there; minute 1,440 is the next day's first."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=minute)
    return int(local.timestamp()) * US_PER_S


def traffic_of(report: GatewayReport) -> dict[str, ServiceTraffic]:
    """What a report says, by service."""
    return {one.id: one for one in report.services}


def service_route(
    read: ServiceRead,
    spec: ServiceSpec,
    runs: Mapping[int, RevisionSpec],
    states: Mapping[str, str],
    endpoints: Mapping[str, Endpoint],
) -> ServiceRoute:
    """How requests reach the service. `states` are those of its replicas, `endpoints` by attempt."""
    row, route = read.row, spec.route
    run = run_current(read, spec, runs)
    is_gone = row.state == "deleting" or not read.routes
    rolling = runs.get(row.target, run)
    return ServiceRoute(
        id=row.id,
        name=row.name,
        hosts=(NOWHERE,) if is_gone else tuple(one.host for one in read.routes if one.host),
        path=f"/{row.id}" if is_gone else read.routes[0].path,
        strip_path=route.strip_path,
        concurrency=min(run.concurrency, rolling.concurrency),
        queue_timeout_ms=route.queue_timeout_ms,
        queue_length_max=route.queue_length_max,
        request_timeout_ms=route.request_timeout_ms,
        slo_wait_ms=spec.scale.slo_wait_ms,
        readiness=run.readiness,
        liveness=run.liveness,
        replicas=tuple(
            _replica_route(one, runs.get(one.row.revision, run), run, state, endpoints[one.attempt.id])
            for one in read.replicas
            if (state := states.get(one.row.id, "ended")) != "ended"
            and one.attempt is not None
            and one.attempt.state == "running"
            and one.attempt.id in endpoints
        ),
    )


def _replica_route(
    one: ReplicaRead, own: RevisionSpec, run: RevisionSpec, state: str, endpoint: Endpoint
) -> ReplicaRoute:
    is_other = (own.readiness, own.liveness) != (run.readiness, run.liveness)
    return ReplicaRoute(
        id=one.row.id,
        revision=one.row.revision,
        endpoint=endpoint,
        serving=state != "draining",
        readiness=own.readiness if is_other else None,
        liveness=own.liveness if is_other else None,
    )
