"""The supervisor's wait: logs, stops, wall time, lease and memory, without polling."""

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Callable

from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.task import Launched, Setting, Task
from kumoi.engines.sandbox.volume import log_create, logs_open

US_PER_S = 1_000_000
WALL_GRACE_S = 2.0
SHUTDOWN_GRACE_S = 5.0
LEASE_MARGIN_US = 500_000
"""A lease ends its attempt this much early: whoever takes the work over may start on time."""

_LEASE_LOOK_S = 10.0
_POLL_MS_MAX = 86_400_000
_SIGNAL_RETRY_S = 0.02
_CHUNK = 1 << 16


class Logs:
    """Moves both streams from their pipes to files, up to a common limit; the rest is read and dropped."""

    def __init__(self, files_root: str, task: Task, stdout: int, stderr: int) -> None:
        self._ref = task["ref"]
        self._names = {stdout: "stdout", stderr: "stderr"}
        self._files: dict[int, int] = {}
        self._room = task["log_bytes"]
        self._directory: int | None = None
        self.open = {stdout, stderr}
        self.note = ""
        self.complaint = ""
        try:
            self._directory = logs_open(files_root, task["organization_id"])
        except OSError as error:
            self._cut(error)

    def pump(self, pipe: int) -> bool:
        """Move what is there now; False when there is nothing (more)."""
        try:
            moved = self._keep(pipe) if self._room > 0 else len(os.read(pipe, _CHUNK))
        except BlockingIOError:
            return False
        if moved == 0:
            self.open.discard(pipe)
        return moved > 0

    def _keep(self, pipe: int) -> int:
        if pipe not in self._files:
            first = os.read(pipe, min(_CHUNK, self._room))
            return self._first(pipe, first) if first else 0
        try:
            return self._count(os.splice(pipe, self._files[pipe], min(_CHUNK, self._room)))
        except BlockingIOError:
            raise
        except OSError as error:
            return self._cut(error)

    def _first(self, pipe: int, content: bytes) -> int:
        """Make the file of a stream that has something to say."""
        assert self._directory is not None
        try:
            self._files[pipe] = log_create(self._directory, self._ref, self._names[pipe])
            return self._count(os.write(self._files[pipe], content))
        except OSError as error:
            return self._cut(error)

    def _cut(self, error: OSError) -> int:
        """Keep no more."""
        self._room = 0
        self.note = f"log cut: {error.strerror or error}"
        return 1

    def _count(self, moved: int) -> int:
        self._room -= moved
        if self._room <= 0:
            self.note = "log cut at its limit"
        return moved

    def close(self) -> None:
        """Move what is left after every writer is gone, and let go of pipes and files.

        `complaint` is then the beginning of what was written to the standard error.
        """
        pipes = tuple(self._names)
        for pipe in pipes:
            while self.pump(pipe):
                pass
        for pipe, file in self._files.items():
            if self._names[pipe] == "stderr":
                with contextlib.suppress(OSError):
                    self.complaint = os.pread(file, _CHUNK, 0).decode(errors="replace").strip()
        for descriptor in (*pipes, *self._files.values(), self._directory):
            if descriptor is not None:
                with contextlib.suppress(OSError):  # what could not be written is told at the end
                    os.close(descriptor)


class Watch:
    """Waits for one sandbox to end and ends it when it must. `cause` says why, None if by itself; `ended_us`
    is when everything of it was gone, microseconds UTC.

    `on_set_up` gets the first that bubblewrap tells, as soon as it does.
    """

    def __init__(
        self,
        setting: Setting,
        task: Task,
        launched: Launched,
        oom: int | None,
        wake: int,
        on_set_up: Callable[[dict[str, object]], None] | None = None,
    ) -> None:
        self.cause: str | None = None
        self.exit_code: int | None = None
        self.ended_us = 0
        self.set_up = False
        self._directory = setting.layout.attempt(task["ref"])
        self._launched = launched
        self._pidfd = launched.pidfd
        self._poll = select.poll()
        self._oom = oom
        self._wake = wake
        self._has_lease = task["lease_expires_us"] is not None
        self._wall_at = time.monotonic() + task["wall_time_s"]
        self._kill_at: float | None = None
        self._term_due = False
        self._status = b""
        self._on_set_up = on_set_up
        self.logs = Logs(setting.files_root, task, launched.stdout, launched.stderr)

    def wait(self) -> None:
        """Return when bubblewrap has exited; processes of the sandbox may still be dying."""
        poll = self._poll
        watched = [self._wake, self._launched.pidfd, self._launched.stdout, self._launched.stderr]
        for descriptor in watched if self._oom is None else [*watched, self._oom]:
            poll.register(descriptor, select.POLLIN)
        if self._on_set_up is not None:
            poll.register(self._launched.status, select.POLLIN)
        self._stop_check()
        while True:
            for descriptor, _ in poll.poll(self._timeout_ms()):
                if descriptor == self._pidfd:
                    if self._is_over():
                        return
                    continue
                if descriptor in self.logs.open:
                    self.logs.pump(descriptor)
                    if descriptor not in self.logs.open:
                        poll.unregister(descriptor)
                elif descriptor == self._wake:
                    self._woken()
                elif descriptor == self._launched.status:
                    if self._told():
                        poll.unregister(descriptor)
                elif descriptor == self._oom:
                    poll.unregister(descriptor)
                    self._end("memory", 0.0)
            self._time_check()

    def finish(self) -> tuple[int, int, int]:
        """Wait until everything is gone, and close: (status, CPU microseconds, peak memory in bytes).

        `set_up` says whether it got so far that the command can have run at all; `exit_code` is None unless
        bubblewrap saw the command begin, and end. It writes `child-pid` before it lets its child go on.
        """
        reaped = _reap(self._launched.pid)
        self.ended_us = time.time_ns() // 1_000
        self._status_read()
        for line in self._status.splitlines():
            with contextlib.suppress(ValueError):  # it was killed while it wrote
                told = json.loads(line)
                self.set_up = self.set_up or "child-pid" in told
                self.exit_code = told.get("exit-code", self.exit_code)
        self._close()
        return reaped

    def _close(self) -> None:
        """The rest of the logs; then nothing is open any more."""
        self.logs.close()
        os.close(self._launched.status)
        os.close(self._launched.pidfd)

    def _is_over(self) -> bool:
        """Whether the sandbox has ended, now that its process has."""
        return True

    def _kill(self) -> None:
        """End all of it."""
        signal.pidfd_send_signal(self._launched.pidfd, signal.SIGKILL)

    def _told(self) -> bool:
        """Pass on the first line of the status; False while it is not whole, but may become so."""
        at_end = self._status_read()
        first, whole, _ = self._status.partition(b"\n")
        if whole and self._on_set_up is not None:
            self._on_set_up(json.loads(first))
        return at_end or bool(whole)

    def _woken(self) -> None:
        if signal.SIGTERM in os.read(self._wake, _CHUNK) and self.cause is None:
            self._end("host_lost", SHUTDOWN_GRACE_S)
        self._stop_check()

    def _stop_check(self) -> None:
        stop = records.json_read(f"{self._directory}/stop")
        if stop is not None:
            grace = stop.get("grace_s")
            self._end("cancelled", float(grace) if isinstance(grace, int | float) else 0.0)

    def _end(self, cause: str, grace_s: float) -> None:
        """SIGTERM now, SIGKILL after the grace. The first cause stays; a shorter grace wins."""
        if self.cause is None:
            self.cause = cause
            self._term_due = grace_s > 0
        kill_at = time.monotonic() + grace_s
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        self._time_check()

    def _time_check(self) -> None:
        now = time.monotonic()
        if self._kill_at is None:
            if now >= self._wall_at:
                self._end("timeout", WALL_GRACE_S)
            elif self._has_lease and self._lease_left_s() <= 0:
                self._end("lease_lost", 0.0)
            return
        if now >= self._kill_at:
            self._kill()
            self._kill_at = now + _SIGNAL_RETRY_S
        elif self._term_due:
            self._term_due = not self._term()

    def _lease_left_s(self) -> float:
        lease = records.file_read(f"{self._directory}/lease") or b"0"
        return (int(lease) - LEASE_MARGIN_US - time.time_ns() // 1_000) / US_PER_S

    def _timeout_ms(self) -> int:
        if self._kill_at is not None:
            left = self._kill_at - time.monotonic()
            left = min(left, _SIGNAL_RETRY_S) if self._term_due else left
        else:
            left = self._wall_at - time.monotonic()
            if self._has_lease:
                left = min(left, self._lease_left_s(), _LEASE_LOOK_S)
        # poll(2) takes 24 days at most, and a wall time may be longer.
        return min(max(int(left * 1_000) + 1, 0), _POLL_MS_MAX)

    def _term(self) -> bool:
        """Send SIGTERM to the process group of the command; False while the sandbox is being set up."""
        self._status_read()
        first = self._status.partition(b"\n")[0]
        if not first.endswith(b"}"):
            return False
        inner = json.loads(first)["child-pid"]
        try:
            if not process_children(inner):
                return False
            os.killpg(inner, signal.SIGTERM)
        except ProcessLookupError:
            return False
        return True

    def _status_read(self) -> bool:
        """Read what bubblewrap has told; whether it will tell no more."""
        try:
            while part := os.read(self._launched.status, _CHUNK):
                self._status += part
        except BlockingIOError:
            return False
        return True


def _reap(pid: int) -> tuple[int, int, int]:
    """Wait until bubblewrap and everything of its sandbox is gone: (status, CPU microseconds, peak memory).

    The sandbox's first process becomes our child when bubblewrap has exited, and the kernel lets it end
    only after every process in its namespace. It is killed here: it asks for its parent's death signal only
    when it has begun, which is too late if bubblewrap was ended before.
    """
    _, status, usage = os.wait4(pid, 0)
    cpu_s, peak_kib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
    for child in process_children(os.getpid()):
        os.kill(child, signal.SIGKILL)
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return status, int(cpu_s * US_PER_S), peak_kib * 1_024
        cpu_s += usage.ru_utime + usage.ru_stime
        peak_kib = max(peak_kib, usage.ru_maxrss)


def process_children(pid: int) -> list[int]:
    """The children of a process."""
    listed = records.file_read(f"/proc/{pid}/task/{pid}/children")
    if listed is not None:
        return [int(child) for child in listed.split()]
    found = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            stat = records.file_read(f"/proc/{entry.name}/stat") if entry.name.isdigit() else None
            if stat and int(stat.rpartition(b")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found
