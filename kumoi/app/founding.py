"""First starts: of a region, and of each organization with its first administrator."""

import os
from dataclasses import dataclass
from typing import Any

from kumoi.core.tokens import token_hash
from kumoi.model.access import (
    PLATFORM,
    TOKEN_EXPIRES_S_MAX,
    Action,
    Organization,
    Principal,
    PrincipalKind,
    Role,
    ScopeKind,
    TokenScope,
)
from kumoi.model.errors import Conflict
from kumoi.model.ids import IdKind
from kumoi.model.places import IsolationClass, SiteFunction
from kumoi.model.time import US_PER_S, time_format
from kumoi.store import schema
from kumoi.store.database import Connection, Store
from kumoi.store.errors import DuplicateRow
from kumoi.store.events import SYSTEM_ACTOR, event_row
from kumoi.store.ids import id_new
from kumoi.store.keys.encryption import KeyEncryption
from kumoi.store.keys.rows import organization_key_row
from kumoi.store.organizations import region_get
from kumoi.store.writer import Change, change_apply

REGION_FOUND = "region_found"
PLATFORM_NAME = "platform"
ADMIN_NAME = "admin"
SITE_NAME = "site-1"
POOL_NAME = "default"
_INCARNATION_BYTES = 8


@dataclass(frozen=True, slots=True)
class FoundedRegion:
    """The region of a store. `founded` tells whether this call made it, and so whether its token counts."""

    name: str
    cell: int
    incarnation: str
    platform_organization_id: str
    founded: bool


@dataclass(frozen=True, slots=True)
class Founder:
    """Who founds an organization, when and where, and the token that its administrator gets."""

    actor_id: str
    cell: int
    now_us: int
    admin_token: str
    platform_key: KeyEncryption


@dataclass(frozen=True, slots=True)
class FoundedOrganization:
    """A new organization and its administrator, and the change that writes both."""

    organization: Organization
    admin: Principal
    change: Change


def region_found(
    store: Store,
    *,
    region_name: str,
    cell: int,
    now_us: int,
    admin_token: str,
    platform_key: KeyEncryption,
) -> FoundedRegion:
    """Found the region in an empty store, or return the one that is there. Blocks; for the start of a plane.

    One transaction writes the region, the platform organization, its first operator `admin` whose token is
    `admin_token`, a site and a pool. The caller has kept the token on disk before: a kept token that
    matches nothing does no harm, one that is in the store and nobody knows does. Raises Conflict where the
    store is of another region.
    """
    founder = Founder(SYSTEM_ACTOR, cell, now_us, admin_token, platform_key)
    try:
        region = store.transact_wait(None, _region_found, region_name, founder)
    except DuplicateRow:
        region = store.transact_wait(None, _region_found, region_name, founder)
    if (region.name, region.cell) != (region_name, cell):
        raise Conflict(
            "region_differs",
            "the store is of the region {found} (cell {found_cell}), not of {name} (cell {cell}); "
            "start the plane with the name of its region, or with another store",
            found=region.name,
            found_cell=region.cell,
            name=region_name,
            cell=cell,
        )
    return region


def _region_found(connection: Connection, region_name: str, founder: Founder) -> FoundedRegion:
    known = region_get(connection)
    if known is not None:
        return FoundedRegion(known.name, known.cell, known.incarnation, known.platform_organization_id, False)
    incarnation = os.urandom(_INCARNATION_BYTES).hex()
    cell, now_us = founder.cell, founder.now_us
    platform = organization_founding(PLATFORM_NAME, region_name, ADMIN_NAME, founder, is_platform=True)
    place = _place_founding(platform.organization.id, founder)
    region_row = {
        "one": 1,
        "name": region_name,
        "cell": cell,
        "incarnation": incarnation,
        "created_us": now_us,
    }
    event = event_row(
        REGION_FOUND,
        at_us=now_us,
        actor=SYSTEM_ACTOR,
        resource=region_name,
        organization=platform.organization.id,
        detail={"cell": cell, "incarnation": incarnation},
    )
    inserts = [(schema.region, [region_row]), (schema.events, [event])]
    change_apply(connection, Change([*inserts, *platform.change.inserts, *place.inserts]))
    return FoundedRegion(region_name, cell, incarnation, platform.organization.id, True)


def organization_founding(
    name: str, display_name: str, admin_name: str, founder: Founder, *, is_platform: bool
) -> FoundedOrganization:
    """What writes an organization with its first administrator, its role, its token and their events."""
    at = time_format(founder.now_us)
    organization = Organization(
        id=id_new(IdKind.ORGANIZATION, founder.cell),
        name=name,
        display_name=display_name,
        state="active",
        created_at=at,
        version=1,
    )
    admin = Principal(
        id=id_new(IdKind.USER, founder.cell),
        kind=PrincipalKind.USER,
        organization=organization.id,
        name=admin_name,
        state="active",
        created_at=at,
        version=1,
    )
    organization_row = {
        "id": organization.id,
        "name": name,
        "display_name": display_name,
        "is_platform": is_platform,
        "created_us": founder.now_us,
    }
    admin_row = {
        "id": admin.id,
        "organization_id": organization.id,
        "kind": admin.kind,
        "name": admin_name,
        "created_us": founder.now_us,
    }
    events = [
        _event(founder, organization.id, Action.ORGANIZATION_CREATE, organization.id, name=name),
        _event(founder, organization.id, Action.PRINCIPAL_CREATE, admin.id, name=admin_name, kind=admin.kind),
    ]
    access = _access_founding(admin, founder, is_platform=is_platform)
    inserts = [
        (schema.organizations, [organization_row]),
        (
            schema.organization_keys,
            [organization_key_row(founder.platform_key, organization.id, 1, founder.now_us)],
        ),
        (schema.principals, [admin_row]),
        (schema.events, events),
        *access.inserts,
    ]
    return FoundedOrganization(organization, admin, Change(inserts))


def _access_founding(admin: Principal, founder: Founder, *, is_platform: bool) -> Change:
    """The administrator's role and token."""
    role = Role.PLATFORM_OPERATOR if is_platform else Role.ORGANIZATION_ADMIN
    scope_kind = ScopeKind.PLATFORM if is_platform else ScopeKind.ORGANIZATION
    binding_row = {
        "id": id_new(IdKind.ROLE_BINDING, founder.cell),
        "organization_id": admin.organization,
        "principal_id": admin.id,
        "role": role,
        "scope_kind": scope_kind,
        "scope_id": PLATFORM if is_platform else admin.organization,
        "created_us": founder.now_us,
    }
    token_row = {
        "id": id_new(IdKind.TOKEN, founder.cell),
        "organization_id": admin.organization,
        "principal_id": admin.id,
        "project_id": None,
        "name": "founding",
        "hash": token_hash(founder.admin_token),
        "scopes": TokenScope.ALL,
        "created_us": founder.now_us,
        "expires_us": founder.now_us + TOKEN_EXPIRES_S_MAX * US_PER_S,
    }
    bound = {"principal": admin.id, "role": role}
    made = {"principal": admin.id, "name": "founding", "scopes": [TokenScope.ALL]}
    events = [
        _event(founder, admin.organization, Action.ROLE_BINDING_CREATE, str(binding_row["id"]), **bound),
        _event(founder, admin.organization, Action.TOKEN_CREATE, str(token_row["id"]), **made),
    ]
    return Change(
        [(schema.role_bindings, [binding_row]), (schema.tokens, [token_row]), (schema.events, events)]
    )


def _place_founding(organization_id: str, founder: Founder) -> Change:
    """A first site and a first pool: this machine."""
    site_id, pool_id = id_new(IdKind.SITE, founder.cell), id_new(IdKind.POOL, founder.cell)
    site_row = {
        "id": site_id,
        "name": SITE_NAME,
        "country": "JP",
        "functions": ",".join(SiteFunction),
        "address": "",
        "created_us": founder.now_us,
    }
    pool_row = {
        "id": pool_id,
        "site_id": site_id,
        "name": POOL_NAME,
        "engine": "sandbox",
        "isolation": IsolationClass.PROCESS,
        "network_allowed": False,
        "shared_by_organizations": True,
        "created_us": founder.now_us,
    }
    events = [
        _event(founder, organization_id, Action.SITE_CREATE, site_id, name=SITE_NAME, country="JP"),
        _event(founder, organization_id, Action.POOL_CREATE, pool_id, name=POOL_NAME, site=site_id),
    ]
    return Change([(schema.sites, [site_row]), (schema.pools, [pool_row]), (schema.events, events)])


def _event(
    founder: Founder, organization_id: str, action: Action, resource_id: str, **detail: object
) -> dict[str, Any]:
    return event_row(
        action,
        at_us=founder.now_us,
        actor=founder.actor_id,
        resource=resource_id,
        organization=organization_id,
        detail=detail,
    )
