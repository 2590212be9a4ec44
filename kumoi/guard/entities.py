"""What Cedar sees of a request: actor, action and target as entities, in the shapes of kumoi.cedarschema.

Entities go over as Cedar's JSON, where an identifier is data and is never parsed, whatever it contains.
The shape of an entity depends on kinds alone, never on values, so checking one of each kind checks all.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TypedDict

from cedarpy import Entities, Schema

from kumoi.model.access import (
    PLATFORM,
    AccessGrant,
    AccessSet,
    Actor,
    Grant,
    PrincipalKind,
    ResourceKind,
    Role,
    ScopeKind,
    Target,
    TokenScope,
)

ACTOR = "Actor"
ACTION = "Action"
ROLE = "Role"

_KINDS_OF_SCOPES: Mapping[ScopeKind, ResourceKind] = MappingProxyType(
    {
        ScopeKind.PLATFORM: ResourceKind.PLATFORM,
        ScopeKind.ORGANIZATION: ResourceKind.ORGANIZATION,
        ScopeKind.PROJECT: ResourceKind.PROJECT,
    }
)
# The kinds of scope that a role counts in, with the attribute of the schema's Actor that collects them.
_SCOPE_SETS: Mapping[tuple[Role, ScopeKind], str] = MappingProxyType(
    {
        (Role.PLATFORM_OPERATOR, ScopeKind.PLATFORM): "operator_platforms",
        (Role.AUDITOR, ScopeKind.PLATFORM): "auditor_platforms",
        (Role.ORGANIZATION_ADMIN, ScopeKind.ORGANIZATION): "admin_organizations",
        (Role.AUDITOR, ScopeKind.ORGANIZATION): "auditor_organizations",
        (Role.MEMBER, ScopeKind.ORGANIZATION): "member_organizations",
        (Role.MEMBER, ScopeKind.PROJECT): "member_projects",
        (Role.VIEWER, ScopeKind.ORGANIZATION): "viewer_organizations",
        (Role.VIEWER, ScopeKind.PROJECT): "viewer_projects",
        (Role.SERVICE_ACCOUNT, ScopeKind.ORGANIZATION): "service_organizations",
        (Role.SERVICE_ACCOUNT, ScopeKind.PROJECT): "service_projects",
    }
)
# Of what kind the resource of an operator's access may be, with the attribute of the schema's Access.
_ACCESS_SETS: Mapping[ResourceKind, str] = MappingProxyType(
    {
        ResourceKind.ORGANIZATION: "organizations",
        ResourceKind.PROJECT: "projects",
        ResourceKind.JOB: "jobs",
        ResourceKind.SERVICE: "services",
    }
)
_IN_PROJECT = frozenset({ResourceKind.JOB, ResourceKind.SERVICE, ResourceKind.SECRET, ResourceKind.FILE})


class Uid(TypedDict):
    """Cedar's structured entity uid."""

    type: str
    id: str


class Entity(TypedDict):
    """An entity in Cedar's JSON form, which needs no schema to be read."""

    uid: Uid
    attrs: Mapping[str, object]
    parents: list[Uid]


def uid(kind: str, text: str) -> Uid:
    """The uid of the entity `text` of type `kind`."""
    return {"type": kind, "id": text}


ROLES: Sequence[Uid] = tuple(uid(ROLE, role) for role in Role)


def actor_entity(actor: Actor, platform_organization_id: str, access: AccessGrant | None = None) -> Entity:
    """The actor with its token, its roles and their scopes; ValueError without an id or an organization.

    A grant whose scope is of a kind that its role does not count in is left out: it grants nothing. `access`
    is what a tenant gave an operator, if this request makes use of any.
    """
    if not actor.id or not actor.organization_id:
        raise ValueError("an actor needs an id and an organization_id")
    scopes: dict[str, list[object]] = {name: [] for name in _SCOPE_SETS.values()}
    roles = set()
    for grant in actor.grants:
        name = _SCOPE_SETS.get((grant.role, grant.scope_kind))
        if name is not None:
            roles.add(grant.role)
            scopes[name].append(_reference(_KINDS_OF_SCOPES[grant.scope_kind], grant.scope_id))
    narrowed = [] if actor.token_project_id is None else [actor.token_project_id]
    attributes: dict[str, object] = {
        "organization": _reference(ResourceKind.ORGANIZATION, actor.organization_id),
        "of_platform": actor.organization_id == platform_organization_id,
        "service_account": actor.kind == PrincipalKind.SERVICE_ACCOUNT,
        "token_scopes": sorted(actor.token_scopes),
        "token_narrowed": bool(narrowed),
        "token_projects": [_reference(ResourceKind.PROJECT, project) for project in narrowed],
        **scopes,
    }
    if access is not None:
        attributes["access"] = _access(access)
    parents = [uid(ROLE, role) for role in sorted(roles)]
    return {"uid": uid(ACTOR, actor.id), "attrs": attributes, "parents": parents}


def target_entity(target: Target) -> Entity:
    """The target with its ancestors as direct parents; ValueError where one is missing.

    A principal is its own owner. The id is what is acted on: fields that a kind does not need are ignored.
    """
    attributes = {}
    if target.kind == ResourceKind.PRINCIPAL:
        attributes["owner"] = _reference(ACTOR, target.id)
    elif target.kind == ResourceKind.TOKEN:
        attributes["owner"] = _reference(ACTOR, _needed(target, "owner_id"))
    parents = [uid(kind, ancestor_id) for kind, ancestor_id in _ancestors(target)]
    return {"uid": uid(target.kind, target.id), "attrs": attributes, "parents": parents}


def action_entities(schema: Schema) -> dict[str, Entity]:
    """Every action and group of the schema, with all the groups that it is in, through groups too."""
    declared = json.loads(str(Entities.from_json_str("[]", schema)))
    groups = {entity["uid"]["id"]: [parent["id"] for parent in entity["parents"]] for entity in declared}

    def above(name: str) -> set[str]:
        return set(groups[name]).union(*map(above, groups[name]))

    return {
        name: {
            "uid": uid(ACTION, name),
            "attrs": {},
            "parents": [uid(ACTION, group) for group in sorted(above(name))],
        }
        for name in groups
    }


def specimens() -> Iterator[Entity]:
    """One entity of each shape that this module makes, to be checked against a schema."""
    grants = tuple(Grant(role, kind, "scope") for role, kind in _SCOPE_SETS)
    scopes = frozenset(TokenScope)
    actor = Actor("usr", PrincipalKind.USER, "org", grants, "tok", scopes, "prj")
    yield actor_entity(actor, PLATFORM)
    for granted in _ACCESS_SETS:
        yield actor_entity(actor, PLATFORM, AccessGrant("acc", "org", granted, "id", frozenset(AccessSet)))
    for kind in ResourceKind:
        yield target_entity(Target(kind, "id", organization_id="org", project_id="prj", owner_id="usr"))


def _access(access: AccessGrant) -> dict[str, object]:
    """The grant's one resource, in the set of its kind; ValueError for a kind that cannot be granted."""
    if access.resource_kind not in _ACCESS_SETS:
        raise ValueError(f"no access can be granted to a {access.resource_kind}")
    resources: dict[str, list[object]] = {name: [] for name in _ACCESS_SETS.values()}
    resources[_ACCESS_SETS[access.resource_kind]].append(_reference(access.resource_kind, access.resource_id))
    return {"sets": sorted(access.sets), **resources}


def _reference(kind: str, text: str) -> dict[str, Uid]:
    return {"__entity": uid(kind, text)}


def _ancestors(target: Target) -> Iterator[tuple[ResourceKind, str]]:
    if target.kind in {ResourceKind.PLATFORM, ResourceKind.ORGANIZATION}:
        return
    yield ResourceKind.ORGANIZATION, _needed(target, "organization_id")
    if target.kind in _IN_PROJECT or (target.kind == ResourceKind.EVENT and target.project_id is not None):
        yield ResourceKind.PROJECT, _needed(target, "project_id")


def _needed(target: Target, field: str) -> str:
    value: str | None = getattr(target, field)
    if not value:
        raise ValueError(f"a {target.kind} needs its {field}")
    return value
