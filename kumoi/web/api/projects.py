"""Projects."""

from typing import TYPE_CHECKING

from kumoi.app import projects
from kumoi.model.access import ProjectCreate
from kumoi.web.api.answer import Answer, answer_json, answer_versioned, answer_written
from kumoi.web.api.parameters import NoQuery, PageQuery
from kumoi.web.api.request import Request

if TYPE_CHECKING:
    from kumoi.app.plane import Plane


async def project_list(plane: "Plane", request: Request[None, PageQuery]) -> Answer:
    """Projects of an organization."""
    return answer_json(
        await projects.project_list(
            plane, request.actor, request.path["organization"], request.query.limit, request.query.cursor
        )
    )


async def project_create(plane: "Plane", request: Request[ProjectCreate, NoQuery]) -> Answer:
    """Create a project."""
    return answer_written(
        await projects.project_create(
            plane, request.actor, request.path["organization"], request.body, request.key
        )
    )


async def project_read(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """One project."""
    return answer_versioned(await projects.project_read(plane, request.actor, request.path["project"]))


async def project_archive(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Close a project for new work; what it holds stays."""
    return answer_written(
        await projects.project_archive(plane, request.actor, request.path["project"], request.key)
    )


async def project_restore(plane: "Plane", request: Request[None, NoQuery]) -> Answer:
    """Open an archived project again."""
    return answer_written(
        await projects.project_restore(plane, request.actor, request.path["project"], request.key)
    )
