"""Jobs: submission, what became of them, and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from kumoi.app.access_uses import access_detail
from kumoi.app.answers import answer
from kumoi.app.keys import spec_seal, spec_shown
from kumoi.app.plane import Plane
from kumoi.app.pool_choice import PoolChoice, placed_at
from kumoi.app.projects import project_authorized
from kumoi.core.dependencies import cycle_find
from kumoi.core.lifecycles import JOB
from kumoi.core.placement.possible import DataBinding, job_contradiction
from kumoi.model.access import Action, Actor, ResourceKind, Target
from kumoi.model.errors import Conflict, Invalid
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind, id_is
from kumoi.model.jobs import (
    GANG_MAX,
    Job,
    JobBatch,
    JobRef,
    JobRefs,
    JobSpec,
    JobSummary,
)
from kumoi.model.records import Page
from kumoi.store import jobs, schema
from kumoi.store.database import Connection
from kumoi.store.directory import PoolPlace, ProjectPlace
from kumoi.store.events import event_row
from kumoi.store.ids import ids_new
from kumoi.store.jobs import JobPlace
from kumoi.store.keys.names import Sealed
from kumoi.store.schema import AnyRow
from kumoi.store.writer import Change, Table


@dataclass(frozen=True, slots=True)
class _Submission:
    """A job on its way into the store: its place in the request, its id and the jobs that it waits for."""

    at: str
    id: str
    spec: JobSpec
    pool: PoolPlace
    depends_on: Mapping[str, str]
    sealed: Sealed

    @property
    def state(self) -> str:
        return "waiting" if self.depends_on else "pending"


async def job_create(
    plane: Plane, actor: Actor, project: str, body: JobSpec, key: IdempotencyKey | None
) -> Written:
    """Submit a job. It is on disk before the answer."""
    return await plane.replay_or(key, _job_create(plane, actor, project, body, key))


async def _job_create(
    plane: Plane, actor: Actor, project: str, body: JobSpec, key: IdempotencyKey | None
) -> Written:
    place = await _project_open(plane, actor, project)
    submitted = await _submissions(plane, place, (body,), ("",))
    ref = JobRef(submitted[0].id, body.name, submitted[0].state)
    return await _submit(plane, actor, place, submitted, key, answer(201, ref, 1))


async def job_batch_create(
    plane: Plane, actor: Actor, project: str, body: JobBatch, key: IdempotencyKey | None
) -> Written:
    """Submit several jobs, all or none. A dependency may name another job of the batch."""
    return await plane.replay_or(key, _job_batch_create(plane, actor, project, body, key))


async def _job_batch_create(
    plane: Plane, actor: Actor, project: str, body: JobBatch, key: IdempotencyKey | None
) -> Written:
    place = await _project_open(plane, actor, project)
    ats = [f"/jobs/{index}" for index in range(len(body.jobs))]
    submitted = await _submissions(plane, place, body.jobs, ats)
    refs = JobRefs(tuple(JobRef(one.id, one.spec.name, one.state) for one in submitted))
    return await _submit(plane, actor, place, submitted, key, answer(201, refs))


async def job_list(
    plane: Plane,
    actor: Actor,
    project: str,
    limit: int,
    cursor: str | None,
    state: str | None,
    service: str | None = None,
) -> Page[JobSummary]:
    """Jobs of a project, newest first; only those in `state` where one is given.

    Replicas of services are not among them; with `service`, that service's replicas are all there is.
    """
    if state is not None and state not in JOB.states:
        raise Invalid(
            "job_state_unknown",
            "there is no job state {state}; use one of {states}",
            at="state",
            state=state,
            states=", ".join(JOB.states),
        )
    await project_authorized(plane, actor, Action.JOB_LIST, project)
    listing = f"jobs/{project}/{state or ''}/{service or ''}"
    before = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(jobs.job_list, project, state, service, limit + 1, before)
    return plane.cursors.page(listing, rows, limit, lambda job: job.id)


async def job_read(plane: Plane, actor: Actor, job: str) -> Job:
    """One job with its tasks by state."""
    row = await job_authorized(plane, actor, Action.JOB_READ, job)
    counts = await plane.store.read(jobs.task_counts, job)
    job_shown = jobs.job_from_row(row, counts)
    spec, withheld = await spec_shown(plane, row, job_shown.spec)
    return replace(job_shown, spec=spec, withheld=withheld)


async def job_cancel(plane: Plane, actor: Actor, job: str, key: IdempotencyKey | None) -> Written:
    """Cancel a job: what waits never starts, what runs is asked to end. Ended jobs cannot be cancelled."""
    row = await job_authorized(plane, actor, Action.JOB_CANCEL, job)
    if row.service_id is not None:
        raise Conflict(
            "job_of_service",
            "the job {id} is a replica of the service {service}; end it with "
            "`kumoi service stop {service} REPLICA`, or give the service fewer replicas",
            id=job,
            service=row.service_id,
        )
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        state = jobs.job_cancel(connection, job, now_us, f"cancelled by {actor.id}")
        if state is None:
            raise Conflict("job_ended", "the job {id} has ended and cannot be cancelled", id=job)
        event = event_row(
            Action.JOB_CANCEL,
            at_us=now_us,
            actor=actor.id,
            resource=job,
            organization=row.organization_id,
            project=row.project_id,
            detail=access_detail(actor),
        )
        ref = JobRef(job, row.name, state)
        return Change([(schema.events, [event])], key=key, answer=answer(200, ref))

    return await plane.commit_built(build, key, wake=("tasks", "jobs"))


async def job_authorized(plane: Plane, actor: Actor, action: Action, job_id: str) -> AnyRow:
    """The row of a job, if `actor` may do `action` to it. Raises NotFound or Forbidden."""
    row = await plane.store.read(jobs.job_get, job_id) if id_is(IdKind.JOB, job_id) else None
    if row is None:
        await plane.refuse_unknown(actor, action, ResourceKind.JOB, job_id)
    target = Target(ResourceKind.JOB, job_id, row.organization_id, row.project_id)
    await plane.authorize(actor, action, target)
    return row


async def submission_authorized(plane: Plane, actor: Actor, project: str) -> ProjectPlace:
    """The project, if `actor` may submit jobs to it. Raises NotFound or Forbidden."""
    return await project_authorized(plane, actor, Action.JOB_CREATE, project)


async def _project_open(plane: Plane, actor: Actor, project: str) -> ProjectPlace:
    place = await submission_authorized(plane, actor, project)
    if place.state != "active":
        raise Conflict("project_archived", "the project {id} is archived; restore it first", id=project)
    return place


async def _submissions(
    plane: Plane, place: ProjectPlace, specs: Sequence[JobSpec], ats: Sequence[str]
) -> list[_Submission]:
    """Check what a specification alone can tell, and give every job its id."""
    ids = ids_new(IdKind.JOB, len(specs), plane.region.cell)
    named = _names(specs, ids, ats)
    choose = PoolChoice(plane, place.organization_id, DataBinding(place.data_class, place.jurisdiction))
    submitted = []
    for at, job_id, spec in zip(ats, ids, specs, strict=True):
        _spec_check(spec, at)
        pool = await choose.pool(spec, at)
        depends_on = {named.get(d.job, d.job): d.condition.value for d in spec.depends_on}
        sealed = await spec_seal(plane, place.organization_id, place.id, spec)
        submitted.append(_Submission(at, job_id, spec, pool, depends_on, sealed))
    return submitted


def _names(specs: Sequence[JobSpec], ids: Sequence[str], ats: Sequence[str]) -> dict[str, str]:
    """Names of the batch that dependencies refer to -> ids. Refuses ambiguous names and cycles."""
    wanted = {d.job for spec in specs for d in spec.depends_on if not id_is(IdKind.JOB, d.job)}
    if not wanted:
        return {}
    named: dict[str, str] = {}
    for at, spec, job_id in zip(ats, specs, ids, strict=True):
        if spec.name in wanted and spec.name in named:
            raise Invalid(
                "dependency_ambiguous",
                "two jobs of the batch are named {name} and a dependency means one of them; rename one",
                at=f"{at}/name",
                name=spec.name,
            )
        named[spec.name] = job_id
    for at, spec in zip(ats, specs, strict=True):
        for index, dependency in enumerate(spec.depends_on):
            if dependency.job in wanted and dependency.job not in named:
                raise _dependency_unknown(f"{at}/depends_on/{index}/job", dependency.job)
    graph = {
        spec.name: [d.job for d in spec.depends_on if d.job in named] for spec in specs if spec.name in wanted
    }
    cycle = cycle_find(graph)
    if cycle is not None:
        raise Invalid(
            "dependency_cycle",
            "the jobs wait for each other in a circle: {cycle}; remove one of these dependencies",
            at=ats[0].rpartition("/")[0] or "/depends_on",
            cycle=" -> ".join(cycle),
        )
    return named


def _spec_check(spec: JobSpec, at: str) -> None:
    contradiction = job_contradiction(spec)
    if contradiction is not None:
        raise placed_at(contradiction, at)
    if spec.port is not None:
        raise Invalid(
            "port_service_only",
            "a job has no port; what is to be reached is a service: `kumoi service create --port {port}`",
            at=f"{at}/port",
            port=spec.port,
        )
    if spec.gang and spec.array_size > GANG_MAX:
        raise Invalid(
            "gang_too_large",
            "a gang has at most {limit} tasks, this one {size}; submit it without `gang` or in parts",
            at=f"{at}/array_size",
            limit=GANG_MAX,
            size=spec.array_size,
        )


async def _submit(
    plane: Plane,
    actor: Actor,
    place: ProjectPlace,
    submitted: Sequence[_Submission],
    key: IdempotencyKey | None,
    reply: Written,
) -> Written:
    """Write the jobs. What refers to other rows is checked in the same transaction, alone in its commit."""
    change = _change(plane, actor, place, submitted, key, reply)
    wake = ("jobs",) if any(one.pool.state == "open" for one in submitted) else ()
    if not any(one.depends_on or one.spec.secrets for one in submitted):
        return await plane.commit(change, wake=wake)

    def build(connection: Connection) -> Change:
        _references_check(connection, place.id, submitted)
        return change

    return await plane.commit_built(build, key, wake=wake)


def _change(
    plane: Plane,
    actor: Actor,
    place: ProjectPlace,
    submitted: Sequence[_Submission],
    key: IdempotencyKey | None,
    reply: Written,
) -> Change:
    now_us = plane.clock_us()
    edges = [
        {"job_id": one.id, "depends_on_id": other, "condition": condition}
        for one in submitted
        for other, condition in one.depends_on.items()
    ]
    inserts: list[tuple[Table, list[dict[str, Any]]]] = [
        (schema.jobs, [_row(one, actor, place, now_us) for one in submitted]),
        (schema.events, [_event(one, actor, place, now_us) for one in submitted]),
    ]
    if edges:
        inserts.append((schema.job_dependencies, edges))
    return Change(inserts, key=key, answer=reply)


def _row(one: _Submission, actor: Actor, place: ProjectPlace, now_us: int) -> dict[str, Any]:
    where = JobPlace(place.organization_id, place.id, one.pool.id, place.data_class, place.jurisdiction)
    return jobs.job_row(
        one.id, one.spec, one.state, where, created_us=now_us, created_by=actor.id, sealed=one.sealed
    )


def _event(one: _Submission, actor: Actor, place: ProjectPlace, now_us: int) -> dict[str, Any]:
    return event_row(
        Action.JOB_CREATE,
        at_us=now_us,
        actor=actor.id,
        resource=one.id,
        organization=place.organization_id,
        project=place.id,
        detail={"name": one.spec.name, "array_size": one.spec.array_size, "pool": one.pool.name},
    )


def _references_check(connection: Connection, project_id: str, submitted: Sequence[_Submission]) -> None:
    """Every dependency is a job of the project (or of this batch), every secret one of the project."""
    own = {one.id for one in submitted}
    wanted = {job_id for one in submitted for job_id in one.depends_on} - own
    lacking = jobs.dependencies_missing(connection, project_id, sorted(wanted)) if wanted else set()
    names = {name for one in submitted for name in one.spec.secrets.values()}
    unknown = jobs.secrets_missing(connection, project_id, sorted(names)) if names else set()
    for one in submitted:
        for index, dependency in enumerate(one.spec.depends_on):
            if dependency.job in lacking:
                raise _dependency_unknown(f"{one.at}/depends_on/{index}/job", dependency.job)
        for file, name in one.spec.secrets.items():
            if name in unknown:
                raise Invalid(
                    "secret_unknown",
                    "the project has no secret {name}; write it with `kumoi secret put {name}`",
                    at=f"{one.at}/secrets/{file}",
                    name=name,
                )


def _dependency_unknown(at: str, job: str) -> Invalid:
    return Invalid(
        "dependency_unknown",
        "there is no job {job} in the project or the batch to depend on; check its id",
        at=at,
        job=job,
    )
