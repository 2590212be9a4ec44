"""Services as people see and change them: rows, revisions, routes, and what the autoscaler decided."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select, update

from kumoi.core.service_specs import service_hosts, service_path
from kumoi.model.services import (
    Condition,
    Replica,
    Revision,
    RevisionSpec,
    ScaleStep,
    Service,
    ServiceSpec,
    ServiceSummary,
)
from kumoi.model.time import time_format
from kumoi.store.keys.names import Sealed
from kumoi.store.schema import (
    AnyRow,
    region,
    replica_is_live,
    replicas,
    revisions,
    scalings,
    service_is_live,
    service_routes,
    services,
)
from kumoi.store.specs import content_same, sealed_values
from kumoi.store.writer import Move, insert_many, move_many

REPLICAS_SHOWN = 100
ENDED_SHOWN = 5
REVISIONS_KEPT = 100


class _Reason(msgspec.Struct, frozen=True):
    """A reason as it is kept."""

    code: str
    figures: dict[str, int | float] = {}


_encoder = msgspec.json.Encoder(order="deterministic")
_spec_decoder = msgspec.json.Decoder(ServiceSpec)
_run_decoder = msgspec.json.Decoder(RevisionSpec)
_conditions_decoder = msgspec.json.Decoder(tuple[Condition, ...])
_reason_decoder = msgspec.json.Decoder(_Reason)


def spec_text(spec: ServiceSpec | RevisionSpec) -> str:
    """The canonical text of a specification."""
    return _encoder.encode(spec).decode()


def spec_of(row: AnyRow) -> ServiceSpec:
    """The specification in a service's row."""
    return _spec_decoder.decode(row.spec)


def run_same(service: AnyRow, revision: AnyRow) -> bool:
    """Whether a service asks for what one of its revisions is. Both are rows."""
    return spec_of(service).run == run_of(revision) and content_same(service, revision)


def run_of(row: AnyRow) -> RevisionSpec:
    """What a replica is, in a revision's row."""
    return _run_decoder.decode(row.spec)


def conditions_of(row: AnyRow) -> tuple[Condition, ...]:
    """What stands in the way of a service, by codes, in its row."""
    return _conditions_decoder.decode(row.conditions)


def revision_id(service_id: str, number: int) -> str:
    """The key of a revision's row."""
    return f"{service_id}.{number}"


def service_get(connection: Connection, service_id: str) -> AnyRow | None:
    """The row of a service, of a deleted one too."""
    return connection.execute(select(services).where(services.c.id == service_id)).one_or_none()


def service_lock(connection: Connection, service_id: str) -> AnyRow | None:
    """The row of a service, which nobody else changes until the transaction ends."""
    statement = select(services).where(services.c.id == service_id).with_for_update(key_share=True)
    return connection.execute(statement).one_or_none()


def service_list(
    connection: Connection, project_id: str, name: str | None, limit: int, after_id: str | None
) -> Sequence[ServiceSummary]:
    """Services of a project that are not deleted, oldest first, after `after_id`; of a name where given."""
    ready = select(func.count()).where(replicas.c.service_id == services.c.id, replicas.c.state == "ready")
    statement = select(services, ready.scalar_subquery().label("ready")).where(
        services.c.project_id == project_id, service_is_live(), services.c.id > (after_id or "")
    )
    if name is not None:
        statement = statement.where(services.c.name == name)
    return [
        ServiceSummary(
            id=row.id,
            name=row.name,
            state=row.state,
            revision=row.revision,
            wanted=row.wanted,
            ready=row.ready,
            created_at=time_format(row.created_us),
            created_by=row.created_by,
        )
        for row in connection.execute(statement.order_by(services.c.id).limit(limit))
    ]


def service_count(connection: Connection, project_id: str) -> int:
    """How many services a project has that are not deleted."""
    statement = select(func.count()).where(services.c.project_id == project_id, service_is_live())
    return connection.execute(statement).scalar_one()


def service_show(connection: Connection, row: AnyRow) -> Service:
    """The service as its owner sees it: its counts, its newest replicas and those that ended last.

    Without what is sealed of it.
    """
    spec = spec_of(row)
    counts = _replica_counts(connection, row.id)
    return Service(
        id=row.id,
        organization=row.organization_id,
        project=row.project_id,
        name=row.name,
        state=row.state,
        spec=spec,
        url_path=service_path(row.project_id, spec),
        revision=row.revision,
        rollout=_rollout(connection, row),
        wanted=row.wanted,
        ready=counts.get("ready", 0),
        starting=counts.get("starting", 0),
        draining=counts.get("draining", 0),
        conditions=conditions_of(row),
        replicas=tuple(_replicas_shown(connection, row.id)),
        created_at=time_format(row.created_us),
        created_by=row.created_by,
        version=row.generation,
    )


def service_change(
    connection: Connection, row: AnyRow, spec: ServiceSpec, values: Mapping[str, Any] | None = None
) -> AnyRow:
    """Write what somebody asked for, one generation on, and other columns; the row as it is then."""
    changed = {"spec": spec_text(spec), "generation": row.generation + 1, "version": services.c.version + 1}
    written = update(services).where(services.c.id == row.id).values(**changed, **(values or {}))
    return connection.execute(written.returning(services)).one()


def service_delete(connection: Connection, row: AnyRow) -> None:
    """Let a service go: its routes are free, and the loop ends its replicas."""
    connection.execute(delete(service_routes).where(service_routes.c.service_id == row.id))
    values = {"generation": row.generation + 1}
    move_many(connection, [Move(services, row.id, "active", "deleting", values)])


def routes_claim(connection: Connection, service_id: str, project_id: str, spec: ServiceSpec) -> str | None:
    """Take hosts and path of `spec` for a service instead of what it had; the first one taken, if any is.

    A host belongs to one project, a path of it to one service.
    """
    hosts, path = service_hosts(spec), service_path(project_id, spec)
    if hosts != ("",):
        # Two claims of one host under different paths would not meet at the key.
        connection.execute(select(region.c.one).with_for_update()).all()
    taken = connection.execute(
        select(service_routes.c.host).where(
            service_routes.c.host.in_(hosts),
            service_routes.c.service_id != service_id,
            (service_routes.c.path == path)
            | ((service_routes.c.host != "") & (service_routes.c.project_id != project_id)),
        )
    ).first()
    if taken is not None:
        return f"{taken.host}{path}"
    connection.execute(delete(service_routes).where(service_routes.c.service_id == service_id))
    owner = {"path": path, "project_id": project_id, "service_id": service_id}
    insert_many(connection, service_routes, [{"host": host, **owner} for host in hosts])
    return None


def revision_add(
    connection: Connection,
    service_id: str,
    number: int,
    run: RevisionSpec,
    now_us: int,
    created_by: str,
    sealed: Sealed | None = None,
) -> None:
    """Add a revision that takes over. Of the old ones that are of no use the newest are kept.

    `sealed` is what was stripped of `run` (`store.specs`).
    """
    of_service = select(services.c.organization_id, services.c.project_id).where(services.c.id == service_id)
    owner = connection.execute(of_service).one()
    row = {
        "id": revision_id(service_id, number),
        "service_id": service_id,
        "number": number,
        "organization_id": owner.organization_id,
        "project_id": owner.project_id,
        "spec": spec_text(run),
        **sealed_values(sealed),
        "created_us": now_us,
        "created_by": created_by,
    }
    insert_many(connection, revisions, [row])
    connection.execute(
        delete(revisions).where(
            revisions.c.service_id == service_id,
            revisions.c.number <= number - REVISIONS_KEPT,
            revisions.c.state.in_(("retired", "failed")),
        )
    )


def revision_get(connection: Connection, service_id: str, number: int) -> AnyRow | None:
    """The row of a revision."""
    statement = select(revisions).where(revisions.c.id == revision_id(service_id, number))
    return connection.execute(statement).one_or_none()


def revision_newest(
    connection: Connection, service_id: str, *, below: int | None = None, states: Sequence[str] = ()
) -> AnyRow | None:
    """The newest revision, of those below a number and in one of some states where these are given."""
    statement = select(revisions).where(revisions.c.service_id == service_id)
    if below is not None:
        statement = statement.where(revisions.c.number < below)
    if states:
        statement = statement.where(revisions.c.state.in_(states))
    return connection.execute(statement.order_by(revisions.c.number.desc()).limit(1)).one_or_none()


def revision_list(
    connection: Connection, service_id: str, limit: int, before: int | None
) -> Sequence[AnyRow]:
    """The rows of a service's revisions, newest first, below the number `before`."""
    statement = select(revisions).where(revisions.c.service_id == service_id)
    if before is not None:
        statement = statement.where(revisions.c.number < before)
    return connection.execute(statement.order_by(revisions.c.number.desc()).limit(limit)).all()


def revision_from_row(row: AnyRow) -> Revision:
    """The revision as its owner sees it, without what is sealed of it."""
    return Revision(
        number=row.number,
        state=row.state,
        reason=row.reason,
        run=run_of(row),
        created_at=time_format(row.created_us),
        created_by=row.created_by,
    )


def revision_move(
    connection: Connection, service_id: str, number: int, source: str, target: str, reason: str | None
) -> None:
    """Move a revision from a state to another. Raises StaleState if it is in neither."""
    move = Move(revisions, revision_id(service_id, number), source, target, {"reason": reason})
    move_many(connection, [move])


def replica_list(
    connection: Connection, service_id: str, limit: int, before_id: str | None
) -> Sequence[Replica]:
    """Replicas of a service, ended ones too, newest first, older than `before_id`."""
    statement = select(replicas).where(replicas.c.service_id == service_id)
    if before_id is not None:
        statement = statement.where(replicas.c.id < before_id)
    rows = connection.execute(statement.order_by(replicas.c.id.desc()).limit(limit))
    return [replica_from_row(row) for row in rows]


def replica_get(connection: Connection, service_id: str, replica_id: str) -> AnyRow | None:
    """The row of a replica of the service."""
    statement = select(replicas).where(replicas.c.id == replica_id, replicas.c.service_id == service_id)
    return connection.execute(statement).one_or_none()


def replica_drain(connection: Connection, row: AnyRow, now_us: int, reason: str) -> None:
    """Take a replica out of service; the loop ends it when nothing is in flight there any more."""
    values = {"drain_us": now_us, "reason": reason}
    move_many(connection, [Move(replicas, row.id, row.state, "draining", values)])


def replica_from_row(row: AnyRow) -> Replica:
    """The replica as its owner sees it."""
    return Replica(
        id=row.id,
        revision=row.revision,
        state=row.state,
        reason=row.reason,
        job=row.job_id,
        busy=row.busy,
        asked_at=time_format(row.asked_us),
        ready_at=None if row.ready_us is None else time_format(row.ready_us),
        ended_at=None if row.ended_us is None else time_format(row.ended_us),
    )


def scaling_list(connection: Connection, service_id: str, limit: int) -> Sequence[ScaleStep]:
    """The last decisions about a service, oldest first, by the codes of their reasons."""
    statement = (
        select(
            scalings.c.id,
            scalings.c.at_us,
            scalings.c.wanted,
            scalings.c.ready,
            scalings.c.waiting,
            scalings.c.demand_milli,
            scalings.c.reason,
        )
        .where(scalings.c.service_id == service_id)
        .order_by(scalings.c.id.desc())
        .limit(limit)
    )
    return [_scale_step(row) for row in reversed(connection.execute(statement).all())]


def _scale_step(row: AnyRow) -> ScaleStep:
    reason = _reason_decoder.decode(row.reason)
    return ScaleStep(
        at=time_format(row.at_us),
        demand=row.demand_milli / 1_000,
        wanted=row.wanted,
        ready=row.ready,
        waiting=row.waiting,
        code=reason.code,
        figures=reason.figures,
        plan=row.id,
    )


def _rollout(connection: Connection, row: AnyRow) -> str:
    """Failed is a rollout of what is asked for still: not one that somebody went back from."""
    if row.target:
        return "paused" if row.paused else "rolling"
    tried = select(revisions).where(
        revisions.c.service_id == row.id, revisions.c.state.in_(("serving", "failed"))
    )
    states = {one.state for one in connection.execute(tried) if run_same(row, one)}
    return "failed" if states == {"failed"} else "done"


def _replica_counts(connection: Connection, service_id: str) -> dict[str, int]:
    statement = (
        select(replicas.c.state, func.count())
        .where(replicas.c.service_id == service_id, replica_is_live())
        .group_by(replicas.c.state)
    )
    return {row[0]: row[1] for row in connection.execute(statement)}


def _replicas_shown(connection: Connection, service_id: str) -> list[Replica]:
    of_service = select(replicas).where(replicas.c.service_id == service_id).order_by(replicas.c.id.desc())
    live = of_service.where(replica_is_live()).limit(REPLICAS_SHOWN)
    ended = of_service.where(replicas.c.state == "ended").limit(ENDED_SHOWN)
    return [replica_from_row(row) for part in (live, ended) for row in connection.execute(part)]
