"""Jobs: rows, lists, and their moves that no engine is needed for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, bindparam, exists, func, or_, select, update

from kumoi.model.ids import IdKind
from kumoi.model.jobs import (
    CLASS_RANKS,
    SPEC_DECODER,
    SPEC_ENCODER,
    Job,
    JobSpec,
    JobSummary,
    PlacementRules,
    TaskCounts,
)
from kumoi.model.time import time_format
from kumoi.store import schema
from kumoi.store.ids import ids_new
from kumoi.store.keys.names import Sealed
from kumoi.store.locks import rows_lock
from kumoi.store.schema import AnyRow, in_state, job_dependencies, jobs, pools, tasks
from kumoi.store.specs import content_strip, sealed_values
from kumoi.store.writer import Move, insert_many, move_many

_ENDED = ("succeeded", "failed", "cancelled")
_NO_RULES = PlacementRules()


@dataclass(frozen=True, slots=True)
class JobPlace:
    """Where a new job belongs, and what binds its data."""

    organization_id: str
    project_id: str
    pool_id: str
    data_class: str
    jurisdiction: str


def job_row(
    job_id: str,
    spec: JobSpec,
    state: str,
    place: JobPlace,
    *,
    created_us: int,
    created_by: str,
    sealed: Sealed | None,
    service_id: str | None = None,
) -> dict[str, Any]:
    """The row of a new job; `service_id` where it is a replica of that service.

    `sealed` is the content of `spec` (`store.specs`), which stands nowhere else in the row.
    """
    return {
        "id": job_id,
        "organization_id": place.organization_id,
        "project_id": place.project_id,
        "pool_id": place.pool_id,
        "service_id": service_id,
        "name": spec.name,
        "spec": spec_text(content_strip(spec)),
        **sealed_values(sealed),
        "state": state,
        "array_size": spec.array_size,
        "gang": spec.gang,
        "cpu_milli": spec.resources.cpu_milli,
        "memory_bytes": spec.resources.memory_bytes,
        "disk_bytes": spec.resources.disk_bytes,
        "wall_time_s": spec.resources.wall_time_s,
        "devices": msgspec.json.encode(spec.resources.devices).decode() if spec.resources.devices else "",
        "rules": "" if spec.rules == _NO_RULES else msgspec.json.encode(spec.rules).decode(),
        "priority": spec.priority,
        "work_class": spec.work_class.value,
        "on_host_lost": spec.on_host_lost.value,
        "data_class": place.data_class,
        "jurisdiction": place.jurisdiction,
        "created_us": created_us,
        "created_by": created_by,
    }


def job_get(connection: Connection, job_id: str) -> AnyRow | None:
    """The row of a job."""
    return connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()


def job_from_row(row: AnyRow, counts: TaskCounts) -> Job:
    """The job as its owner sees it, without what is sealed of it."""
    return Job(
        id=row.id,
        organization=row.organization_id,
        project=row.project_id,
        name=row.name,
        state=row.state,
        reason=row.reason,
        spec=SPEC_DECODER.decode(row.spec),
        tasks=counts,
        created_at=time_format(row.created_us),
        created_by=row.created_by,
        ended_at=_time(row.ended_us),
        version=row.version,
    )


def job_list(
    connection: Connection,
    project_id: str,
    state: str | None,
    service_id: str | None,
    limit: int,
    before_id: str | None,
) -> Sequence[JobSummary]:
    """Jobs of a project, newest first, older than `before_id`: those of a service, or else of none."""
    statement = select(
        jobs.c.id,
        jobs.c.name,
        jobs.c.state,
        jobs.c.reason,
        jobs.c.array_size,
        jobs.c.priority,
        jobs.c.created_us,
        jobs.c.created_by,
        jobs.c.ended_us,
    ).where(jobs.c.project_id == project_id, jobs.c.service_id == service_id)
    if state is not None:
        statement = statement.where(jobs.c.state == state)
    if before_id is not None:
        statement = statement.where(jobs.c.id < before_id)
    return [
        JobSummary(
            id=row.id,
            name=row.name,
            state=row.state,
            reason=row.reason,
            array_size=row.array_size,
            priority=row.priority,
            created_at=time_format(row.created_us),
            created_by=row.created_by,
            ended_at=_time(row.ended_us),
        )
        for row in connection.execute(statement.order_by(jobs.c.id.desc()).limit(limit))
    ]


def task_counts(connection: Connection, job_id: str) -> TaskCounts:
    """Tasks of a job by state."""
    statement = select(tasks.c.state, func.count()).where(tasks.c.job_id == job_id).group_by(tasks.c.state)
    return TaskCounts(**{row[0]: row[1] for row in connection.execute(statement)})


def dependencies_missing(connection: Connection, project_id: str, job_ids: Sequence[str]) -> set[str]:
    """Which of `job_ids` are no jobs of the project."""
    statement = select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.project_id == project_id)
    return set(job_ids) - set(connection.execute(statement).scalars())


def secrets_missing(connection: Connection, project_id: str, names: Sequence[str]) -> set[str]:
    """Which of `names` are no secrets of the project."""
    table = schema.secrets
    statement = select(table.c.name).where(table.c.project_id == project_id, table.c.name.in_(names))
    return set(names) - set(connection.execute(statement).scalars())


def dependencies_unmet(connection: Connection, job_id: str) -> Sequence[str]:
    """The jobs that `job_id` still waits for."""
    other = jobs.alias("other")
    statement = (
        select(other.c.id)
        .join(job_dependencies, job_dependencies.c.depends_on_id == other.c.id)
        .where(job_dependencies.c.job_id == job_id, other.c.state.not_in(_ENDED))
        .order_by(other.c.id)
        .limit(100)
    )
    return connection.execute(statement).scalars().all()


def jobs_releasable(connection: Connection, limit: int) -> Sequence[str]:
    """Jobs that wait for nothing any more, or in vain. Looks at every waiting job: for a reader."""
    return [row.id for row in connection.execute(_RELEASABLE, {"most": limit})]


def jobs_release(connection: Connection, job_ids: Sequence[str], now_us: int) -> int:
    """Move those of `job_ids` that need not wait: to `pending`, or `failed` if a dependency was not met."""
    statement = _RELEASE.where(jobs.c.id.in_(job_ids)).order_by(jobs.c.id)
    rows = connection.execute(statement.with_for_update(of=jobs, key_share=True)).all()
    moves = [
        Move(jobs, row.id, "waiting", "failed", {"ended_us": now_us, "reason": "a dependency failed"})
        if row.failed
        else Move(jobs, row.id, "waiting", "pending", {})
        for row in rows
    ]
    move_many(connection, moves)
    return len(moves)


def _release_select() -> Select[*tuple[Any, ...]]:
    other = jobs.alias("other")
    joined = job_dependencies.join(other, other.c.id == job_dependencies.c.depends_on_id)
    mine = job_dependencies.c.job_id == jobs.c.id
    failed = exists(
        select(1)
        .select_from(joined)
        .where(mine, job_dependencies.c.condition == "succeeded", other.c.state.in_(("failed", "cancelled")))
    )
    unmet = exists(select(1).select_from(joined).where(mine, other.c.state.not_in(_ENDED)))
    return select(jobs.c.id, failed.label("failed")).where(in_state(jobs, "waiting"), or_(failed, ~unmet))


# What every activation reads is built once: building an expression costs more than SQLite's answer.
_RELEASE = _release_select()
_RELEASABLE = _RELEASE.order_by(jobs.c.id).limit(bindparam("most"))
_POOLS_OPEN = select(pools.c.id).where(pools.c.state == "open")
ORGANIZATIONS_MAX = 10_000
_PENDING = (jobs.c.pool_id == bindparam("in_pool"), in_state(jobs, "pending"))
_ORGANIZATION_NEXT = select(func.min(jobs.c.organization_id)).where(
    *_PENDING, jobs.c.organization_id > bindparam("last")
)
_PRIORITY_NEXT = (
    select(jobs.c.priority)
    .where(*_PENDING, jobs.c.organization_id == bindparam("of_organization"))
    .order_by(jobs.c.priority.desc())
    .limit(1)
)
_QUEUED_FROM = select(func.count()).where(
    tasks.c.pool_id == bindparam("in_pool"),
    tasks.c.organization_id == bindparam("of_organization"),
    in_state(tasks, "queued"),
    tasks.c.priority >= bindparam("from_priority"),
)


@dataclass(frozen=True, slots=True)
class _Turn:
    """Whose pending jobs come next in a pool, and how many of their tasks there is room for."""

    pool_id: str
    organization_id: str
    priority: int
    room: int


def jobs_expandable(connection: Connection, lookahead: int) -> bool:
    """Whether the turn of any pending job has come."""
    return any(True for _ in _turns(connection, lookahead))


def jobs_expand(connection: Connection, now_us: int, cell: int, lookahead: int, limit: int) -> int:
    """Write the tasks of pending jobs of open pools, in queue order, while few tasks wait there.

    Each organization has a `lookahead` of its own, so nobody's waiting tasks keep another's from their
    turn. Returns how many jobs moved. A paused pool holds its jobs as they are, however many.
    """
    turns = list(_turns(connection, lookahead))
    return sum(_turn_take(connection, turn, now_us, cell, limit) for turn in turns)


def _turns(connection: Connection, lookahead: int) -> Iterator[_Turn]:
    for pool_id in connection.execute(_POOLS_OPEN).scalars().all():
        for organization_id in _organizations_pending(connection, pool_id):
            turn = _turn(connection, pool_id, organization_id, lookahead)
            if turn.room > 0:
                yield turn


def _organizations_pending(connection: Connection, pool_id: str) -> Iterator[str]:
    """The organizations with pending jobs in a pool, by one seek of the index for each."""
    last = ""
    for _ in range(ORGANIZATIONS_MAX):
        found = connection.execute(_ORGANIZATION_NEXT, {"in_pool": pool_id, "last": last}).scalar()
        if found is None:
            return
        yield found
        last = found


def _turn(connection: Connection, pool_id: str, organization_id: str, lookahead: int) -> _Turn:
    """An organization's turn. Waiting tasks of a lower priority take no room from its pending jobs."""
    whose = {"in_pool": pool_id, "of_organization": organization_id}
    priority = connection.execute(_PRIORITY_NEXT, whose).scalar_one()
    queued = connection.execute(_QUEUED_FROM, {**whose, "from_priority": priority}).scalar_one()
    return _Turn(pool_id, organization_id, int(priority), lookahead - int(queued))


def _turn_take(connection: Connection, turn: _Turn, now_us: int, cell: int, limit: int) -> int:
    statement = (
        select(jobs.c.id, jobs.c.array_size, jobs.c.work_class)
        .where(
            jobs.c.pool_id == turn.pool_id,
            jobs.c.organization_id == turn.organization_id,
            in_state(jobs, "pending"),
            jobs.c.priority == turn.priority,
        )
        .order_by(jobs.c.id)
        .limit(min(limit, turn.room))
    )
    rows: list[dict[str, Any]] = []
    moves: list[Move] = []
    for job in connection.execute(statement).all():
        if len(rows) >= turn.room:
            break
        rows += [
            {
                "id": task_id,
                "job_id": job.id,
                "ordinal": ordinal,
                "organization_id": turn.organization_id,
                "pool_id": turn.pool_id,
                "priority": turn.priority,
                "class_rank": CLASS_RANKS[job.work_class],
                "not_before_us": now_us,
            }
            for ordinal, task_id in enumerate(ids_new(IdKind.TASK, job.array_size, cell))
        ]
        moves.append(Move(jobs, job.id, "pending", "queued", {}))
    insert_many(connection, tasks, rows)
    move_many(connection, moves)
    return len(moves)


def job_cancel(connection: Connection, job_id: str, now_us: int, reason: str) -> str | None:
    """Cancel a job: what waits never starts, what runs is stopped. Its new state; None if it has ended."""
    statement = select(jobs).where(jobs.c.id == job_id).with_for_update(key_share=True)
    row = connection.execute(statement).one_or_none()
    if row is None or row.state in _ENDED:
        return None
    if row.state in ("waiting", "pending"):
        ended = {"ended_us": now_us, "reason": reason}
        move_many(connection, [Move(jobs, job_id, row.state, "cancelled", ended)])
        return "cancelled"
    if row.state != "cancelling":
        move_many(connection, [Move(jobs, job_id, row.state, "cancelling", {"reason": reason})])
    _tasks_stop(connection, job_id)
    return jobs_settle(connection, [job_id], now_us).get(job_id, "cancelling")


def _tasks_stop(connection: Connection, job_id: str) -> None:
    attempts = schema.attempts
    connection.execute(
        update(tasks)
        .where(tasks.c.job_id == job_id, tasks.c.state == "queued")
        .values(state="cancelled", reason="cancelled", version=tasks.c.version + 1)
    )
    may_stop = (attempts.c.job_id == job_id, attempts.c.state.in_(("placed", "running")))
    rows_lock(connection, attempts, *may_stop)
    connection.execute(
        update(attempts).where(*may_stop).values(state="stopping", version=attempts.c.version + 1)
    )


_JOBS_OF = (
    select(jobs.c.id)
    .where(
        jobs.c.id.in_(
            select(schema.attempts.c.job_id).where(schema.attempts.c.id.in_(bindparam("ids", expanding=True)))
        )
    )
    .order_by(jobs.c.id)
    .with_for_update(key_share=True)
)


def jobs_lock(connection: Connection, attempt_ids: Sequence[str]) -> None:
    """Lock the jobs of attempts, before anything of theirs is read.

    A cancel does the same, so that of a cancel and an end one sees the other. SQLite has one writer.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_JOBS_OF, {"ids": list(attempt_ids)}).all()


_TASK_OF = tasks.c.job_id == jobs.c.id
_SETTLING = select(
    jobs.c.id,
    jobs.c.state,
    jobs.c.gang,
    exists(select(1).where(_TASK_OF, tasks.c.state.in_(("queued", "active")))).label("open"),
    exists(select(1).where(_TASK_OF, tasks.c.state == "failed")).label("failed"),
).where(
    jobs.c.id.in_(bindparam("ids", expanding=True)), jobs.c.state.in_(("queued", "running", "cancelling"))
)


def jobs_settle(connection: Connection, job_ids: Sequence[str], now_us: int) -> dict[str, str]:
    """End the jobs of `job_ids` all of whose tasks have ended. Returns their new states.

    A gang of which one task failed for good is stopped: the others cannot go on without it.
    """
    if not job_ids:
        return {}
    settled: dict[str, str] = {}
    stopped: list[str] = []
    for row in connection.execute(_SETTLING, {"ids": list(job_ids)}).all():
        if not row.open:
            settled[row.id] = _end(row.state, row.failed)
        elif row.gang and row.failed and row.state == "running":
            move_many(
                connection,
                [Move(jobs, row.id, "running", "cancelling", {"reason": "one of the gang failed"})],
            )
            _tasks_stop(connection, row.id)
            stopped.append(row.id)
    for job_id, state in settled.items():
        _job_end(connection, job_id, state, now_us)
    # Of a stopped gang nothing may be running any more; then no end will come that settles it.
    return settled | jobs_settle(connection, stopped, now_us)


def _end(state: str, failed: bool) -> str:
    if failed:
        return "failed"
    return "cancelled" if state == "cancelling" else "succeeded"


def _job_end(connection: Connection, job_id: str, state: str, now_us: int) -> None:
    reason = select(func.min(tasks.c.reason)).where(tasks.c.job_id == job_id, tasks.c.state == "failed")
    values: dict[str, Any] = {"ended_us": now_us, "state": state, "version": jobs.c.version + 1}
    if state == "failed":
        values["reason"] = reason.scalar_subquery()
    connection.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.state.not_in(_ENDED)).values(**values))


def spec_text(spec: JobSpec) -> str:
    """The canonical text of a specification."""
    return SPEC_ENCODER.encode(spec).decode()


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else time_format(at_us)
