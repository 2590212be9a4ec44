"""Projects: where jobs, files and secrets live."""

from msgspec.structs import replace

from kumoi.app.answers import answer
from kumoi.app.organizations import organization_authorized
from kumoi.app.plane import Plane, not_found
from kumoi.model.access import Action, Actor, Project, ProjectCreate, ResourceKind, Target
from kumoi.model.errors import Conflict
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.ids import IdKind
from kumoi.model.records import Page
from kumoi.model.time import time_format
from kumoi.store import projects, schema
from kumoi.store.access import project_number_next
from kumoi.store.database import Connection
from kumoi.store.directory import ProjectPlace
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.services import service_count
from kumoi.store.writer import Change, Move


def project_target(place: ProjectPlace | Project) -> Target:
    """The project as the guard sees it."""
    organization = place.organization_id if isinstance(place, ProjectPlace) else place.organization
    return Target(ResourceKind.PROJECT, place.id, organization, place.id)


async def project_authorized(plane: Plane, actor: Actor, action: Action, project_id: str) -> ProjectPlace:
    """The project, if `actor` may do `action` in it. Raises NotFound or Forbidden."""
    place = await plane.directory.project(project_id)
    if place is None:
        await plane.refuse_unknown(actor, action, ResourceKind.PROJECT, project_id)
    await plane.authorize(actor, action, project_target(place))
    return place


async def project_list(
    plane: Plane, actor: Actor, organization: str, limit: int, cursor: str | None
) -> Page[Project]:
    """Projects of an organization that `actor` may read, oldest first."""
    organization_id = await organization_authorized(plane, actor, Action.PROJECT_LIST, organization)
    listing = f"projects/{organization_id}"
    after = plane.cursors.open(listing, cursor)
    # Nobody lists another organization's but an operator with access to all of it.
    of_other = organization_id != actor.organization_id
    readable = None if of_other else plane.guard.projects_readable(actor)
    rows = await plane.store.read(projects.project_list, organization_id, limit + 1, after, readable)
    return plane.cursors.page(listing, rows, limit, lambda project: project.id)


async def project_read(plane: Plane, actor: Actor, project_id: str) -> Project:
    """One project."""
    await project_authorized(plane, actor, Action.PROJECT_READ, project_id)
    project = await plane.store.read(projects.project_get, project_id)
    if project is None:
        raise not_found(project_id)
    return project


async def project_create(
    plane: Plane, actor: Actor, organization: str, body: ProjectCreate, key: IdempotencyKey | None
) -> Written:
    """Create a project; its number, and so its operating-system user, is never used again."""
    organization_id = await organization_authorized(plane, actor, Action.PROJECT_CREATE, organization)
    project_id, now_us = id_new(IdKind.PROJECT, plane.region.cell), plane.clock_us()

    def build(connection: Connection) -> Change:
        row = {
            "id": project_id,
            "organization_id": organization_id,
            "name": body.name,
            "number": project_number_next(connection),
            "data_class": body.data_class,
            "jurisdiction": body.jurisdiction,
            "created_us": now_us,
        }
        event = event_row(
            Action.PROJECT_CREATE,
            at_us=now_us,
            actor=actor.id,
            resource=project_id,
            organization=organization_id,
            project=project_id,
            detail={"name": body.name, "data_class": body.data_class, "jurisdiction": body.jurisdiction},
        )
        created = Project(
            id=project_id,
            organization=organization_id,
            name=body.name,
            state="active",
            data_class=body.data_class,
            jurisdiction=body.jurisdiction,
            created_at=time_format(now_us),
            version=1,
        )
        inserts = [(schema.projects, [row]), (schema.events, [event])]
        return Change(inserts, key=key, answer=answer(201, created, 1))

    return await plane.commit_built(build, key)


async def project_archive(plane: Plane, actor: Actor, project_id: str, key: IdempotencyKey | None) -> Written:
    """Close a project for new work; what it holds stays. Refused while it has services, which never end."""
    return await _project_move(plane, actor, Action.PROJECT_ARCHIVE, project_id, "active", "archived", key)


async def project_restore(plane: Plane, actor: Actor, project_id: str, key: IdempotencyKey | None) -> Written:
    """Open an archived project again."""
    return await _project_move(plane, actor, Action.PROJECT_RESTORE, project_id, "archived", "active", key)


async def _project_move(
    plane: Plane,
    actor: Actor,
    action: Action,
    project_id: str,
    source: str,
    target: str,
    key: IdempotencyKey | None,
) -> Written:
    place = await project_authorized(plane, actor, action, project_id)
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        project = projects.project_get(connection, project_id)
        if project is None:
            raise not_found(project_id)
        if project.state != source:
            raise Conflict(
                "project_state",
                "the project {name} is {state}, so it cannot become {target}",
                name=project.name,
                state=project.state,
                target=target,
            )
        if target == "archived" and service_count(connection, project_id):
            raise Conflict(
                "project_has_services",
                "the project {name} keeps services running; delete them first with `kumoi service delete`",
                name=project.name,
            )
        moved = replace(project, state=target, version=project.version + 1)
        event = event_row(
            action,
            at_us=now_us,
            actor=actor.id,
            resource=project_id,
            organization=place.organization_id,
            project=project_id,
        )
        return Change(
            [(schema.events, [event])],
            [Move(schema.projects, project_id, source, target, {})],
            key,
            answer(200, moved, moved.version),
        )

    written = await plane.commit_built(build, key)
    plane.access_changed()
    return written
