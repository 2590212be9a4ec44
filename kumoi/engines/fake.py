"""An honest engine in memory, for tests of the loops: a manual clock, recorded calls, failures on demand."""

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from kumoi.engines.base import (
    AttemptSpec,
    EngineError,
    EngineUnavailable,
    ExitRecord,
    HostReport,
    LogChunk,
    Nudge,
    Observation,
    ObservationPage,
    Phase,
    PlacementGrain,
    StartRefused,
    Stream,
)
from kumoi.engines.refs import ref_is_valid
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.routes import Endpoint
from kumoi.model.time import US_PER_S

FAKE_HOST = HostReport(
    name="fake-1", cpu_milli=8_000, memory_bytes=16 << 30, boot_id="boot-1", healthy=True, detail=""
)
_SIGTERM = 15
_SIGKILL = 9


@dataclass(slots=True)
class _Attempt:
    """What the fake keeps of one attempt; `spec` is None for one that was stopped before its start."""

    spec: AttemptSpec | None
    started_us: int | None
    lease_expires_us: int | None
    kill_us: int | None = None
    exit: ExitRecord | None = None
    forgotten: bool = False
    logs: dict[Stream, bytearray] = field(default_factory=lambda: {s: bytearray() for s in Stream})


class FakeEngine:
    """Keeps the promises of `Engine` in memory. Nothing runs: tests end attempts with `finish`.

    `clock` gives microseconds UTC. Wall time, leases and the grace of a stop run out by that clock.
    `calls` holds every call as (method, refs), `starts` how often each attempt was really started.
    With `stop_lingers` an attempt ignores SIGTERM and ends only when its grace is over.
    """

    name = "fake"
    placement_grain = PlacementGrain.HOST

    def __init__(self, clock: Callable[[], int], hosts: Sequence[HostReport] = (FAKE_HOST,)) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.starts: Counter[str] = Counter()
        self.available = True
        self.stop_lingers = False
        self._clock = clock
        self._hosts = {host.name: host for host in hosts}
        self._attempts: dict[str, _Attempt] = {}
        self._purged_until_us: dict[str, int | None] = {}
        self._refused: dict[str, str] = {}
        self._failures: list[tuple[BaseException, str | None, bool]] = []
        self._nudge: Nudge | None = None
        self._lock = threading.RLock()

    # What a test does to the engine.

    def fail_next(self, error: BaseException, *, method: str | None = None, after: bool = False) -> None:
        """The next call (of `method`, if given) raises `error`: before it did anything, or `after` all."""
        self._failures.append((error, method, after))

    def refuse(self, ref: str, why: str) -> None:
        """`ensure` answers StartRefused for `ref` from now on."""
        self._refused[ref] = why

    def finish(
        self,
        ref: str,
        outcome: AttemptOutcome = AttemptOutcome.EXITED,
        *,
        exit_code: int | None = 0,
        signal: int | None = None,
        cpu_us: int = 0,
        memory_peak_bytes: int = 0,
        detail: str = "",
    ) -> None:
        """End a running attempt now. KeyError if there is none."""
        with self._lock:
            attempt = self._attempts[ref]
            if attempt.exit is not None:
                raise KeyError(f"the attempt {ref} ended before, with {attempt.exit.outcome}")
            attempt.exit = ExitRecord(
                outcome=outcome,
                exit_code=exit_code if outcome is AttemptOutcome.EXITED else None,
                signal=signal,
                started_us=attempt.started_us,
                ended_us=self._clock(),
                cpu_us=cpu_us,
                memory_peak_bytes=memory_peak_bytes,
                detail=detail,
            )
        self._poke()

    def host_lose(self, name: str = FAKE_HOST.name) -> None:
        """The host `name` is gone: it is reported unfit, and every running attempt ends as HOST_LOST."""
        with self._lock:
            self._hosts[name] = replace(self._hosts[name], healthy=False, detail="lost")
            for ref in self.running():
                self.finish(ref, AttemptOutcome.HOST_LOST, detail=f"the host {name} was lost")

    def host_return(self, name: str = FAKE_HOST.name, *, boot_id: str) -> None:
        """The host `name` is back after a boot."""
        with self._lock:
            self._hosts[name] = replace(self._hosts[name], healthy=True, detail="", boot_id=boot_id)

    def host_change(self, name: str = FAKE_HOST.name, **facts: Any) -> None:
        """The host `name` reports other facts, such as `devices`; a new name is a new host."""
        with self._lock:
            self._hosts[name] = replace(self._hosts.get(name, FAKE_HOST), name=name, **facts)

    def log_append(self, ref: str, stream: Stream, data: bytes) -> None:
        """The attempt writes `data`, up to its log limit over both streams."""
        with self._lock:
            attempt = self._attempts[ref]
            limit = attempt.spec.limits.log_bytes if attempt.spec else 0
            room = limit - sum(len(log) for log in attempt.logs.values())
            attempt.logs[stream] += data[: max(room, 0)]

    def running(self) -> list[str]:
        """The references of the attempts that have not ended, in order of start."""
        return [ref for ref, attempt in self._attempts.items() if attempt.exit is None]

    # The protocol.

    def ensure(self, specs: Sequence[AttemptSpec]) -> Mapping[str, EngineError | None]:
        """See `Engine.ensure`."""
        with self._call("ensure", [spec.ref for spec in specs]):
            return {spec.ref: self._ensure_one(spec) for spec in specs}

    def stop(self, refs: Sequence[str], grace_s: float) -> None:
        """See `Engine.stop`."""
        with self._call("stop", refs):
            for ref in refs:
                self._stop_one(ref, grace_s)
        self._poke()

    def ended(self, limit: int) -> Sequence[Observation]:
        """See `Engine.ended`."""
        with self._call("ended"):
            done = [item for item in self._observations() if item.exit is not None]
            return sorted(done, key=lambda item: (item.exit.ended_us if item.exit else 0, item.ref))[:limit]

    def observe(self, cursor: str | None, limit: int) -> ObservationPage:
        """See `Engine.observe`."""
        with self._call("observe"):
            items = sorted(self._observations(), key=lambda item: item.ref)
            start = bisect_right(items, cursor, key=lambda item: item.ref) if cursor is not None else 0
            page = tuple(items[start : start + limit])
            more = start + limit < len(items)
            return ObservationPage(page, page[-1].ref if more and page else None)

    def forget(self, refs: Sequence[str]) -> None:
        """See `Engine.forget`."""
        with self._call("forget", refs):
            for ref in refs:
                attempt = self._attempts.get(ref)
                if attempt is not None and attempt.exit is not None:
                    attempt.forgotten = True

    def purge(self, refs: Sequence[str]) -> None:
        """See `Engine.purge`."""
        with self._call("purge", refs):
            for ref in refs:
                attempt = self._attempts.get(ref)
                if attempt is not None and attempt.forgotten:
                    self._purged_until_us[ref] = attempt.spec.start_before_us if attempt.spec else None
                    del self._attempts[ref]

    def renew(self, leases: Mapping[str, int]) -> None:
        """See `Engine.renew`."""
        with self._call("renew", tuple(leases)):
            for ref, expires_us in leases.items():
                attempt = self._attempts.get(ref)
                if attempt is not None and attempt.lease_expires_us is not None:
                    attempt.lease_expires_us = max(attempt.lease_expires_us, expires_us)

    def log_read(self, ref: str, stream: Stream, offset: int, limit: int) -> LogChunk:
        """See `Engine.log_read`."""
        with self._call("log_read", (ref,)):
            attempt = self._attempts.get(ref)
            if attempt is None:
                return LogChunk(b"", offset, ended=True)
            data = bytes(attempt.logs[stream][offset : offset + limit])
            at_end = offset + len(data) >= len(attempt.logs[stream])
            return LogChunk(data, offset + len(data), ended=at_end and attempt.exit is not None)

    def hosts(self) -> Sequence[HostReport]:
        """See `Engine.hosts`."""
        with self._call("hosts"):
            return tuple(self._hosts.values())

    def endpoints(self, refs: Sequence[str], /) -> Mapping[str, Endpoint]:
        """See `Engine.endpoints`: on loopback, whoever listens there."""
        with self._call("endpoints", refs):
            return {
                ref: Endpoint("127.0.0.1", attempt.spec.port)
                for ref, attempt in self._attempts.items()
                if ref in refs and attempt.exit is None and attempt.spec and attempt.spec.port
            }

    def on_change(self, nudge: Nudge) -> None:
        """See `Engine.on_change`."""
        self._nudge = nudge

    def close(self) -> None:
        """See `Engine.close`."""
        self._nudge = None

    # How it does so.

    @contextmanager
    def _call(self, method: str, refs: Sequence[str] = ()) -> Iterator[None]:
        with self._lock:
            self.calls.append((method, tuple(refs)))
            late = self._failure_take(method)
            if not self.available:
                raise EngineUnavailable(f"the fake engine was made unavailable; {method} did nothing")
            self._time_pass()
            yield
            if late is not None:
                raise late

    def _failure_take(self, method: str) -> BaseException | None:
        """Raise the failure due before this call, or return the one due after it."""
        if not self._failures or self._failures[0][1] not in (None, method):
            return None
        error, _, after = self._failures.pop(0)
        if not after:
            raise error
        return error

    def _ensure_one(self, spec: AttemptSpec) -> EngineError | None:
        now_us = self._clock()
        if not ref_is_valid(spec.ref):
            return StartRefused(f"the attempt {spec.ref!r} cannot be started: its reference is no name")
        if spec.ref in self._attempts:
            self._attempts[spec.ref].forgotten = False
            return None
        if spec.ref in self._purged_until_us:
            return StartRefused(f"the attempt {spec.ref} ended and was purged; it never starts again")
        if now_us >= spec.start_before_us:
            return StartRefused(f"the time to start the attempt {spec.ref} has passed; make a new attempt")
        if spec.ref in self._refused:
            return StartRefused(self._refused[spec.ref])
        self._attempts[spec.ref] = _Attempt(spec, now_us, spec.lease_expires_us)
        self.starts[spec.ref] += 1
        return None

    def _stop_one(self, ref: str, grace_s: float) -> None:
        now_us = self._clock()
        attempt = self._attempts.get(ref)
        if attempt is None and ref not in self._purged_until_us:
            record = ExitRecord(AttemptOutcome.CANCELLED, None, None, None, now_us, detail="never started")
            self._attempts[ref] = _Attempt(None, None, None, exit=record)
        elif attempt is not None and attempt.exit is None:
            if self.stop_lingers:
                kill_us = now_us + int(grace_s * US_PER_S)
                attempt.kill_us = min(attempt.kill_us or kill_us, kill_us)
            else:
                self._end(attempt, AttemptOutcome.CANCELLED, _SIGTERM, now_us)

    def _time_pass(self) -> None:
        """End what the clock has overtaken: graces, leases, wall times, whichever came first."""
        now_us = self._clock()
        for attempt in self._attempts.values():
            if attempt.exit is not None or attempt.spec is None or attempt.started_us is None:
                continue
            wall_us = attempt.started_us + attempt.spec.limits.wall_time_s * US_PER_S
            ends = [(wall_us, AttemptOutcome.TIMEOUT)]
            if attempt.lease_expires_us is not None:
                ends.append((attempt.lease_expires_us, AttemptOutcome.LEASE_LOST))
            if attempt.kill_us is not None:
                ends.append((attempt.kill_us, AttemptOutcome.CANCELLED))
            at_us, outcome = min(ends)
            if at_us <= now_us:
                self._end(attempt, outcome, _SIGKILL, at_us)

    def _end(self, attempt: _Attempt, outcome: AttemptOutcome, signal: int, at_us: int) -> None:
        attempt.exit = ExitRecord(outcome, None, signal, attempt.started_us, at_us)

    def _observations(self) -> Iterator[Observation]:
        for ref, attempt in self._attempts.items():
            if not attempt.forgotten:
                phase = Phase.RUNNING if attempt.exit is None else Phase.ENDED
                yield Observation(ref, phase, attempt.started_us, attempt.exit)

    def _poke(self) -> None:
        if self._nudge is not None:
            self._nudge()
