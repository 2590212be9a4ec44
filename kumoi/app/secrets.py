"""Secrets of a project: written here, read by its tasks only."""

import base64
import re

from kumoi.app.answers import answer, etag_matches
from kumoi.app.keys import seal
from kumoi.app.plane import Plane, not_found
from kumoi.app.projects import project_authorized
from kumoi.model.access import Action, Actor, ResourceKind, Target
from kumoi.model.errors import Conflict, Invalid, PreconditionFailed, PreconditionRequired
from kumoi.model.idempotency import Written
from kumoi.model.ids import NAME_PATTERN, IdKind
from kumoi.model.records import SECRET_BYTES_MAX, Page, Secret, SecretWrite
from kumoi.model.time import time_format
from kumoi.store import schema, secrets
from kumoi.store.database import Connection
from kumoi.store.directory import ProjectPlace
from kumoi.store.events import event_row
from kumoi.store.ids import id_new
from kumoi.store.keys.names import Sealed
from kumoi.store.writer import Change

_NAME = re.compile(NAME_PATTERN)
_NO_CONTENT = Written(204, b"")


async def secret_list(
    plane: Plane, actor: Actor, project_id: str, limit: int, cursor: str | None
) -> Page[Secret]:
    """Secrets of a project by name, without their values."""
    await project_authorized(plane, actor, Action.SECRET_LIST, project_id)
    listing = f"secrets/{project_id}"
    after = plane.cursors.open(listing, cursor)
    rows = await plane.store.read(secrets.secret_list, project_id, limit + 1, after)
    return plane.cursors.page(listing, rows, limit, lambda secret: secret.name)


async def secret_write(
    plane: Plane, actor: Actor, project_id: str, name: str, body: SecretWrite, if_match: str | None
) -> Written:
    """Create a secret or replace its value. With `if_match`, only the version that it names is replaced."""
    if _NAME.fullmatch(name) is None:
        raise Invalid(
            "name_invalid",
            "a secret is named with 1 to 63 lower-case letters, digits and hyphens",
            at="name",
        )
    place = await _secret_authorized(plane, actor, Action.SECRET_WRITE, project_id, name)
    if place.state != "active":
        raise Conflict("project_archived", "the project {id} is archived; restore it first", id=project_id)
    owner = secrets.secret_seal_name(place.organization_id, project_id, name)
    sealed = await seal(plane, owner, _value(body))
    now_us, fresh_id = plane.clock_us(), id_new(IdKind.SECRET, plane.region.cell)

    def build(connection: Connection) -> Change:
        known = secrets.secret_get(connection, project_id, name)
        _match_check(name, if_match, known)
        version = 1 if known is None else known.version + 1
        written = Secret(
            id=fresh_id if known is None else known.id,
            project=project_id,
            name=name,
            key_version=sealed.key_version,
            created_at=time_format(now_us) if known is None else known.created_at,
            updated_at=time_format(now_us),
            version=version,
        )
        event = _event(place, Action.SECRET_WRITE, actor, written, now_us)
        inserts = [(schema.events, [event])]
        if known is None:
            inserts.append((schema.secrets, [_row(place, written, sealed, now_us)]))
        else:
            secrets.secret_replace(connection, known.id, sealed, version, now_us)
        return Change(inserts, answer=answer(201 if known is None else 200, written, version))

    return await plane.commit_built(build)


async def secret_delete(
    plane: Plane, actor: Actor, project_id: str, name: str, if_match: str | None
) -> Written:
    """Remove a secret. Tasks that have it keep it; tasks that start later fail for want of it."""
    if _NAME.fullmatch(name) is None:
        raise not_found(name)
    place = await _secret_authorized(plane, actor, Action.SECRET_DELETE, project_id, name)
    if if_match is None:
        raise PreconditionRequired(
            "if_match_missing",
            "deleting needs an If-Match; send the ETag of the version meant, or * for any",
            at="If-Match",
        )
    now_us = plane.clock_us()

    def build(connection: Connection) -> Change:
        known = secrets.secret_get(connection, project_id, name)
        if known is None:
            raise not_found(name)
        _match_check(name, if_match, known)
        secrets.secret_delete(connection, known.id, known.version)
        event = _event(place, Action.SECRET_DELETE, actor, known, now_us)
        return Change([(schema.events, [event])], answer=_NO_CONTENT)

    return await plane.commit_built(build)


async def _secret_authorized(
    plane: Plane, actor: Actor, action: Action, project_id: str, name: str
) -> ProjectPlace:
    place = await plane.directory.project(project_id)
    if place is None:
        await plane.refuse_unknown(actor, action, ResourceKind.SECRET, project_id)
    target = Target(ResourceKind.SECRET, f"{project_id}/{name}", place.organization_id, project_id)
    await plane.authorize(actor, action, target, named=project_id)
    return place


def _value(body: SecretWrite) -> bytes:
    """The bytes of the value. Raises Invalid; the error never quotes the value."""
    try:
        value = base64.b64decode(body.value, validate=True)
    except ValueError:
        raise Invalid("value_not_base64", "the value is not base64 (RFC 4648)", at="/value") from None
    if len(value) > SECRET_BYTES_MAX:
        raise Invalid(
            "secret_too_large",
            "a secret has at most {limit} bytes, this one has {size}",
            at="/value",
            limit=SECRET_BYTES_MAX,
            size=len(value),
        )
    return value


def _match_check(name: str, if_match: str | None, known: Secret | None) -> None:
    if if_match is not None and not etag_matches(if_match, None if known is None else known.version):
        raise PreconditionFailed(
            "version_differs",
            "the secret {name} is not at the version {if_match}; read the list again, then decide again",
            at="If-Match",
            name=name,
            if_match=if_match,
        )


def _row(place: ProjectPlace, secret: Secret, sealed: Sealed, now_us: int) -> dict[str, object]:
    return {
        "id": secret.id,
        "organization_id": place.organization_id,
        "project_id": place.id,
        "name": secret.name,
        "sealed": sealed.blob,
        "key_version": sealed.key_version,
        "data_class": place.data_class,
        "jurisdiction": place.jurisdiction,
        "created_us": now_us,
        "updated_us": now_us,
    }


def _event(
    place: ProjectPlace, action: Action, actor: Actor, secret: Secret, now_us: int
) -> dict[str, object]:
    return event_row(
        action,
        at_us=now_us,
        actor=actor.id,
        resource=secret.id,
        organization=place.organization_id,
        project=place.id,
        detail={"name": secret.name, "version": secret.version},
    )
