"""A real plane over SQLite in a directory, without loops or HTTP: what the functions of `app` work on.

    with plane_open(tmp_path) as world:
        acme = world.tenant("acme")
        project = acme.project("apollo")
        page = world.run(project_list(world.plane, acme.admin, "acme", 100, None))

`world.clock_us` is the plane's time and moves only when a test moves it. `world.write(...)` runs a write
and gives its JSON; `world.log_append()` does what the ledger loop does; `member`, `viewer` and the others
are made through the plane's own functions, so roles are what they are in production.
"""

import asyncio
import json
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from kumoi.app.founding import region_found
from kumoi.app.organizations import organization_create
from kumoi.app.pages import Cursors
from kumoi.app.plane import Plane, Region
from kumoi.app.principals import principal_create
from kumoi.app.projects import project_create
from kumoi.app.role_bindings import role_binding_create
from kumoi.app.tokens import token_create
from kumoi.core.tokens import token_format
from kumoi.engines.fake import FakeEngine
from kumoi.guard.decide import Guard
from kumoi.guard.packaged import POLICY_TEXTS, SCHEMA_TEXT
from kumoi.ledger.checkpoint import Checkpoint, checkpoint_sign
from kumoi.ledger.note import Signer, vkey_format
from kumoi.model.access import (
    Actor,
    OrganizationCreate,
    PrincipalCreate,
    PrincipalKind,
    ProjectCreate,
    Role,
    RoleBindingCreate,
    TokenCreate,
    TokenScope,
)
from kumoi.model.idempotency import NO_PROJECT, IdempotencyKey, Written
from kumoi.store.database import Store
from kumoi.store.files import FileStore
from kumoi.store.keys.encryption import KeyEncryptions
from kumoi.store.keys.platform import PlatformKeys
from kumoi.store.keys.ring import KeyRing
from kumoi.store.log import LogBatch, log_append
from kumoi.store.volumes.mounts import volumes_open

NOW_US = 1_800_000_000_000_000
"""15 January 2027, 08:00 UTC."""
ORIGIN = "kumoi.local/test"
T = TypeVar("T")


@dataclass
class World:
    """A plane, its founder, and the time it lives in."""

    plane: Plane
    operator: Actor
    operator_token: str
    signer: Signer
    runner: asyncio.Runner
    clock_us: int = NOW_US

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine."""
        return self.runner.run(work)

    def write(self, work: Coroutine[Any, Any, Written]) -> dict[str, Any]:
        """The JSON that a write answers."""
        return dict(json.loads(self.run(work).body))

    def actor(self, token: str) -> Actor:
        """Who a token belongs to, as a request finds it."""
        return self.run(self.plane.authenticate(token))

    def tenant(self, name: str) -> "Tenant":
        """A new organization with its first administrator."""
        created = self.write(
            organization_create(self.plane, self.operator, OrganizationCreate(name=name), None)
        )
        token = created["admin_token"]
        return Tenant(self, name, created["organization"]["id"], token, self.actor(token))

    def log_append(self, *, always: bool = False) -> LogBatch | None:
        """What the ledger loop does at each interval."""

        def sign(size: int, root: bytes) -> str:
            return checkpoint_sign(Checkpoint(ORIGIN, size, root), self.signer).decode()

        return self.plane.store.transact_wait(
            None,
            log_append,
            ORIGIN,
            padding=lambda n: [os.urandom(32) for _ in range(n)],
            sign=sign,
            now_us=self.clock_us,
            always=always,
        )


@dataclass
class Tenant:
    """An organization and its first administrator."""

    world: World
    name: str
    id: str
    admin_token: str
    admin: Actor
    tokens: dict[str, str] = field(default_factory=dict)

    def project(self, name: str) -> str:
        """The id of a new project."""
        body = ProjectCreate(name=name)
        created = self.world.write(project_create(self.world.plane, self.admin, self.id, body, None))
        return str(created["id"])

    def principal(self, name: str, kind: PrincipalKind = PrincipalKind.USER) -> str:
        """The id of a new principal, which holds no role."""
        body = PrincipalCreate(name=name, kind=kind)
        created = self.world.write(principal_create(self.world.plane, self.admin, self.id, body, None))
        return str(created["id"])

    def bind(self, principal: str, role: Role, project: str | None = None) -> str:
        """The id of a new role binding."""
        body = RoleBindingCreate(principal=principal, role=role, project=project)
        created = self.world.write(role_binding_create(self.world.plane, self.admin, self.id, body, None))
        return str(created["id"])

    def actor(
        self,
        name: str,
        role: Role,
        *,
        project: str | None = None,
        scopes: tuple[TokenScope, ...] = (TokenScope.ALL,),
        token_project: str | None = None,
    ) -> Actor:
        """A new principal with a role and a token; the token is kept in `tokens` under its name."""
        kind = PrincipalKind.SERVICE_ACCOUNT if role == Role.SERVICE_ACCOUNT else PrincipalKind.USER
        principal = self.principal(name, kind)
        self.bind(principal, role, project)
        body = TokenCreate(principal=principal, scopes=scopes, project=token_project)
        made = self.world.write(token_create(self.world.plane, self.admin, body, None))
        self.tokens[name] = made["secret"]
        return self.world.actor(made["secret"])


def key_of(actor: Actor, text: str, digest: bytes = b"\0" * 32) -> IdempotencyKey:
    """The idempotency key `text` of an actor, for a request whose body has this digest."""
    return IdempotencyKey(actor.id, NO_PROJECT, "POST /v1/things", text, digest)


@contextmanager
def plane_open(
    directory: Path, database_url: str | None = None, *, encrypted: bool = False
) -> Iterator[World]:
    """A founded region whose data lie in `directory`, and its rows in another database if one is given."""
    store = Store(database_url or f"sqlite:///{directory / 'kumoi.db'}")
    token = token_format(os.urandom(32))
    platform_keys = PlatformKeys({1: os.urandom(32)})
    founded = region_found(
        store,
        region_name="test",
        cell=7,
        now_us=NOW_US,
        admin_token=token,
        platform_key=platform_keys.current,
    )
    signer = Signer(ORIGIN, os.urandom(32))
    keys = KeyRing(store, KeyEncryptions(platform_keys))
    volumes = volumes_open(directory, store, keys, encrypted=encrypted)
    files = FileStore(volumes.root)
    plane = Plane(
        store=store,
        guard=Guard.load(SCHEMA_TEXT, tuple(POLICY_TEXTS.values()), founded.platform_organization_id),
        cursors=Cursors(os.urandom(32)),
        keys=keys,
        files=files,
        volumes=volumes,
        region=Region(
            name=founded.name,
            cell=founded.cell,
            incarnation=founded.incarnation,
            platform_organization_id=founded.platform_organization_id,
            log_origin=ORIGIN,
            log_vkey=vkey_format(signer.key),
        ),
        data_dir=directory,
    )
    with asyncio.Runner() as runner:
        world = World(plane, runner.run(plane.authenticate(token)), token, signer, runner)
        plane.clock_us = lambda: world.clock_us
        plane.engines = {"fake": FakeEngine(plane.clock_us)}
        yield world
    files.close()
    volumes.close()
    store.close()
