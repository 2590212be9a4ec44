"""What the fake plane answers where its state does not matter, and the replies that carry it."""

import json
from dataclasses import dataclass, field

import msgspec

from kumoi.model.access import (
    Organization,
    Principal,
    PrincipalKind,
    Project,
    Role,
    RoleBinding,
    ScopeKind,
    Token,
    TokenScope,
    Whoami,
)
from kumoi.model.ids import IdKind, id_format
from kumoi.model.places import Device, Host, HostHealth, IsolationClass, Pool, Site, SiteFunction
from kumoi.model.records import Usage

TOKEN = "kumoi_" + "A" * 43 + "abcdef"
AT = "2026-01-31T09:00:00.000000Z"


def id_make(kind: IdKind, number: int = 1) -> str:
    return id_format(kind, number.to_bytes(16, "big"))


ORG = id_make(IdKind.ORGANIZATION)
PROJECT = id_make(IdKind.PROJECT)
USER = id_make(IdKind.USER)
HOST = id_make(IdKind.HOST)
POOL = id_make(IdKind.POOL)
SITE = id_make(IdKind.SITE)
BINDING = id_make(IdKind.ROLE_BINDING)
TOKEN_ID = id_make(IdKind.TOKEN)

PRINCIPAL = Principal(USER, PrincipalKind.USER, ORG, "admin", "active", AT, 1)
ROLE_BINDING = RoleBinding(BINDING, ORG, USER, Role.MEMBER, ScopeKind.ORGANIZATION, ORG, AT)
TOKEN_ROW = Token(TOKEN_ID, USER, "token", (TokenScope.ALL,), None, "active", AT, AT)
WHOAMI = Whoami(USER, PrincipalKind.USER, "admin", ORG, "acme", (ROLE_BINDING,), TOKEN_ROW)
PROJECT_ROW = Project(PROJECT, ORG, "genome", "active", "general", "JP", AT, 1)
SITE_ROW = Site(SITE, "tokyo", "JP", (SiteFunction.COMPUTE,), "", AT)
USAGE = Usage(ORG, PROJECT, AT, AT, 3, 1.5, 1.0, 1500, 1 << 30, 0.0)


def organization_row(name: str, number: int = 1) -> Organization:
    return Organization(id_make(IdKind.ORGANIZATION, number), name, "", "active", AT, 1)


def pool_row(state: str) -> Pool:
    return Pool(POOL, "default", SITE, "sandbox", IsolationClass.PROCESS, False, False, state, AT, 1)


def host_row(state: str) -> Host:
    device = Device(id_make(IdKind.DEVICE), "gpu", "x", None)
    load = (2000, 8 << 30, 500, 1 << 30, 1)
    return Host(HOST, "local", POOL, state, HostHealth.UP, "", *load, "local", (device,), AT, 1)


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def reply(status: int, value: object) -> Reply:
    """A JSON reply with a field that clients do not know yet."""
    return Reply(status, msgspec.json.encode({**msgspec.to_builtins(value), "added_later": {"x": 1}}))


def problem(status: int, code: str, detail: str, at: str | None = None) -> Reply:
    body = {"type": f"urn:kumoi:error:{code}", "title": "No", "status": status, "detail": detail}
    more = {"instance": "/v1", "at": at, "request_id": "req-1", "added_later": 1}
    return Reply(status, json.dumps({**body, **more}).encode(), "application/problem+json")


def missing(name: str) -> Reply:
    return problem(404, "not_found", f"there is no {name}, or you may not see it; check the name")
