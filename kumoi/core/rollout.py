"""What to do next about a service's replicas: starts, drains, and which revision serves.

Pure: the loop tells what rows, engine and gateway say, the answer is applied in one transaction, and the next
look goes on from there. What is ready serves until what replaces it was ready for long enough; a revision
that cannot stand is given up; what fails again and again is tried ever more rarely.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from kumoi.core.rollout_conditions import ConditionView
from kumoi.core.rollout_replicas import (
    Failure,
    ReplicaMove,
    ReplicaView,
    is_watched,
    replica_look,
    replicas_sort,
)
from kumoi.model.time import US_PER_S, time_format

AGE_MAX_US = 30 * 86_400 * US_PER_S
"""Older replicas are replaced: their jobs end after 31 days."""
RETRY_MAX_S = 300
PROBE_AFTER = 3
"""After so many failures in a row with nothing ready, only one replica is tried at a time."""
FAILURES_END = 20
"""After so many failures in a row a revision that nothing can be rolled back from is given up, too."""
STABLE_US = 60 * US_PER_S
"""Replicas that were ready for so long have nothing to do with failures before."""
FORGIVEN_US = 2 * RETRY_MAX_S * US_PER_S
SERVING_RETRY_US = 10 * US_PER_S
"""While a new revision is tried, a failed replica of the serving one is replaced after this pause."""
STARTS_MAX = 100
START_TIMEOUT_US = 60 * US_PER_S
CAPACITY_WAIT_US = 5 * US_PER_S
SLOW_START_US = 3 * US_PER_S


@dataclass(frozen=True, slots=True)
class RolloutRules:
    """How careful to be. `drain_timeout_us` is the longest that requests in flight are waited for."""

    surge: int = 1
    watch_us: int = 5 * US_PER_S
    failures_max: int = 3
    rollback: bool = True
    drain_timeout_us: int = 300 * US_PER_S


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A revision and its state. A replica must be ready `start_timeout_us` after it began to run.

    `is_asked`: its replicas are what the service asks for now. `port` is where they must answer.
    """

    number: int
    state: str
    start_timeout_us: int = START_TIMEOUT_US
    reason: str = ""
    is_asked: bool = False
    port: int = 0


@dataclass(frozen=True, slots=True)
class ServiceView:
    """All that is looked at.

    `revision` serves (0: none does yet), `target` is rolled out (0: none). `failures` in a row are those of
    the target, or of what serves where nothing is rolled out; `last` is the last one. `given_up` is the last
    failure of the revision that was given up last.
    `wanted` is the number of replicas, `waiting` that of requests without one. `heard_us` is since when the
    gateway has been heard without a break, None while it is silent: then nothing is concluded from silence;
    `is_gateway_starting`: it is, because it was started a moment ago. `name` is what commands
    call the service.
    """

    revision: int
    target: int
    wanted: int
    revisions: tuple[RevisionView, ...]
    replicas: tuple[ReplicaView, ...] = ()
    rules: RolloutRules = RolloutRules()
    paused: bool = False
    deleting: bool = False
    failures: int = 0
    retry_us: int | None = None
    last: Failure | None = None
    given_up: Failure | None = None
    serving_failed_us: int | None = None
    waiting: int = 0
    heard_us: int | None = None
    is_gateway_starting: bool = False
    name: str = ""


@dataclass(frozen=True, slots=True)
class RevisionMove:
    """A revision goes from a state to another."""

    number: int
    source: str
    target: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """What to do now. `starts` are (revision, replicas), `stops` are replicas whose jobs are to end."""

    revision: int
    target: int
    failures: int
    retry_us: int | None
    last: Failure | None = None
    given_up: Failure | None = None
    serving_failed_us: int | None = None
    moves: tuple[ReplicaMove, ...] = ()
    starts: tuple[tuple[int, int], ...] = ()
    stops: tuple[str, ...] = ()
    revisions: tuple[RevisionMove, ...] = ()
    conditions: tuple[ConditionView, ...] = ()
    is_over: bool = False
    """The service is deleted and its last replica has ended."""


@dataclass(slots=True)
class _Draft:
    """The answer while it is made. `live` are the replicas that neither ended nor drain."""

    service: ServiceView
    now_us: int
    revision: int
    target: int
    failures: int
    retry_us: int | None
    last: Failure | None
    given_up: Failure | None
    serving_failed_us: int | None
    live: list[ReplicaView] = field(default_factory=list)
    moves: list[ReplicaMove] = field(default_factory=list)
    starts: dict[int, int] = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)
    revisions: list[RevisionMove] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    @property
    def current(self) -> int:
        """The revision that there should be replicas of."""
        return self.target or self.revision

    @property
    def is_trusted(self) -> bool:
        """Whether that revision serves already."""
        return self.current == self.revision


def decide(service: ServiceView, now_us: int) -> Steps:
    """The next steps. Deterministic; repeated on what it led to, it comes to rest."""
    draft = _Draft(
        service,
        now_us,
        service.revision,
        service.target,
        service.failures,
        service.retry_us,
        service.last,
        service.given_up,
        service.serving_failed_us,
    )
    _replicas_look(draft)
    if service.deleting:
        _drain(draft, list(draft.live), "the service is deleted")
    else:
        _failures_count(draft)
        _replicas_match(draft)
    return Steps(
        revision=draft.revision,
        target=draft.target,
        failures=draft.failures,
        retry_us=draft.retry_us,
        last=draft.last,
        given_up=draft.given_up,
        serving_failed_us=draft.serving_failed_us,
        moves=tuple(draft.moves),
        starts=tuple((number, count) for number, count in sorted(draft.starts.items()) if count > 0),
        stops=tuple(draft.stops),
        revisions=tuple(draft.revisions),
        conditions=() if service.deleting else _conditions(draft),
        is_over=service.deleting and all(one.has_ended for one in service.replicas),
    )


def retry_after_s(failures: int) -> int:
    """How long to wait after so many failures in a row: not at all after the first, then ever longer."""
    return 0 if failures <= 1 else int(min(2 ** min(failures - 2, 30), RETRY_MAX_S))


def _replicas_look(draft: _Draft) -> None:
    """Take in what became of each replica."""
    service = draft.service
    timeouts = {one.number: one.start_timeout_us for one in service.revisions}
    for one in service.replicas:
        seen = replica_look(
            one,
            draft.now_us,
            heard_us=service.heard_us,
            start_timeout_us=timeouts.get(one.revision, START_TIMEOUT_US),
            drain_timeout_us=service.rules.drain_timeout_us,
            watch_us=service.rules.watch_us,
            is_trusted=one.revision == service.revision,
        )
        if seen.move is not None:
            draft.moves.append(seen.move)
        if seen.is_stopped:
            draft.stops.append(one.id)
        if seen.failure is not None:
            draft.failed.append(seen.failure)
        if seen.replica is not None:
            draft.live.append(seen.replica)


def _failures_count(draft: _Draft) -> None:
    """Count what failed; forget it where what serves has stood for long."""
    _failures_add(draft, draft.failed)
    if draft.failures and draft.is_trusted and not draft.failed and _is_forgiven(draft):
        _failures_forget(draft)


def _failures_add(draft: _Draft, failed: Sequence[Failure]) -> None:
    """Wait longer before the next try, and give up a revision that cannot stand."""
    if any(one.revision == draft.revision for one in failed):
        draft.serving_failed_us = draft.now_us
    mine = [one for one in failed if one.revision == draft.current]
    if not mine:
        return
    # Of what serves, replicas that fall together fall once: a pause must not grow with their number. So do
    # those that fell with a host: that says nothing of what they are.
    with_host = sum(one.with_host for one in mine)
    draft.failures += 1 if draft.is_trusted else len(mine) - max(0, with_host - 1)
    draft.last = mine[-1]
    draft.retry_us = draft.now_us + retry_after_s(draft.failures) * US_PER_S
    rules = draft.service.rules
    most = rules.failures_max if rules.rollback and draft.revision else FAILURES_END
    if not draft.is_trusted and draft.failures >= most:
        draft.revisions.append(RevisionMove(draft.target, "rolling", "failed", draft.last.why))
        draft.target, draft.given_up = 0, draft.last
        _failures_forget(draft)


def _is_forgiven(draft: _Draft) -> bool:
    # What is still starting may be the next failure, however long it takes.
    is_tried = any(one.state == "starting" and one.revision == draft.current for one in draft.live)
    if draft.now_us >= (draft.retry_us or 0) + FORGIVEN_US and not is_tried:
        return True
    return bool(draft.live) and all(
        one.alive and is_watched(one, draft.now_us, STABLE_US) for one in draft.live
    )


def _failures_forget(draft: _Draft) -> None:
    draft.failures, draft.retry_us, draft.last = 0, None, None


def _replicas_match(draft: _Draft) -> None:
    """Start and drain until there are as many replicas of the right revision as wanted."""
    service, now_us = draft.service, draft.now_us
    fresh, stale, useless = _replicas_group(draft)
    _drain(draft, useless, "its revision is not wanted any more")
    if not draft.current:
        return
    # A revision that has not proven itself is tried with one replica even where none is wanted.
    wanted = service.wanted if draft.is_trusted else max(service.wanted, 1)
    proven = sum(is_watched(one, now_us, service.rules.watch_us) for one in fresh)
    is_paused = service.paused and not draft.is_trusted and draft.revision != 0
    ours = _fresh_wanted(draft, wanted, proven, fresh, stale, is_paused=is_paused)
    kept = _least_kept(draft, wanted - proven, fresh, stale)
    replaced = _drain(draft, replicas_sort(stale)[: max(0, len(stale) - kept)], "replaced")
    _drain(draft, replicas_sort(fresh)[: max(0, len(fresh) - ours)], "no longer needed")
    room = wanted + service.rules.surge - len(draft.live)
    if draft.retry_us is None or now_us >= draft.retry_us:
        draft.starts[draft.current] = max(0, min(ours - len(fresh), room, STARTS_MAX))
        room -= draft.starts[draft.current]
    if not draft.is_trusted and draft.revision and (service.paused or not proven):
        _serving_fill(draft, proven, len(stale), room)
    # Counted when they are replaced: a check that lies must not have them replaced for ever.
    _failures_add(
        draft,
        [
            Failure(one.revision, f"not alive: {one.detail}", replica=one.id)
            for one in replaced
            if not one.alive
        ],
    )
    is_enough = proven >= (wanted if draft.revision else 1)
    if not draft.is_trusted and not is_paused and is_enough:
        _take_over(draft)


def _replicas_group(
    draft: _Draft,
) -> tuple[list[ReplicaView], list[ReplicaView], list[ReplicaView]]:
    """Replicas as there should be; those that serve until there are; and those of no use."""
    fresh: list[ReplicaView] = []
    stale: list[ReplicaView] = []
    useless: list[ReplicaView] = []
    for one in draft.live:
        is_sound = draft.now_us - one.asked_us < AGE_MAX_US and one.alive
        if one.revision == draft.current and is_sound:
            fresh.append(one)
        elif one.state == "ready" or one.revision == draft.revision:
            stale.append(one)
        else:
            useless.append(one)
    return fresh, stale, useless


def _fresh_wanted(
    draft: _Draft,
    wanted: int,
    proven: int,
    fresh: Sequence[ReplicaView],
    stale: Sequence[ReplicaView],
    *,
    is_paused: bool,
) -> int:
    """How many replicas of the current revision there should be now."""
    surge = draft.service.rules.surge
    if is_paused:
        return min(len(fresh), wanted + surge)
    is_only = not draft.revision and not stale
    if draft.is_trusted or proven or is_only:
        ours = max(min(wanted, proven + surge), wanted - len(stale))
    else:
        ours = min(wanted, surge)
    ready = any(one.state == "ready" for one in fresh)
    if not ready and draft.failures >= (PROBE_AFTER if draft.is_trusted else 1):
        return min(ours, 1)
    return ours


def _least_kept(
    draft: _Draft, missing: int, fresh: Sequence[ReplicaView], stale: Sequence[ReplicaView]
) -> int:
    """How many of the stale replicas must stay. While requests wait the last ready one does."""
    ready = sum(one.state == "ready" for one in fresh)
    least = 1 if draft.service.waiting and not ready and any(one.state == "ready" for one in stale) else 0
    return max(missing, least, 0)


def _serving_fill(draft: _Draft, proven: int, stale: int, room: int) -> None:
    """Start what is missing of the serving revision: the new one has proven nothing, or is to pause."""
    failed_us = draft.serving_failed_us
    if failed_us is None or draft.now_us >= failed_us + SERVING_RETRY_US:
        missing = draft.service.wanted - proven - stale
        draft.starts[draft.revision] = max(0, min(missing, room, STARTS_MAX))


def _take_over(draft: _Draft) -> None:
    if draft.revision:
        draft.revisions.append(RevisionMove(draft.revision, "serving", "retired", "replaced"))
    draft.revisions.append(RevisionMove(draft.target, "rolling", "serving"))
    draft.revision, draft.target = draft.target, 0
    _failures_forget(draft)


def _drain(draft: _Draft, replicas: Sequence[ReplicaView], why: str) -> list[ReplicaView]:
    """Take replicas out of service; returns which. One that never was in service stops at once."""
    drained = [one for one in replicas if not _is_last_needed(draft, one)]
    begun = {one.id: one.state for one in draft.service.replicas}
    for one in drained:
        draft.live.remove(one)
        draft.moves = [move for move in draft.moves if move.id != one.id]
        draft.moves.append(ReplicaMove(one.id, begun[one.id], "draining", why))
        if one.state == "starting":
            draft.stops.append(one.id)
    return drained


def _is_last_needed(draft: _Draft, one: ReplicaView) -> bool:
    """Whether requests wait and this is the only replica that could serve them."""
    if not draft.service.waiting or draft.service.deleting or one.state != "ready" or not draft.current:
        return False
    return not any(other.state == "ready" for other in draft.live if other.id != one.id)


def _conditions(draft: _Draft) -> tuple[ConditionView, ...]:
    """What people should know now, the gravest first."""
    service, now_us = draft.service, draft.now_us
    found: list[ConditionView] = []

    def add(code: str, **params: object) -> None:
        found.append(ConditionView(code, tuple((name, str(value)) for name, value in params.items())))

    if not draft.current:
        add("nothing_serves")
    latest = _given_up_last(draft)
    if latest is not None:
        failure = draft.given_up
        is_known = failure is not None and failure.revision == latest.number
        advice = _advice(service.name, failure) if is_known else {}
        add("revision_failed", revision=latest.number, why=latest.reason, **advice)
    starting = [one for one in draft.live if one.state == "starting"]
    if draft.failures and draft.last is not None:
        is_tried = draft.starts.get(draft.current) or any(one.revision == draft.current for one in starting)
        again = {} if is_tried else {"retry_at": time_format(max(draft.retry_us or 0, now_us))}
        add(
            "revision_failing",
            revision=draft.current,
            failures=draft.failures,
            why=draft.last.why,
            **_advice(service.name, draft.last),
            **again,
        )
    if service.heard_us is None:
        add("gateway_starting" if service.is_gateway_starting else "gateway_silent")
    if service.paused and draft.target:
        add("rollout_paused", revision=draft.target)
    slow = [
        one for one in starting if one.started_us is not None and now_us - one.started_us >= SLOW_START_US
    ]
    if slow:
        add("slow_start", **_slow_told(service, slow))
    held = [one for one in starting if one.started_us is None and now_us - one.asked_us >= CAPACITY_WAIT_US]
    if held:
        add("waiting_for_capacity", replicas=len(held), job=held[0].job_id)
    dead = [one for one in draft.live if not one.alive]
    if dead:
        add("not_alive", replicas=len(dead), why=dead[0].detail)
    return tuple(found)


def _given_up_last(draft: _Draft) -> RevisionView | None:
    """The revision that is asked for and was given up, where nothing that is asked for serves."""
    failed = {move.number: move.reason or "" for move in draft.revisions if move.target == "failed"}
    asked = [
        replace(one, state="failed", reason=failed[one.number]) if one.number in failed else one
        for one in draft.service.revisions
        if one.is_asked
    ]
    if draft.target or any(one.number == draft.revision for one in asked):
        return None
    return max((one for one in asked if one.state == "failed"), key=lambda one: one.number, default=None)


def _advice(name: str, failure: Failure | None) -> dict[str, str]:
    """Where to look after a failure: at what the replica wrote, if it can have written anything."""
    if failure is None:
        return {}
    if failure.never_ran:
        return {"never_ran": "true"}
    return {"service": name, "replica": failure.replica} if failure.replica else {}


def _slow_told(service: ServiceView, slow: Sequence[ReplicaView]) -> dict[str, object]:
    first = slow[0]
    view = next((one for one in service.revisions if one.number == first.revision), None)
    return {
        "replicas": len(slow),
        "why": first.detail or "nothing answers",
        "port": view.port if view else 0,
        "timeout_s": (view.start_timeout_us if view else START_TIMEOUT_US) // US_PER_S,
    }
