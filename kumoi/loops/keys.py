"""Keys: tokens watched on every plane, and what follows from a withdrawal or a rotation.

Every plane watches for itself, and forgets a key the moment its token does not give it. One of them, which
holds the lease of the loop, writes that down, ends work where the tenant asked for it, and wraps what is
sealed under old versions anew.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from kumoi.loops.context import LoopContext
from kumoi.model.keys import OnWithdraw
from kumoi.model.time import US_PER_S
from kumoi.store.database import Store
from kumoi.store.errors import ImpossibleState, MissingReference, StoreError
from kumoi.store.jobs import job_cancel
from kumoi.store.keys import rotation
from kumoi.store.keys.columns import SEALED_TABLES, SealedTable
from kumoi.store.keys.errors import KeyFailure, KeyUnavailable
from kumoi.store.keys.names import organization_key_additional
from kumoi.store.keys.ring import KeyRing
from kumoi.store.keys.tokens import ANSWER_S, Probe, Token
from kumoi.store.schema import AnyRow
from kumoi.store.writer import Fence

WATCH_S = 0.4
STOP_S = 5.0
ENDS_MAX = 100
DESTROY_AFTER_US = 60 * US_PER_S
"""How long an old version is kept at least: longer than any plane uses what it read of a key."""
WITHDRAWN = "its organization withdrew its key"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class KeyWatch:
    """Asks every token that holds a key, again and again, whether it still gives it.

    `wrong` is what the last look found, by organization; `seen` whom it looked at.
    """

    store: Store
    keys: KeyRing
    nudge: Callable[..., None]
    monotonic_s: Callable[[], float] = time.monotonic
    wrong: Mapping[str, str] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; does nothing where the plane has no tokens."""
        if self.keys.encryptions.tokens is not None:
            self._thread = threading.Thread(target=self._run, name="key-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, soon."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
        if self.keys.encryptions.tokens is not None:
            self.keys.encryptions.tokens.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began_s = self.monotonic_s()
            try:
                self.look()
            except Exception:
                _log.exception("keys in tokens could not be looked at")
                self._forget_all()
            self._stopping.wait(max(0.0, WATCH_S - (self.monotonic_s() - began_s)))

    def look(self) -> None:
        """One look at every holder: what is fine stays usable, what is not is forgotten at once."""
        asked_s = self.monotonic_s()
        try:
            rows = self.store.read_wait(rotation.holders_read)
        except StoreError as error:
            _log.warning("who holds keys could not be read, so none is used: %s", error)
            self._forget_all()
            return
        for row in rows:
            if row.state == "withdrawn":
                self.keys.forget(row.id, row.cause)
        asked = [row for row in rows if row.state != "withdrawn"]
        wrong = self._ask(asked, asked_s)
        for row in asked:
            if row.id in wrong:
                self.keys.forget(row.id, wrong[row.id])
            elif row.state == "held":
                self._keep(row.id, asked_s)
        changed = wrong != self.wrong or frozenset(row.id for row in asked) != self.seen
        self.wrong, self.seen = wrong, frozenset(row.id for row in asked)
        if changed:
            self.nudge("keys", "placement")

    def _keep(self, organization_id: str, asked_s: float) -> None:
        if self.keys.confirm(organization_id, asked_s):
            return
        try:
            self.keys.load(organization_id)
        except KeyFailure as error:
            _log.warning("the key of %s could not be loaded: %s", organization_id, error)

    def _ask(self, rows: Sequence[AnyRow], asked_s: float) -> dict[str, str]:
        """What is wrong with the keys, by organization. All tokens are asked at once."""
        wrong: dict[str, str] = {}
        probes: defaultdict[str, list[Probe]] = defaultdict(list)
        for row in rows:
            named = organization_key_additional(row.id, row.number, row.kek)
            probes[row.token].append(Probe(row.id, row.label, row.wrapped_key, named))
        waiting: list[tuple[Token, Sequence[Probe], Future[dict[str, str]]]] = []
        tokens = self.keys.encryptions.tokens
        for name, asking in probes.items():
            token = None if tokens is None else tokens.get(name)
            try:
                if token is None:
                    raise KeyUnavailable(f"the token {name} is not offered any more")
                waiting.append((token, asking, token.probe(asking)))
            except KeyFailure as error:
                wrong |= {one.organization_id: str(error) for one in asking}
        for token, theirs, answer in waiting:
            try:
                found: dict[str, str] = token.result(answer, asked_s + ANSWER_S - self.monotonic_s())
                wrong |= found
            except KeyFailure as error:
                wrong |= {one.organization_id: str(error) for one in theirs}
        return wrong

    def _forget_all(self) -> None:
        for organization_id in self.seen:
            self.keys.forget(organization_id, "the plane cannot tell whether the key is withdrawn")


def keys_activate(watch: KeyWatch, context: LoopContext, fence: Fence) -> bool:
    """Write down what the watch saw, end what is to end, wrap anew what is old."""
    for row in context.store.read_wait(rotation.holders_read):
        _holder_keep(watch, context, fence, row)
    more = _platform_keep(context, fence)
    for retired in context.store.read_wait(rotation.retired_read):
        more = _version_keep(context, fence, retired) or more
    return more


def _holder_keep(watch: KeyWatch, context: LoopContext, fence: Fence, row: AnyRow) -> None:
    target, cause = row.state, row.cause
    if row.id in watch.seen and row.state != "withdrawn":
        target = "lost" if row.id in watch.wrong else "held"
        cause = watch.wrong.get(row.id, "")[:400]
    if target != row.state:
        context.store.transact_wait(fence, rotation.holder_tell, row, target, cause, context.clock_us())
        context.nudge("placement", "tasks")
    if target != "held" and row.on_withdraw == OnWithdraw.END:
        running = context.store.read_wait(rotation.jobs_running, row.id, ENDS_MAX)
        for job_id in running:
            context.store.transact_wait(fence, job_cancel, job_id, context.clock_us(), WITHDRAWN)
        if running:
            context.nudge("tasks", "jobs")


def _platform_keep(context: LoopContext, fence: Fence) -> bool:
    """Move what older versions of the platform's key wrap to the newest, then destroy them."""
    platform = context.keys.encryptions.platform
    for old in platform.old():
        rows = context.store.read_wait(rotation.wrapped_by, old.name)
        if rows:
            wrapped = rotation.versions_wrap(context.keys.encryptions, rows, platform.current)
            context.store.transact_wait(fence, rotation.versions_put, wrapped)
            return True
        platform.destroy(old.version, (context.clock_us() - DESTROY_AFTER_US) / US_PER_S)
    return False


def _version_keep(context: LoopContext, fence: Fence, retired: AnyRow) -> bool:
    """One batch of each table under the current version; when nothing is left, the old one is destroyed."""
    more = False
    try:
        for kept in SEALED_TABLES:
            more = _batch_keep(context, fence, kept, retired) or more
    except KeyFailure as error:
        _log.warning("what version %s of a key seals is not wrapped anew now: %s", retired.id, error)
        return False
    now_us = context.clock_us()
    if not more and now_us - retired.retired_us > DESTROY_AFTER_US:
        try:
            context.store.transact_wait(fence, rotation.version_destroy, retired, now_us)
        except (MissingReference, ImpossibleState) as error:
            _log.info("the old key %s is in use again: %s", retired.id, error)
    return more


def _batch_keep(context: LoopContext, fence: Fence, kept: SealedTable, retired: AnyRow) -> bool:
    rows = context.store.read_wait(rotation.sealed_read, kept, retired, rotation.BATCH)
    if rows:
        resealed = rotation.reseal(context.keys.rewrap, kept, rows)
        context.store.transact_wait(fence, rotation.sealed_put, kept, resealed)
    return bool(rows)
