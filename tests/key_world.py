"""A tenant whose key is in a token of SoftHSM, and the loop that watches it."""

import base64
import threading
from dataclasses import dataclass, field
from typing import Any

from plane_fixture import Tenant, World
from softhsm import SoftToken

from kumoi.app import organization_keys as app
from kumoi.app.secrets import secret_write
from kumoi.loops.context import LoopContext
from kumoi.loops.keys import KeyWatch, keys_activate
from kumoi.model.keys import KeyAttach, OnWithdraw
from kumoi.model.records import SecretWrite
from kumoi.store import schema
from kumoi.store.keys.names import Sealed
from kumoi.store.keys.pkcs11 import session_open
from kumoi.store.keys.ring import KeyRing
from kumoi.store.keys.tokens import Tokens
from kumoi.store.leases import leases_hold
from kumoi.store.secrets import secret_seal_name
from kumoi.store.writer import Fence

LEASE_US = 3_600_000_000


@dataclass
class KeyWorld:
    """A plane with one token, and what its loop does."""

    world: World
    tenant: Tenant
    token: SoftToken
    monotonic_s: float = 1_000.0
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ring = self.world.plane.keys
        self.ring.encryptions.tokens = Tokens([self.token.rule(organizations=("acme",))], session_open)
        self.listen(self.ring)
        store = self.world.plane.store
        epochs = store.transact_wait(None, leases_hold, ("keys",), "plane", LEASE_US)
        self.fence = Fence("keys", "plane", epochs["keys"])
        self.watch = KeyWatch(store, self.ring, lambda *_: None)
        self.context = LoopContext(
            store=store,
            engines={},
            keys=self.ring,
            volumes=self.world.plane.volumes,
            clock_us=lambda: self.world.clock_us,
            nudge=lambda *_: None,
            incarnation="i",
            platform_organization_id=self.world.plane.region.platform_organization_id,
        )

    def listen(self, ring: KeyRing) -> None:
        """Note what the ring tells those who hold what it opens."""
        ring.on_withdraw(lambda _: self.notices.append("withdrawn"))
        ring.on_restore(lambda _: self.notices.append("restored"))

    def attach(self, on_withdraw: OnWithdraw = OnWithdraw.CONTINUE, label: str = "key") -> dict[str, Any]:
        """Attach the token's key."""
        body = KeyAttach("hsm", label, on_withdraw)
        return self.world.write(app.key_attach(self.world.plane, self.tenant.admin, self.tenant.id, body))

    def round(self) -> None:
        """What happens within a second: a look at the tokens, and the loop until nothing is left to do."""
        self.watch.look()
        for _ in range(50):
            if not keys_activate(self.watch, self.context, self.fence):
                break
        else:
            raise AssertionError("the loop of keys always has more to do")
        self.watch.look()

    def secret_put(self, project: str, name: str, value: bytes) -> None:
        """Write a secret as a tenant does."""
        body = SecretWrite(value=base64.b64encode(value).decode())
        self.world.run(secret_write(self.world.plane, self.tenant.admin, project, name, body, None))

    def secret_open(self, project: str, name: str, ring: KeyRing | None = None) -> bytes:
        """The value of a secret as a starting task gets it."""
        (row,) = (row for row in self.rows(schema.secrets) if (row.project_id, row.name) == (project, name))
        owner = secret_seal_name(self.tenant.id, project, name)
        return (ring or self.ring).open(owner, Sealed(row.sealed, row.key_version))

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table."""
        return list(self.world.plane.store.read_wait(lambda c: c.execute(table.select()).all()))

    def versions(self) -> list[Any]:
        """The versions of the tenant's key, oldest first."""
        rows = self.rows(schema.organization_keys)
        mine = [row for row in rows if row.organization_id == self.tenant.id]
        return sorted(mine, key=lambda row: row.number)

    def events(self) -> list[str]:
        """The actions of the tenant's events about its key, oldest first."""
        found = [row.canonical for row in self.rows(schema.events) if row.organization_id == self.tenant.id]
        actions = [text.partition('"action":"')[2].partition('"')[0] for text in found]
        return [action for action in actions if action.startswith("key_")]

    def looking(self) -> "Looking":
        """The watch and the loop, running beside the test."""
        return Looking(self)


class Looking:
    """Runs the rounds on a thread until it is left."""

    def __init__(self, world: KeyWorld) -> None:
        self._world = world
        self._stopping = threading.Event()
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Looking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(60)
        assert not self._errors, self._errors

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.01):
                self._world.round()
        except BaseException as error:
            self._errors.append(error)
