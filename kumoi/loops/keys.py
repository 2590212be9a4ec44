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
from typing import TypeAlias

from kumoi.loops.context import LoopContext
from kumoi.model.keys import OnWithdraw
from kumoi.model.time import US_PER_S
from kumoi.store.database import Store
from kumoi.store.errors import ImpossibleState, MissingReference, StoreError
from kumoi.store.jobs import job_cancel
from kumoi.store.keys import rotation
from kumoi.store.keys.columns import SEALED_TABLES, SealedTable
from kumoi.store.keys.errors import KeyFailure, KeyUnavailable, SealBroken
from kumoi.store.keys.names import organization_key_additional
from kumoi.store.keys.ring import KeyRing
from kumoi.store.keys.tokens import ANSWER_S, Probe, Token
from kumoi.store.schema import AnyRow, organization_keys
from kumoi.store.writer import Fence

WATCH_S = 0.4
STOP_S = 5.0
ENDS_MAX = 100
DESTROY_AFTER_US = 60 * US_PER_S
"""How long an old version is kept at least: longer than any plane uses what it read of a key."""
WITHDRAWN = "its organization withdrew its key"

Place: TypeAlias = tuple[str, str]
"""A table, and the old key that serves rows of it."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class KeyWatch:
    """Asks every token that holds a key, again and again, whether it still gives it.

    `wrong` is what the last look found, by organization; `seen` whom it looked at. `passed` is how far the
    loop came with what an old key serves, past what does not open; `broken` where it told of such.
    """

    store: Store
    keys: KeyRing
    nudge: Callable[..., None]
    monotonic_s: Callable[[], float] = time.monotonic
    wrong: Mapping[str, str] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    passed: dict[Place, str] = field(default_factory=dict)
    broken: set[Place] = field(default_factory=set)
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
    more = _platform_keep(watch, context, fence)
    for retired in context.store.read_wait(rotation.retired_read):
        more = _version_keep(watch, context, fence, retired) or more
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


def _platform_keep(watch: KeyWatch, context: LoopContext, fence: Fence) -> bool:
    """Move what older versions of the platform's key wrap to the newest, then destroy them."""
    platform = context.keys.encryptions.platform
    more = False
    for old in platform.old():
        place = (organization_keys.name, old.name)
        rows = context.store.read_wait(rotation.wrapped_by, old.name, after_id=watch.passed.get(place, ""))
        wrapped: list[rotation.Wrapped] = []
        wrapper = platform.current
        for row in rows:
            try:
                wrapped += rotation.versions_wrap(context.keys.encryptions, [row], wrapper)
            except KeyFailure as error:
                _broken_tell(watch, place, error)
        if wrapped:
            context.store.transact_wait(fence, rotation.versions_put, wrapped)
        more = _page_turn(watch, place, rows) or more
        if not rows and not context.store.read_wait(rotation.wrapped_by, old.name, 1):
            platform.destroy(old.version, (context.clock_us() - DESTROY_AFTER_US) / US_PER_S)
    return more


def _version_keep(watch: KeyWatch, context: LoopContext, fence: Fence, retired: AnyRow) -> bool:
    """One batch of each table under the current version; when nothing is left, the old one is destroyed."""
    more = False
    try:
        for kept in SEALED_TABLES:
            more = _batch_keep(watch, context, fence, kept, retired) or more
    except KeyFailure as error:
        _log.warning("what version %s of a key seals is not wrapped anew now: %s", retired.id, error)
        return False
    now_us = context.clock_us()
    if more or now_us - retired.retired_us <= DESTROY_AFTER_US:
        return more
    if not context.store.read_wait(rotation.sealed_any, retired):
        try:
            context.store.transact_wait(fence, rotation.version_destroy, retired, now_us)
        except (MissingReference, ImpossibleState) as error:
            _log.info("the old key %s is in use again: %s", retired.id, error)
    return False


def _batch_keep(
    watch: KeyWatch, context: LoopContext, fence: Fence, kept: SealedTable, retired: AnyRow
) -> bool:
    place = (kept.table.name, retired.id)
    after_id = watch.passed.get(place, "")
    rows = context.store.read_wait(rotation.sealed_read, kept, retired, rotation.BATCH, after_id)
    resealed: list[rotation.Resealed] = []
    for row in rows:
        try:
            resealed += rotation.reseal(context.keys.rewrap, kept, [row])
        except SealBroken as error:
            _broken_tell(watch, place, error)
    if resealed:
        context.store.transact_wait(fence, rotation.sealed_put, kept, resealed)
    return _page_turn(watch, place, rows)


def _page_turn(watch: KeyWatch, place: Place, rows: Sequence[AnyRow]) -> bool:
    """Go on behind `rows`, and from the beginning at the next wake-up where there were none; whether to go
    on at once. What does not open thus keeps nothing else waiting, and costs one look at each wake-up."""
    if rows:
        watch.passed[place] = rows[-1].id
    else:
        watch.passed.pop(place, None)
    return bool(rows)


def _broken_tell(watch: KeyWatch, place: Place, error: KeyFailure) -> None:
    """Say once that a key is kept for what does not open with it."""
    if place not in watch.broken:
        watch.broken.add(place)
        _log.error("something in %s does not open, so the key %s that it needs is kept: %s", *place, error)
