"""The plane as requests see it: who asks, may they, and the one way to write."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from kumoi.app.pages import Cursors
from kumoi.app.pool_looks import PoolLooks
from kumoi.app.pool_verdicts import PoolVerdicts
from kumoi.app.refusals import Refusals
from kumoi.core.notice_addresses import NoticeRules
from kumoi.core.tokens import token_hash
from kumoi.engines.base import Engine
from kumoi.guard.decide import Guard
from kumoi.model.access import AccessSession, Action, Actor, Decision, ResourceKind, Target
from kumoi.model.errors import (
    Conflict,
    Forbidden,
    Invalid,
    KumoiError,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from kumoi.model.idempotency import IdempotencyKey, Written
from kumoi.model.witnesses import WitnessRules
from kumoi.providers.base import Provider
from kumoi.store.access import TokenHolder, token_holder_find
from kumoi.store.access_requests import access_grants
from kumoi.store.database import Connection, Store
from kumoi.store.directory import Directory
from kumoi.store.errors import DuplicateRow, KeyReused, MissingReference, StaleState, StoreBusy, StoreError
from kumoi.store.files import FileStore
from kumoi.store.keys.ring import KeyRing
from kumoi.store.volumes.mounts import Volumes
from kumoi.store.writer import Change, answer_kept, change_apply

HOLDER_TTL_S = 1.0
HOLDERS_MAX = 10_000
ANONYMOUS = "anonymous"
AUTHENTICATE = "authenticate"
NOWHERE = "nowhere"
"""The id, organization, project and owner of what does not exist: nobody's, as identifiers have a prefix."""
READ_ACTIONS = {
    ResourceKind.PLATFORM: Action.POOL_LIST,
    ResourceKind.ORGANIZATION: Action.ORGANIZATION_READ,
    ResourceKind.PROJECT: Action.PROJECT_READ,
    ResourceKind.PRINCIPAL: Action.PRINCIPAL_LIST,
    ResourceKind.TOKEN: Action.TOKEN_LIST,
    ResourceKind.JOB: Action.JOB_READ,
    ResourceKind.SERVICE: Action.SERVICE_READ,
    ResourceKind.SECRET: Action.SECRET_LIST,
    ResourceKind.FILE: Action.FILE_LIST,
    ResourceKind.EVENT: Action.EVENT_READ,
}


@dataclass(frozen=True, slots=True)
class Region:
    """What this plane is a part of."""

    name: str
    cell: int
    incarnation: str
    platform_organization_id: str
    log_origin: str
    log_vkey: str
    log_witnesses: WitnessRules = field(default_factory=WitnessRules)
    log_rules: str = ""


@dataclass(frozen=True, slots=True)
class AccessTerms:
    """How long tenants have to answer operators, and operators to explain broken glass, in seconds.

    Account and token of the second operator are that much older than the request at least.
    """

    answer_s: int = 7 * 86_400
    explain_s: int = 86_400
    second_age_s: int = 86_400


def _now_us() -> int:
    return time.time_ns() // 1_000


def _nobody(*_names: str) -> None:
    """No loop listens."""


@dataclass(slots=True)
class Plane:
    """Everything that the functions of `app` work on. `nudge` wakes loops by name."""

    store: Store
    guard: Guard
    cursors: Cursors
    keys: KeyRing
    files: FileStore
    volumes: Volumes
    region: Region
    data_dir: Path
    engines: Mapping[str, Engine] = field(default_factory=dict)
    providers: Mapping[str, Provider] = field(default_factory=dict)
    notice_rules: NoticeRules = field(default_factory=NoticeRules)
    access_terms: AccessTerms = field(default_factory=AccessTerms)
    nudge: Callable[..., None] = _nobody
    clock_us: Callable[[], int] = _now_us
    monotonic_s: Callable[[], float] = time.monotonic
    directory: Directory = field(init=False)
    refusals: Refusals = field(init=False)
    pool_looks: PoolLooks = field(init=False)
    pool_verdicts: PoolVerdicts = field(default_factory=PoolVerdicts)
    _holders: dict[bytes, tuple[TokenHolder, float]] = field(default_factory=dict)
    _access_generation: int = 0

    def __post_init__(self) -> None:
        self.directory = Directory(self.store)
        self.refusals = Refusals(self.store)
        self.pool_looks = PoolLooks(self.store)

    async def authenticate(self, token: str) -> Actor:
        """The actor that `token` belongs to. Raises Unauthenticated.

        A holder is remembered for a second, so a token revoked through another plane works that much
        longer there; through this plane it ends at once.
        """
        hashed = token_hash(token)
        if hashed is None:
            raise unauthenticated()
        known = self._holders.get(hashed)
        now_s = self.monotonic_s()
        if known is None or now_s - known[1] > HOLDER_TTL_S:
            generation = self._access_generation
            holder = await self.store.read(token_holder_find, hashed)
            if holder is None:
                self._holders.pop(hashed, None)
                raise unauthenticated()
            known = holder, now_s
            # A look-up that was under way when access changed may have seen what was before.
            if generation == self._access_generation:
                if len(self._holders) >= HOLDERS_MAX:
                    self._holders.clear()
                self._holders[hashed] = known
        if known[0].expires_us <= self.clock_us():
            raise unauthenticated()
        return known[0].actor

    def session_begin(self, actor: Actor) -> Actor:
        """The actor for one request: an operator gets a session, in which its use of access is noted."""
        if actor.organization_id != self.region.platform_organization_id:
            return actor
        return replace(actor, session=AccessSession())

    def access_changed(self) -> None:
        """Forget who holds which token, and what is where: a token, role, principal or project changed."""
        self._access_generation += 1
        self._holders.clear()
        self.directory.forget()

    async def authorize(
        self,
        actor: Actor,
        action: Action,
        target: Target,
        *,
        named: str | None = None,
        reading: Action | None = None,
    ) -> Decision:
        """Return the decision if it allows; else count the refusal and raise.

        Forbidden (403) tells only actors who may read the target; to all others it does not exist (404).
        `named` is what the caller asked for where that is not the target itself: an error names it and
        nothing that the caller did not name. `reading` is what reading that takes, for kinds of resource
        that the guard does not know as targets.
        """
        name = named or target.id
        decision = self.guard.decide(actor, action, target)
        if decision.allowed:
            return decision
        granted = await self._access_decide(actor, action, target)
        if granted is not None:
            return granted
        await self.refusal_count(actor, action)
        reading = reading or READ_ACTIONS[target.kind]
        if reading != action and self.guard.decide(actor, reading, _listed_in(target)).allowed:
            raise Forbidden(
                "action_forbidden",
                "your roles do not allow {action} on {id}; ask an administrator for one that does",
                id=name,
                action=action.value,
            )
        raise not_found(name)

    async def _access_decide(self, actor: Actor, action: Action, target: Target) -> Decision | None:
        """The decision that a tenant's grant to this operator allows, noted in the session; None without.

        The grants are read for each request, never remembered: what a tenant revokes ends with the answer
        under way. Where nobody keeps a session nothing of a tenant's can be used.
        """
        if actor.session is None or target.organization_id in (None, actor.organization_id):
            return None
        grants = await self.store.read(access_grants, actor.id, target.organization_id, self.clock_us())
        for grant in grants:
            decision = self.guard.decide(actor, action, target, grant)
            if decision.allowed:
                actor.session.used[grant, action, target] = None
                return decision
        return None

    async def refuse_unknown(self, actor: Actor, action: Action, kind: ResourceKind, name: str) -> NoReturn:
        """Refuse what does not exist as `authorize` refuses what is another organization's.

        A refusal that was not counted would tell that there is nothing to refuse.
        """
        if not self.guard.decide(actor, action, Target(kind, NOWHERE, NOWHERE, NOWHERE, NOWHERE)).allowed:
            await self.refusal_count(actor, action)
        raise not_found(name)

    async def commit(self, change: Change, *, wake: Sequence[str] = ()) -> Written:
        """Write `change` durably and wake the loops that it concerns."""
        try:
            written = await self.store.commit(change)
        except StoreError as error:
            raise answer_of(error) from error
        if wake:
            self.nudge(*wake)
        return written

    async def commit_built(
        self,
        build: Callable[[Connection], Change],
        key: IdempotencyKey | None = None,
        *,
        wake: Sequence[str] = (),
    ) -> Written:
        """`commit` for a change that must be built from what the transaction reads; costs a commit alone.

        With `key` the kept answer is looked for first, so `build` may refuse by what it reads: a replay
        finds what the first request left behind.
        """
        try:
            written = await self.store.transact(
                lambda connection: answer_kept(connection, key) or change_apply(connection, build(connection))
            )
        except StoreError as error:
            raise answer_of(error) from error
        if wake:
            self.nudge(*wake)
        return written

    async def replay_or(self, key: IdempotencyKey | None, write: Awaitable[Written]) -> Written:
        """The answer of `write`; where it refuses for what holds now, the one kept under `key`.

        A retry is judged by what held when the first request was done. Refusals of `authorize` stand.
        """
        try:
            return await write
        except (Conflict, Invalid):
            kept = await self._answer_kept(key)
            if kept is None:
                raise
            return kept

    async def _answer_kept(self, key: IdempotencyKey | None) -> Written | None:
        if key is None:
            return None
        try:
            return await self.store.read(answer_kept, key)
        except StoreError as error:
            raise answer_of(error) from error

    async def unauthenticated_count(self) -> None:
        """Count a request of somebody unknown: one event of the platform a minute at most."""
        organization_id = self.region.platform_organization_id
        await self.refusals.count(ANONYMOUS, organization_id, AUTHENTICATE, self.clock_us())

    async def refusal_count(self, actor: Actor, action: Action) -> None:
        """Count what `actor` was refused, for the log."""
        await self.refusals.count(actor.id, actor.organization_id, action.value, self.clock_us())


def answer_of(error: StoreError) -> KumoiError:
    """What a caller is told when the store refuses."""
    match error:
        case DuplicateRow():
            return Conflict(
                "name_in_use", "the name is in use in {table}; choose another", at="/name", table=error.table
            )
        case KeyReused():
            return Conflict(
                "idempotency_key_reused",
                "the Idempotency-Key was used for another request; use a new key for a new request",
                at="Idempotency-Key",
            )
        case StaleState():
            return Conflict(
                "state_changed", "the resource changed meanwhile; read it again, then decide again"
            )
        case MissingReference():
            return Conflict("reference_gone", "something that the request refers to is gone; read it again")
        case StoreBusy():
            return Unavailable(
                "store_busy", "the store is busy; send the same request again in a few seconds"
            )
    return Unavailable("store_failed", "the store refused the write; tell the operator the request id")


def not_found(name: str) -> NotFound:
    """The answer for what does not exist or may not be seen: the two are not told apart."""
    return NotFound("not_found", "there is no {name}, or you may not see it; check the name", name=name)


def _listed_in(target: Target) -> Target:
    """What a target is listed in, for the kinds whose reading is a list."""
    match target.kind:
        case ResourceKind.PRINCIPAL:
            return Target(ResourceKind.ORGANIZATION, target.organization_id or "")
        case ResourceKind.TOKEN:
            return Target(ResourceKind.PRINCIPAL, target.owner_id or "", target.organization_id)
        case ResourceKind.SECRET | ResourceKind.FILE:
            return Target(
                ResourceKind.PROJECT, target.project_id or "", target.organization_id, target.project_id
            )
    return target


def unauthenticated() -> Unauthenticated:
    """The answer for a token that is nobody's, or not any more."""
    return Unauthenticated(
        "token_invalid",
        "the token is missing, malformed, expired or revoked; send `Authorization: Bearer kumoi_...`",
    )
