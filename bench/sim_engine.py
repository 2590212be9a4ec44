"""An engine behind which nothing runs: attempts start at once and end when their command says so.

The benches of the plane's own work use it, so that they measure the plane and no execution. What it does
costs by what starts and ends, not by what is there. A command `("run", "90")` takes 90 s by the given clock;
any other runs to the end of its wall time.
"""

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from kumoi.engines.base import (
    AttemptSpec,
    DeviceReport,
    EngineError,
    ExitRecord,
    HostReport,
    LogChunk,
    Nudge,
    Observation,
    ObservationPage,
    Phase,
    PlacementGrain,
    Stream,
)
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.routes import Endpoint

S_US = 1_000_000
GIB = 1 << 30
DEVICES_PER_HOST = 8
HOST_CPU_MILLI = 192_000
HOST_MEMORY_BYTES = 2_048 * GIB
HOST_DISK_BYTES = 8_192 * GIB
DEVICE_MEMORY_BYTES = 141 * GIB
DEVICE_MODEL = "H200"
HOSTS_PER_ISLAND = 32
HOSTS_PER_RACK = 4


@dataclass(frozen=True, slots=True)
class _Run:
    """An attempt that has started; it ends at `end_us` as `outcome`."""

    started_us: int
    end_us: int
    outcome: AttemptOutcome


class SimEngine:
    """Keeps the promises of `kumoi.engines.base.Engine` for work that does nothing."""

    placement_grain = PlacementGrain.HOST

    def __init__(self, clock: Callable[[], int], hosts: Sequence[HostReport], name: str = "sim") -> None:
        self.name = name
        self.starts = 0
        self._clock = clock
        self._hosts = {host.name: host for host in hosts}
        self._runs: dict[str, _Run] = {}
        self._by_end: list[tuple[int, str]] = []
        self._ended: dict[str, Observation] = {}
        self._refs: list[str] = []
        self._lock = threading.Lock()

    def host_change(self, report: HostReport) -> None:
        """A host reports something else from now on."""
        self._hosts[report.name] = report

    def next_end_us(self) -> int | None:
        """When the next attempt will end."""
        with self._lock:
            self._settle()
            return self._by_end[0][0] if self._by_end else None

    def ensure(self, specs: Sequence[AttemptSpec]) -> Mapping[str, EngineError | None]:
        """See `Engine.ensure`."""
        now_us = self._clock()
        with self._lock:
            for spec in specs:
                if spec.ref not in self._runs and spec.ref not in self._ended:
                    self._start(spec, now_us)
        return {spec.ref: None for spec in specs}

    def stop(self, refs: Sequence[str], _grace_s: float) -> None:
        """See `Engine.stop`."""
        now_us = self._clock()
        with self._lock:
            for ref in refs:
                run = self._runs.pop(ref, None)
                if run is not None:
                    self._end(ref, run, now_us, AttemptOutcome.CANCELLED)
                elif ref not in self._ended:
                    exit_ = ExitRecord(AttemptOutcome.CANCELLED, None, None, None, now_us)
                    self._ended[ref] = Observation(ref, Phase.ENDED, None, exit_)
                    insort(self._refs, ref)

    def ended(self, limit: int) -> Sequence[Observation]:
        """See `Engine.ended`."""
        with self._lock:
            self._settle()
            return [found for found, _ in zip(self._ended.values(), range(limit), strict=False)]

    def observe(self, cursor: str | None, limit: int) -> ObservationPage:
        """See `Engine.observe`."""
        with self._lock:
            self._settle()
            first = bisect_right(self._refs, cursor) if cursor is not None else 0
            page = self._refs[first : first + limit]
            items = tuple(self._ended.get(ref) or self._observation(ref) for ref in page)
            return ObservationPage(items, page[-1] if first + limit < len(self._refs) else None)

    def forget(self, refs: Sequence[str]) -> None:
        """See `Engine.forget`."""
        with self._lock:
            for ref in refs:
                if self._ended.pop(ref, None) is not None:
                    del self._refs[bisect_left(self._refs, ref)]

    def purge(self, refs: Sequence[str]) -> None:
        """See `Engine.purge`: nothing is left of what was forgotten."""

    def renew(self, leases: Mapping[str, int]) -> None:
        """See `Engine.renew`: the host is never away, so that no lease runs out."""

    def log_read(self, _ref: str, _stream: Stream, offset: int, _limit: int) -> LogChunk:
        """See `Engine.log_read`."""
        return LogChunk(b"", offset, ended=True)

    def hosts(self) -> Sequence[HostReport]:
        """See `Engine.hosts`."""
        return tuple(self._hosts.values())

    def endpoints(self, _refs: Sequence[str], /) -> Mapping[str, Endpoint]:
        """See `Engine.endpoints`: nothing listens."""
        return {}

    def on_change(self, nudge: Nudge) -> None:
        """See `Engine.on_change`: whoever moves the clock looks for ends himself."""

    def close(self) -> None:
        """See `Engine.close`."""

    def _start(self, spec: AttemptSpec, now_us: int) -> None:
        wall_us = spec.limits.wall_time_s * S_US
        run_us = int(float(spec.command[1]) * S_US) if spec.command[0] == "run" else wall_us
        outcome = AttemptOutcome.EXITED if run_us < wall_us else AttemptOutcome.TIMEOUT
        run = _Run(now_us, now_us + min(run_us, wall_us), outcome)
        self._runs[spec.ref] = run
        insort(self._refs, spec.ref)
        heappush(self._by_end, (run.end_us, spec.ref))
        self.starts += 1

    def _settle(self) -> None:
        """End what the clock has overtaken; forget the entries of what was stopped before."""
        now_us = self._clock()
        while self._by_end and (self._by_end[0][0] <= now_us or self._by_end[0][1] not in self._runs):
            _, ref = heappop(self._by_end)
            run = self._runs.pop(ref, None)
            if run is not None:
                self._end(ref, run, run.end_us, run.outcome)

    def _end(self, ref: str, run: _Run, at_us: int, outcome: AttemptOutcome) -> None:
        code = 0 if outcome is AttemptOutcome.EXITED else None
        exit_ = ExitRecord(outcome, code, None, run.started_us, at_us)
        self._ended[ref] = Observation(ref, Phase.ENDED, run.started_us, exit_)

    def _observation(self, ref: str) -> Observation:
        return Observation(ref, Phase.RUNNING, self._runs[ref].started_us, None)


def host_reports(count: int, devices: int = DEVICES_PER_HOST) -> list[HostReport]:
    """Hosts as a GPU region has them: eight whole devices each, four to a rack, 32 to a fabric island."""
    return [
        HostReport(
            name=f"host-{number:05d}",
            cpu_milli=HOST_CPU_MILLI,
            memory_bytes=HOST_MEMORY_BYTES,
            boot_id="boot-1",
            healthy=True,
            disk_bytes=HOST_DISK_BYTES,
            failure_domain=f"rack-{number // HOSTS_PER_RACK:05d}",
            fabric_island=f"island-{number // HOSTS_PER_ISLAND:04d}",
            devices=tuple(
                DeviceReport(
                    uuid=f"GPU-{number:05d}-{slot}",
                    kind="gpu",
                    model=DEVICE_MODEL,
                    memory_bytes=DEVICE_MEMORY_BYTES,
                    paths=(f"/dev/nvidia{slot}",),
                )
                for slot in range(devices)
            ),
        )
        for number in range(count)
    ]
