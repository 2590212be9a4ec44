"""What became of one replica: what its job, its engine and the gateway say of it, taken together."""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica that has not ended, and what is said of it.

    `started_us` is when its attempt began to run, None while it waits. `has_ended` is that its job did,
    `is_lost` that its job will not run any more though it has not ended; `failure` says what it did wrong,
    empty where it was not its own doing; `fell_with_host` that whatever else ran there fell, too; `never_ran`
    that it could not be started, so that it wrote nothing. `ready` is what the gateway's check says, None for
    nothing; `unready_us` since when it says no. `neighbours` are
    the attempts that live on its host, itself included. `is_drained` is that nothing is in flight there any
    more, `is_stopping` that its job was asked to end.
    """

    id: str
    revision: int
    state: str
    asked_us: int
    job_id: str = ""
    ready_us: int | None = None
    drain_us: int | None = None
    started_us: int | None = None
    has_ended: bool = False
    is_lost: bool = False
    failure: str = ""
    fell_with_host: bool = False
    never_ran: bool = False
    ready: bool | None = None
    unready_us: int | None = None
    alive: bool = True
    busy: int = 0
    neighbours: int = 0
    detail: str = ""
    is_drained: bool = False
    is_stopping: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaMove:
    """A replica goes from a state to another."""

    id: str
    source: str
    target: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A replica that could not stand, and why."""

    revision: int
    why: str
    with_host: bool = False
    replica: str = ""
    never_ran: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What follows from a look at a replica. `replica` is it as it is now, None if it ended or drains."""

    replica: ReplicaView | None
    move: ReplicaMove | None = None
    is_stopped: bool = False
    failure: Failure | None = None


def replica_look(
    one: ReplicaView,
    now_us: int,
    *,
    heard_us: int | None,
    start_timeout_us: int,
    drain_timeout_us: int,
    watch_us: int,
    is_trusted: bool,
) -> Seen:
    """What is to be done about a replica for its own sake.

    `heard_us` is since when the gateway is heard, None while it is not: then its word is an old one.
    A revision that is not trusted yet must stay ready and alive from the first moment on.
    """
    if one.has_ended:
        return _ended(one)
    if one.state == "draining":
        is_over = one.is_drained or now_us - (one.drain_us or now_us) >= drain_timeout_us
        return Seen(None, is_stopped=is_over and not one.is_stopping)
    if one.is_lost:
        return _given_up(one, one.failure)
    if heard_us is None:
        return Seen(replace(one, alive=True))
    if one.state != "ready" and one.ready:
        now = replace(one, state="ready", ready_us=one.ready_us or now_us)
        return Seen(now, ReplicaMove(one.id, one.state, "ready"))
    if one.state == "starting":
        waits_us = now_us - max(one.started_us or now_us, heard_us)
        if waits_us < start_timeout_us:
            return Seen(one)
        why = f"not ready {start_timeout_us // 1_000_000} s after its start"
        return _given_up(one, f"{why}: {one.detail}" if one.detail else why)
    # Only what was watched to the end is ever unready: before, it is given up.
    is_proven = is_trusted or one.state == "unready" or is_watched(one, now_us, watch_us)
    return _ready_look(one, now_us, start_timeout_us, is_proven)


def _ready_look(one: ReplicaView, now_us: int, patience_us: int, is_proven: bool) -> Seen:
    """A replica that was ready once."""
    if not one.alive and (one.state == "unready" or one.ready is False or not is_proven):
        return _given_up(one, f"not alive: {one.detail}" if one.detail else "not alive")
    if one.ready is not False:
        return Seen(one)
    unready_us = one.unready_us or now_us
    if not is_proven or (one.state == "unready" and now_us - unready_us >= patience_us):
        return _given_up(one, f"did not stay ready: {one.detail}" if one.detail else "did not stay ready")
    if one.state == "unready":
        return Seen(one)
    return Seen(replace(one, state="unready"), ReplicaMove(one.id, "ready", "unready", one.detail or None))


def _ended(one: ReplicaView) -> Seen:
    if one.state == "draining":
        # Why it was to go is told already.
        return Seen(None, ReplicaMove(one.id, one.state, "ended"))
    move = ReplicaMove(one.id, one.state, "ended", one.failure or "ended")
    return Seen(None, move, failure=_failure(one, one.failure))


def _given_up(one: ReplicaView, why: str) -> Seen:
    """It will not serve any more, so there is nothing to wait for."""
    move = ReplicaMove(one.id, one.state, "draining", why or "its host took it back")
    return Seen(None, move, is_stopped=True, failure=_failure(one, why))


def _failure(one: ReplicaView, why: str) -> Failure | None:
    return Failure(one.revision, why, one.fell_with_host, one.id, one.never_ran) if why else None


def is_watched(one: ReplicaView, now_us: int, watch_us: int) -> bool:
    """Whether it is ready and became so at least `watch_us` ago."""
    return one.state == "ready" and one.ready_us is not None and now_us - one.ready_us >= watch_us


_EASE = {"starting": 0, "unready": 1, "ready": 2}


def replicas_sort(replicas: Iterable[ReplicaView]) -> list[ReplicaView]:
    """Whom to do without first: who starts (the latest first), who is not ready, who has least to do.

    Of the ready, those on the emptiest hosts go first, so that whole hosts become free.
    """
    return sorted(
        replicas,
        key=lambda one: (
            _EASE[one.state],
            one.alive,
            one.neighbours if one.state == "ready" else 0,
            one.busy,
            -one.asked_us if one.state == "starting" else one.asked_us,
            one.id,
        ),
    )
