"""What engines on this machine share: supervisors do the work, records tell of it, nothing else is kept.

An engine object holds no state that matters: everything is in its directory, so another one finds it all
again. docs/engines/sandbox.md says what each crash leaves behind.
"""

import bisect
import contextlib
import json
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kumoi.engines.base import (
    AttemptSpec,
    DeviceReport,
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
from kumoi.engines.sandbox import forkserver, probe, records
from kumoi.engines.sandbox.cgroups import RETRY_ROUNDS, Hierarchy
from kumoi.engines.sandbox.channel import Channel
from kumoi.engines.sandbox.endpoints import Networks
from kumoi.engines.sandbox.nudges import Nudges
from kumoi.engines.sandbox.recovery import attempt_resolve
from kumoi.engines.sandbox.specs import project_uid
from kumoi.engines.sandbox.task import Task
from kumoi.engines.sandbox.volume import log_open, logs_remove
from kumoi.model.jobs import AttemptOutcome
from kumoi.model.routes import Endpoint
from kumoi.model.time import US_PER_S

SUPERVISOR_ATTEMPTS_MAX = 200
DISK_FREE_BYTES_MIN = 256 << 20
DISK_FREE_FILES_MIN = 10_000
TOMBSTONE_UNKNOWN_US = 7 * 86_400 * US_PER_S
"""How long a purged attempt is refused when it was stopped before anybody said until when it may start."""

_SWEEP_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True)
class HostOffer:
    """What this machine offers through an engine, under the name of a host."""

    name: str
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int


class LocalEngine(ABC):
    """Runs attempts on this machine, each under a supervisor of its own.

    Records are in `state_dir/tasks`, what lives as long as a plane in `state_dir/run`; both are there.
    `hierarchy` are the control groups, None where there are none. `uid_base` is None where the plane is not
    root. `program` starts the fork-server.
    """

    name: str
    placement_grain = PlacementGrain.HOST

    def __init__(
        self,
        state_dir: Path,
        incarnation: str,
        offer: HostOffer,
        *,
        files_root: Path,
        uid_base: int | None,
        hierarchy: Hierarchy | None,
        program: str,
    ) -> None:
        self._run_dir = state_dir / "run"
        self._files_root = files_root
        self._uid_base = uid_base
        self._hierarchy = hierarchy
        self._layout = records.Layout(str(state_dir / "tasks"))
        self._layout.make()
        self._networks = Networks(self._layout, self.name, incarnation)
        self._boot_id = probe.boot_id()
        self._offer = offer
        self._channel = Channel(program, self._hello, self._run_dir / "forkserver.err")
        self._nudges: Nudges | None = None
        self._swept_at: float | None = None
        self._lock = threading.RLock()

    @abstractmethod
    def _task_make(self, spec: AttemptSpec) -> Task:
        """The fork-server's form of `spec`. StartRefused if it can never be, EngineError if not now."""

    @abstractmethod
    def _runtime_hello(self) -> dict[str, object]:
        """What the fork-server must know of this engine's way to run commands."""

    @abstractmethod
    def _problems(self) -> list[str]:
        """What makes this host unfit, with what to do."""

    def _devices_found(self) -> Sequence[DeviceReport]:
        """The devices that this host offers."""
        return ()

    @abstractmethod
    def _outlived(self, ref: str, /) -> bool:
        """Remove what outlived the attempt's supervisor outside of its control groups; whether it is gone."""

    @abstractmethod
    def _sweep_more(self) -> None:
        """What else is to be looked after now and then."""

    def ensure(self, specs: Sequence[AttemptSpec]) -> Mapping[str, EngineError | None]:
        """See `Engine.ensure`. One round trip to the fork-server for all of them."""
        answers: dict[str, EngineError | None] = {}
        tasks = []
        for spec in specs:
            try:
                tasks.append(self._task_make(spec))
            except EngineError as error:
                answers[spec.ref] = error
        if not tasks:
            return answers
        try:
            replies = self._channel.start(tasks)
        except EngineUnavailable as error:
            return {**answers, **{task["ref"]: error for task in tasks}}
        for ref, (kind, text) in replies.items():
            refusal = StartRefused(text) if kind == forkserver.REFUSED else EngineUnavailable(text)
            answers[ref] = None if kind == forkserver.OK else refusal
        return answers

    def stop(self, refs: Sequence[str], grace_s: float) -> None:
        """See `Engine.stop`. The wish is durable before the supervisor is told. One that is there already and
        gives no more time, is not written again. EngineUnavailable if some could not be asked, after the
        others were."""
        failures = []
        for ref in filter(ref_is_valid, refs):
            try:
                self._stop_one(ref, max(grace_s, 0.0))
            except OSError as error:
                failures.append(f"{ref} ({error})")
        if failures:
            raise EngineUnavailable(f"{len(failures)} attempts cannot be stopped now, such as {failures[0]}")

    def ended(self, limit: int) -> Sequence[Observation]:
        """See `Engine.ended`. One scan of a directory that holds only what nobody forgot yet."""
        aged = sorted(_aged(self._layout.ended))
        found = (self._observation_ended(ref) for _, ref in aged[:limit])
        return [observation for observation in found if observation is not None]

    def observe(self, cursor: str | None, limit: int) -> ObservationPage:
        """See `Engine.observe`. Attempts whose supervisor was killed are found, and ended, here; if that
        cannot be done (a process that does not die) or written down (a full disk) they are told as running
        until it can."""
        if cursor is None:
            self._sweep()
        refs = sorted({*_names(self._layout.live), *_names(self._layout.ended)})
        start = bisect.bisect_right(refs, cursor) if cursor is not None else 0
        page = refs[start : start + limit]
        found = (self._observation(ref) for ref in page)
        items = tuple(observation for observation in found if observation is not None)
        return ObservationPage(items, page[-1] if start + limit < len(refs) and page else None)

    def forget(self, refs: Sequence[str]) -> None:
        """See `Engine.forget`."""
        for ref in filter(ref_is_valid, refs):
            records.attempt_forget(self._layout, ref)

    def purge(self, refs: Sequence[str]) -> None:
        """See `Engine.purge`. Keeps a name of what might still be asked to start. EngineUnavailable if the
        volumes of some are not mounted, after the others were removed."""
        missing = []
        with self._lock:
            for ref in filter(ref_is_valid, refs):
                record = records.record_read(f"{self._layout.done}/{ref}")
                if record is None:
                    continue
                try:
                    self._logs_remove(ref, record)
                except OSError as error:
                    missing.append(f"{ref} ({error})")
                    continue
                until_us = (record.exit or {}).get("start_before_us")
                if not isinstance(until_us, int):
                    until_us = _now_us() + TOMBSTONE_UNKNOWN_US
                records.attempt_purge(self._layout, ref, until_us)
        self._sweep()
        if missing:
            raise EngineUnavailable(f"{len(missing)} attempts cannot be purged now, such as {missing[0]}")

    def _logs_remove(self, ref: str, record: records.Record) -> None:
        organization_id = _organization(record)
        if organization_id is not None:
            logs_remove(str(self._files_root), organization_id, ref)

    def renew(self, leases: Mapping[str, int]) -> None:
        """See `Engine.renew`."""
        for ref, expires_us in leases.items():
            if ref_is_valid(ref):
                records.lease_extend(self._layout, ref, expires_us)

    def log_read(self, ref: str, stream: Stream, offset: int, limit: int) -> LogChunk:
        """See `Engine.log_read`. EngineUnavailable if the volume that holds the log is not mounted."""
        if not ref_is_valid(ref):
            return LogChunk(b"", offset, ended=True)
        over = not Path(self._layout.live, ref).exists()
        record = records.record_find(self._layout, ref)
        organization_id = None if record is None else _organization(record)
        if organization_id is None:
            return LogChunk(b"", offset, ended=over)
        try:
            file = log_open(str(self._files_root), organization_id, ref, stream.value)
        except FileNotFoundError:
            return LogChunk(b"", offset, ended=over)
        except OSError as error:
            raise EngineUnavailable(f"the log of {ref} cannot be reached: {error}") from error
        try:
            data = os.pread(file, limit, offset)
            at_end = offset + len(data) >= os.fstat(file).st_size
        except OSError as error:
            raise EngineUnavailable(f"the log of {ref} cannot be read: {error}") from error
        finally:
            os.close(file)
        return LogChunk(data, offset + len(data), ended=over and at_end)

    def hosts(self) -> Sequence[HostReport]:
        """See `Engine.hosts`. Fit as long as its programs are there and the disk has room for records."""
        disk = os.statvfs(self._layout.tasks)
        problems = self._problems()
        if disk.f_bavail * disk.f_frsize < DISK_FREE_BYTES_MIN:
            problems.append(f"less than {DISK_FREE_BYTES_MIN >> 20} MiB are free in {self._layout.tasks}")
        if disk.f_files and disk.f_favail < DISK_FREE_FILES_MIN:
            problems.append(f"less than {DISK_FREE_FILES_MIN} files can be made in {self._layout.tasks}")
        report = HostReport(
            name=self._offer.name,
            cpu_milli=self._offer.cpu_milli,
            memory_bytes=self._offer.memory_bytes,
            boot_id=self._boot_id,
            healthy=not problems,
            detail="; ".join(problems) or self._strength(),
            disk_bytes=self._offer.disk_bytes,
            devices=tuple(self._devices_found()),
        )
        return (report,)

    def endpoints(self, refs: Sequence[str], /) -> Mapping[str, Endpoint]:
        """See `Engine.endpoints`."""
        return self._networks.endpoints(filter(ref_is_valid, refs))

    def on_change(self, nudge: Nudge) -> None:
        """See `Engine.on_change`. Ends nudge, and endpoints; other starts do not: `ensure` tells of them."""
        with self._lock:
            if self._nudges is None:
                self._nudges = Nudges(self._run_dir / "nudge", nudge)
            else:
                self._nudges.nudge = nudge

    def close(self) -> None:
        """See `Engine.close`."""
        self._channel.close()
        with self._lock:
            if self._nudges is not None:
                self._nudges.close()
                self._nudges = None

    def warm(self) -> None:
        """Start the fork-server now instead of at the first `ensure`. EngineUnavailable if it cannot be."""
        self._channel.warm()

    def project_uid(self, project_number: int) -> int | None:
        """The user that owns a project's files and runs its tasks; None if that is the plane's own."""
        return project_uid(self._uid_base, project_number)

    def _hello(self) -> dict[str, object]:
        groups = self._hierarchy
        return {
            "tasks": self._layout.tasks,
            "files_root": str(self._files_root),
            "nudge": str(self._run_dir / "nudge"),
            "boot_id": self._boot_id,
            "attempts_max": SUPERVISOR_ATTEMPTS_MAX,
            "cgroups": groups and groups.description(),
            **self._runtime_hello(),
        }

    def _strength(self) -> str:
        limits = (
            "memory and processes per process only (no writable cgroups)"
            if self._hierarchy is None
            else f"cgroup v{self._hierarchy.version}"
        )
        users = "one user for all projects (not root)" if self._uid_base is None else "a user per project"
        return f"limits: {limits}; {users}"

    def _observation(self, ref: str) -> Observation | None:
        ended = self._observation_ended(ref)
        if ended is not None:
            return ended
        with contextlib.suppress(OSError):
            self._resolve(ref, create=False)
        if Path(self._layout.live, ref).exists():
            record = records.record_read(f"{self._layout.live}/{ref}")
            started_us = record.start.get("started_us") if record and record.start else None
            return Observation(ref, Phase.RUNNING, started_us if isinstance(started_us, int) else None, None)
        return self._observation_ended(ref)

    def _observation_ended(self, ref: str) -> Observation | None:
        record = records.record_read(f"{self._layout.ended}/{ref}")
        if record is None or record.exit is None:
            return None
        exit_record = _exit_parse(record.exit)
        return Observation(ref, Phase.ENDED, exit_record.started_us, exit_record)

    def _stop_one(self, ref: str, grace_s: float) -> None:
        with self._lock:
            if records.attempt_state(self._layout, ref) in (records.ENDED, records.PURGED):
                return
            path = f"{records.attempt_make(self._layout, ref)}/stop"
            asked_s = (records.json_read(path) or {}).get("grace_s")
            if not isinstance(asked_s, int | float) or asked_s > grace_s:
                wish = json.dumps({"version": records.VERSION, "grace_s": grace_s}).encode()
                records.file_replace(path, wish, durable=True)
        try:
            self._resolve(ref, create=True)
        except BlockingIOError:
            self._signal(ref)

    def _resolve(self, ref: str, *, create: bool) -> None:
        """Bring an attempt without a supervisor to rest. BlockingIOError if it has one."""
        try:
            lock = records.lock_take(self._layout, ref, create=create)
        except FileNotFoundError:
            return
        try:
            attempt_resolve(self._layout, self._hierarchy, ref, self._boot_id, self._outlived)
        finally:
            os.close(lock)
        if self._uid_base is not None:
            self._networks.take_away(ref)

    def _signal(self, ref: str) -> None:
        """Tell the supervisor to look for a stop. One that has not written its name yet looks by itself; one
        that has taken up another attempt meanwhile looks in vain."""
        record = records.record_read(f"{self._layout.live}/{ref}")
        pid = record.start.get("pid") if record and record.start else None
        if not isinstance(pid, int):
            return
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            try:
                if records.SUPERVISOR in (records.file_read(f"/proc/{pid}/cmdline") or b""):
                    signal.pidfd_send_signal(process, signal.SIGUSR1)
            finally:
                os.close(process)

    def _sweep(self) -> None:
        """Now and then: try again to remove groups and names of networks of attempts that ended, and drop
        tombstones that are over. Groups of which nothing is known here are somebody else's."""
        with self._lock:
            if self._swept_at is not None and time.monotonic() - self._swept_at < _SWEEP_INTERVAL_S:
                return
            self._swept_at = time.monotonic()
        if self._hierarchy is not None:
            for ref in self._hierarchy.attempts():
                if records.attempt_state(self._layout, ref) in (records.ENDED, records.PURGED):
                    self._hierarchy.remove(ref, rounds=RETRY_ROUNDS)
        if self._uid_base is not None:
            self._networks.sweep()
        self._sweep_more()
        for ref in _names(self._layout.purged):
            until = records.file_read(f"{self._layout.purged}/{ref}")
            if until is not None and until.isdigit() and int(until) < _now_us():
                Path(self._layout.purged, ref).unlink(missing_ok=True)


def _aged(directory: str) -> Iterator[tuple[int, str]]:
    """Age and name of what is in a directory; others may be removing it meanwhile."""
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                yield entry.stat().st_mtime_ns, entry.name


def _names(directory: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry.name


def _organization(record: records.Record) -> str | None:
    """Whose attempt it was; None if it never began."""
    found = (record.start or {}).get("organization_id")
    return found if isinstance(found, str) and ref_is_valid(found) else None


def _exit_parse(record: dict[str, object]) -> ExitRecord:
    """An exit record as it was written, of this version or an older one."""

    def number(name: str) -> int | None:
        value = record.get(name)
        return value if isinstance(value, int) else None

    return ExitRecord(
        outcome=AttemptOutcome(str(record["outcome"])),
        exit_code=number("exit_code"),
        signal=number("signal"),
        started_us=number("started_us"),
        ended_us=number("ended_us") or 0,
        cpu_us=number("cpu_us") or 0,
        memory_peak_bytes=number("memory_peak_bytes") or 0,
        detail=str(record.get("detail", "")),
    )


def _now_us() -> int:
    return time.time_ns() // 1_000
