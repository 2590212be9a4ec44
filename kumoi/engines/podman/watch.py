"""The supervisor's wait for a container: first for podman to start it, then for its monitor to end."""

import contextlib
import json
import os
import select
import shutil
import signal
import time

from kumoi.engines.podman.command import Podman, podman_run
from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.cgroups import Hierarchy
from kumoi.engines.sandbox.task import Launched, Setting, Task
from kumoi.engines.sandbox.watch import Watch, process_children

LAUNCH_TIMEOUT_S = 60.0
INSPECT_TIMEOUT_S = 20.0
REMOVE_TIMEOUT_S = 30.0
REMOVE_TRIES = 2
"""podman says the first time of a container that died with its monitor that it cannot be stopped."""

_CLEANUP_S = 10.0
_PAUSE_S = 0.01
_KILLED_STATUS = 9


class ContainerWatch(Watch):
    """Waits for one container. podman starts it and goes; conmon, which becomes our child, ends after it."""

    def __init__(
        self,
        podman: Podman,
        groups: Hierarchy,
        setting: Setting,
        task: Task,
        launched: Launched,
        oom: int | None,
        wake: int,
        place: str,
    ) -> None:
        super().__init__(setting, task, launched, oom, wake)
        self.out_of_memory = False
        self._podman = podman
        self._groups = groups
        self._ref = task["ref"]
        self._name = task["name"]
        self._place = place
        self._started_by = time.monotonic() + LAUNCH_TIMEOUT_S
        self._podman_status: int | None = None

    def finish(self) -> tuple[int, int, int]:
        """Wait until everything is gone, ask how it ended, remove it: (status, 0, 0). The status is podman's
        if it did not start the container, else that of a killed process; `exit_code` is the container's."""
        until = time.monotonic() + _CLEANUP_S
        while self._groups.members(self._ref) and time.monotonic() < until:
            self._kill()
            select.select([], [], [], _PAUSE_S)
        self.ended_us = time.time_ns() // 1_000
        _children_end()
        if self.set_up:
            self._inspect()
        for _ in range(REMOVE_TRIES):
            if podman_run(self._podman, remove_arguments(self._name), REMOVE_TIMEOUT_S) is not None:
                break
        shutil.rmtree(self._place, ignore_errors=True)
        if self._pidfd != self._launched.pidfd:
            os.close(self._pidfd)
        self._close()
        status = self._podman_status
        return _KILLED_STATUS if self.set_up or status is None else status, 0, 0

    def _inspect(self) -> None:
        """Learn the exit code; None stays if nobody saw it, such as when conmon was killed."""
        arguments = ["container", "inspect", "--format", "{{json .State}}", self._name]
        told = podman_run(self._podman, arguments, INSPECT_TIMEOUT_S)
        with contextlib.suppress(ValueError):
            state = json.loads(told or b"")
            self.out_of_memory = state.get("OOMKilled") is True
            if state.get("Status") == "exited" and isinstance(state.get("ExitCode"), int):
                self.exit_code = state["ExitCode"]

    def _is_over(self) -> bool:
        if self._podman_status is not None:
            return True
        _, self._podman_status = os.waitpid(self._launched.pid, 0)
        if self._podman_status != 0:
            return True
        self.set_up = True
        self._poll.unregister(self._launched.pidfd)
        try:
            self._pidfd = os.pidfd_open(int(records.file_read(f"{self._directory}/conmon") or b"0"))
        except (OSError, ValueError):
            return True
        self._poll.register(self._pidfd, select.POLLIN)
        return False

    def _time_check(self) -> None:
        if self._podman_status is None and time.monotonic() >= self._started_by:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._launched.pidfd, signal.SIGKILL)
            if self.cause is None:
                self._end("host_lost", 0.0)
        super()._time_check()

    def _timeout_ms(self) -> int:
        left_ms = super()._timeout_ms()
        if self._podman_status is not None:
            return left_ms
        return min(left_ms, max(int((self._started_by - time.monotonic()) * 1_000) + 1, 20))

    def _kill(self) -> None:
        """End what is in the container. While podman is starting it there may be nothing yet: asked again."""
        for member in self._groups.members(self._ref):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)

    def _term(self) -> bool:
        """SIGTERM to the container's first process, which passes it on; False while it cannot take it."""
        if not self.set_up:
            return False
        for member in self._groups.members(self._ref):
            if first_takes_signals(member):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member, signal.SIGTERM)
                return True
        return False


def remove_arguments(name: str) -> list[str]:
    """What removes a container, running or not; one that is not there is no failure."""
    return ["rm", "--force", "--ignore", "--time", "0", name]


def first_takes_signals(pid: int) -> bool:
    """Whether it is the first of its namespace of processes, and holds SIGTERM back until it reads it.

    Only then is it catatonit, ready: before that the kernel drops the signal (`NSpid` and `SigBlk` in
    /proc/PID/status, proc(5); pid_namespaces(7)).
    """
    status = (records.file_read(f"/proc/{pid}/status") or b"").splitlines()
    fields = {name: value.split() for name, _, value in (line.partition(b":") for line in status)}
    if fields.get(b"NSpid", [b""])[-1] != b"1":
        return False
    return bool(int(fields[b"SigBlk"][0], 16) & 1 << signal.SIGTERM - 1)


def _children_end() -> None:
    """Wait for conmon, and for what it starts to clean up; what takes too long is killed."""
    until = time.monotonic() + _CLEANUP_S
    while time.monotonic() < until:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            select.select([], [], [], _PAUSE_S)
    for child in process_children(os.getpid()):
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
