"""What the services loop reads, and what it writes: replicas, moves of revisions, scalings, all or nothing.

Only the loop writes what is here, under its lease; people write what they want (`store.services`). A write
names what it was decided on, and changes nothing where people wanted something else meanwhile.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, or_, select, update

from kumoi.core.replica_jobs import replica_job
from kumoi.core.rollout import RevisionMove, Steps
from kumoi.core.rollout_replicas import ReplicaMove
from kumoi.model.ids import IdKind
from kumoi.store.errors import ImpossibleState, StaleState
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.ids import id_new, ids_new
from kumoi.store.jobs import JobPlace, job_cancel, job_row
from kumoi.store.schema import (
    AnyRow,
    attempts,
    events,
    is_live,
    jobs,
    replica_is_live,
    replicas,
    revisions,
    scalings,
    service_is_live,
    service_routes,
    services,
)
from kumoi.store.services import revision_get, revision_id, run_of, spec_of
from kumoi.store.specs import sealed_of
from kumoi.store.writer import Move, insert_many, move_many

SCALINGS_KEPT = 3_600
_REASON_MAX = 400
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ReplicaRead:
    """A replica that has not ended, the state of its job, its newest attempt, how many live on its host."""

    row: AnyRow
    attempt: AnyRow | None
    neighbours: int


@dataclass(frozen=True, slots=True)
class ServiceRead:
    """A service that is not deleted with everything about it that may still change."""

    row: AnyRow
    revisions: tuple[AnyRow, ...]
    replicas: tuple[ReplicaRead, ...]
    routes: tuple[AnyRow, ...]


@dataclass(frozen=True, slots=True)
class Scaling:
    """A decision of the autoscaler on its way into the store. `reason` and `scaler` as they are kept."""

    at_us: int
    ready: int
    waiting: int
    demand_milli: int
    reason: str
    digest: str
    inputs: bytes
    scaler: bytes


@dataclass(frozen=True, slots=True)
class ServiceWrite:
    """What follows from one look at a service. `conditions` is their text, `busy` requests by replica."""

    read: ServiceRead
    steps: Steps
    wanted: int
    conditions: str
    scaling: Scaling | None = None
    busy: Mapping[str, int] | None = None


# What every activation reads is built once: building an expression costs more than SQLite's answer.
_SERVICES = (
    select(services)
    .where(service_is_live(), services.c.id > bindparam("after_id"))
    .order_by(services.c.id)
    .limit(bindparam("most"))
)
_REPLICAS = (
    select(replicas, jobs.c.state.label("job_state"), jobs.c.reason.label("job_reason"))
    .join(jobs, jobs.c.id == replicas.c.job_id)
    .where(replica_is_live(), replicas.c.service_id.in_(bindparam("ids", expanding=True)))
    .order_by(replicas.c.id)
)
_REVISIONS = (
    select(revisions)
    .where(
        revisions.c.service_id.in_(bindparam("ids", expanding=True)),
        or_(
            revisions.c.state != "retired",
            exists(
                select(1).where(
                    replica_is_live(),
                    replicas.c.service_id == revisions.c.service_id,
                    replicas.c.revision == revisions.c.number,
                )
            ),
        ),
    )
    .order_by(revisions.c.service_id, revisions.c.number)
)
_ROUTES = (
    select(service_routes)
    .where(service_routes.c.service_id.in_(bindparam("ids", expanding=True)))
    .order_by(service_routes.c.host, service_routes.c.path)
)
_ATTEMPTS = (
    select(
        attempts.c.id,
        attempts.c.job_id,
        attempts.c.host_id,
        attempts.c.engine,
        attempts.c.state,
        attempts.c.outcome,
        attempts.c.exit_code,
        attempts.c.signal,
        attempts.c.detail,
        attempts.c.started_us,
    )
    .where(attempts.c.job_id.in_(bindparam("ids", expanding=True)))
    .order_by(attempts.c.id)
)
_NEIGHBOURS = (
    select(attempts.c.host_id, func.count())
    .where(is_live(), attempts.c.host_id.in_(bindparam("ids", expanding=True)))
    .group_by(attempts.c.host_id)
)


def services_load(connection: Connection, after_id: str, limit: int) -> Sequence[ServiceRead]:
    """Services that are not deleted, by id after `after_id`, at most `limit`, each with all that it has."""
    rows = connection.execute(_SERVICES, {"after_id": after_id, "most": limit}).all()
    if not rows:
        return []
    ids = {"ids": [row.id for row in rows]}
    live = connection.execute(_REPLICAS, ids).all()
    newest = _attempts_newest(connection, [row.job_id for row in live])
    neighbours = _neighbours(connection, newest.values())
    theirs: defaultdict[str, list[ReplicaRead]] = defaultdict(list)
    for row in live:
        attempt = newest.get(row.job_id)
        beside = neighbours.get(attempt.host_id, 0) if attempt is not None else 0
        theirs[row.service_id].append(ReplicaRead(row, attempt, beside))
    numbered = _grouped(connection.execute(_REVISIONS, ids).all())
    routes = _grouped(connection.execute(_ROUTES, ids).all())
    return [
        ServiceRead(row, tuple(numbered[row.id]), tuple(theirs[row.id]), tuple(routes[row.id]))
        for row in rows
    ]


def cold_starts(connection: Connection, service_id: str, limit: int) -> Sequence[int]:
    """What the last replicas that became ready took from being asked for, in microseconds, newest first."""
    statement = (
        select(replicas.c.ready_us - replicas.c.asked_us)
        .where(replicas.c.service_id == service_id, replicas.c.ready_us.is_not(None))
        .order_by(replicas.c.id.desc())
        .limit(limit)
    )
    return connection.execute(statement).scalars().all()


def scaling_get(connection: Connection, scaling_id: str) -> AnyRow | None:
    """A decision of the autoscaler with its packed inputs, and whose service it was about."""
    statement = (
        select(scalings, services.c.organization_id, services.c.project_id)
        .join(services, services.c.id == scalings.c.service_id)
        .where(scalings.c.id == scaling_id)
    )
    return connection.execute(statement).one_or_none()


def service_write(connection: Connection, write: ServiceWrite, now_us: int, cell: int) -> None:
    """Write what was decided. Raises StaleState where the service or a replica changed meanwhile."""
    row, steps = write.read.row, write.steps
    _unchanged_check(connection, row)
    move_many(connection, [_replica_move(write, move, now_us) for move in steps.moves])
    for revision, count in steps.starts:
        _replicas_add(connection, row, revision, count, now_us, cell)
    job_ids = {one.row.id: one.row.job_id for one in write.read.replicas}
    for replica_id in sorted(steps.stops):
        job_cancel(connection, job_ids[replica_id], now_us, "the replica is not needed any more")
    for move in steps.revisions:
        values = {"reason": (move.reason or "")[:_REASON_MAX] or None}
        number = revision_id(row.id, move.number)
        move_many(connection, [Move(revisions, number, move.source, move.target, values)])
    _busy_write(connection, write)
    _service_update(connection, write)
    if write.scaling is not None:
        _scaling_add(connection, row.id, write.wanted, write.scaling, cell)
    insert_many(connection, events, _events(write, now_us))
    if steps.is_over:
        move_many(connection, [Move(services, row.id, "deleting", "deleted", {"deleted_us": now_us})])


def _attempts_newest(connection: Connection, job_ids: Sequence[str]) -> dict[str, AnyRow]:
    newest: dict[str, AnyRow] = {}
    for first in range(0, len(job_ids), _CHUNK):
        chunk = {"ids": list(job_ids[first : first + _CHUNK])}
        newest |= {row.job_id: row for row in connection.execute(_ATTEMPTS, chunk)}
    return newest


def _neighbours(connection: Connection, placed: Iterable[AnyRow]) -> dict[str, int]:
    """How many attempts live on each host of these."""
    hosts = sorted({row.host_id for row in placed})
    return {
        host_id: count
        for first in range(0, len(hosts), _CHUNK)
        for host_id, count in connection.execute(_NEIGHBOURS, {"ids": hosts[first : first + _CHUNK]})
    }


def _grouped(rows: Sequence[AnyRow]) -> defaultdict[str, list[AnyRow]]:
    grouped: defaultdict[str, list[AnyRow]] = defaultdict(list)
    for row in rows:
        grouped[row.service_id].append(row)
    return grouped


def _unchanged_check(connection: Connection, row: AnyRow) -> None:
    """Lock the service. What people change is counted by its generation, what the loop changes is its own."""
    statement = select(services).where(services.c.id == row.id).with_for_update(key_share=True)
    now = connection.execute(statement).one()
    said = ("state", "generation", "revision", "target", "paused")
    if any(getattr(now, name) != getattr(row, name) for name in said):
        raise StaleState(f"the service {row.id} was changed while it was looked at")


def _replica_move(write: ServiceWrite, move: ReplicaMove, now_us: int) -> Move:
    values: dict[str, Any] = {}
    if move.reason is not None or move.target != "ended":
        values["reason"] = (move.reason or "")[:_REASON_MAX] or None
    if move.target == "ready":
        row = next(one.row for one in write.read.replicas if one.row.id == move.id)
        values["ready_us"] = row.ready_us or now_us
    elif move.target == "draining":
        values["drain_us"] = now_us
    elif move.target == "ended":
        values["ended_us"] = now_us
        values["busy"] = 0
    return Move(replicas, move.id, move.source, move.target, values)


def _replicas_add(
    connection: Connection, row: AnyRow, revision: int, count: int, now_us: int, cell: int
) -> None:
    """Ask for replicas: each a row of its own and the job that it is."""
    found = revision_get(connection, row.id, revision)
    if found is None:
        raise ImpossibleState(f"the revision {revision} of the service {row.id} does not exist")
    spec = replica_job(spec_of(row), run_of(found))
    place = JobPlace(row.organization_id, row.project_id, row.pool_id, row.data_class, row.jurisdiction)
    job_ids = ids_new(IdKind.JOB, count, cell)
    insert_many(
        connection,
        jobs,
        [
            job_row(
                job_id,
                spec,
                "pending",
                place,
                created_us=now_us,
                created_by=found.created_by,
                sealed=sealed_of(found),
                service_id=row.id,
            )
            for job_id in job_ids
        ],
    )
    insert_many(
        connection,
        replicas,
        [
            {
                "id": replica_id,
                "service_id": row.id,
                "revision": revision,
                "job_id": job_id,
                "state": "starting",
                "asked_us": now_us,
            }
            for replica_id, job_id in zip(ids_new(IdKind.REPLICA, count, cell), job_ids, strict=True)
        ],
    )


_BUSY = (
    update(replicas)
    .where(replicas.c.id == bindparam("of_id"), replica_is_live())
    .values(busy=bindparam("now_busy"))
)


def _busy_write(connection: Connection, write: ServiceWrite) -> None:
    busy = write.busy or {}
    changed = [
        {"of_id": one.row.id, "now_busy": busy[one.row.id]}
        for one in write.read.replicas
        if busy.get(one.row.id, one.row.busy) != one.row.busy
    ]
    if changed:
        connection.execute(_BUSY, changed)


def _service_update(connection: Connection, write: ServiceWrite) -> None:
    steps, row = write.steps, write.read.row
    values = {
        "observed_generation": row.generation,
        "revision": steps.revision,
        "target": steps.target,
        "failures": steps.failures,
        "retry_us": steps.retry_us,
        "wanted": write.wanted,
        "conditions": write.conditions,
    }
    if write.scaling is not None:
        values |= {"scaler": write.scaling.scaler, "scaler_at_us": write.scaling.at_us}
    connection.execute(update(services).where(services.c.id == row.id).values(**values))


def _scaling_add(connection: Connection, service_id: str, wanted: int, scaling: Scaling, cell: int) -> None:
    """Keep the decision, and of the old ones no more than the last."""
    row = {
        "id": id_new(IdKind.SCALING, cell),
        "service_id": service_id,
        "at_us": scaling.at_us,
        "wanted": wanted,
        "ready": scaling.ready,
        "waiting": scaling.waiting,
        "demand_milli": scaling.demand_milli,
        "reason": scaling.reason,
        "digest": scaling.digest,
        "inputs": scaling.inputs,
    }
    insert_many(connection, scalings, [row])
    oldest = (
        select(scalings.c.id)
        .where(scalings.c.service_id == service_id)
        .order_by(scalings.c.id.desc())
        .offset(SCALINGS_KEPT)
        .limit(1)
        .scalar_subquery()
    )
    connection.execute(delete(scalings).where(scalings.c.service_id == service_id, scalings.c.id <= oldest))


def _events(write: ServiceWrite, now_us: int) -> list[dict[str, Any]]:
    """What the log tells: how many replicas were asked for and let go, and which revision serves."""
    steps = write.steps
    drained = sum(move.target == "draining" for move in steps.moves)
    found: list[tuple[str, dict[str, object]]] = []
    if steps.starts or drained:
        started = sum(count for _, count in steps.starts)
        found.append(("service_scale", {"wanted": write.wanted, "started": started, "drained": drained}))
    found += [(f"revision_{_VERBS[move.target]}", _move_detail(move)) for move in steps.revisions]
    if steps.is_over:
        found.append(("service_end", {}))
    row = write.read.row
    return [
        event_row(
            action,
            at_us=now_us,
            actor=SYSTEM_ACTOR,
            resource=row.id,
            organization=row.organization_id,
            project=row.project_id,
            detail=detail,
        )
        for action, detail in found
    ]


_VERBS = {"serving": "serve", "failed": "fail", "retired": "retire"}


def _move_detail(move: RevisionMove) -> dict[str, object]:
    return {"revision": move.number, "why": move.reason or ""}
