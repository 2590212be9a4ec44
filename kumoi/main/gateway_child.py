"""The gateway as a child of the plane: started when there is something to carry, and left to itself then."""

import contextlib
import fcntl
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from kumoi.gateway.haproxy_process import pid_end, pids_of
from kumoi.main.memory_place import closed_ensure, memory_place

STARTED_S = 10.0
"""A gateway that does not answer for so long is ended and started again."""
PAUSE_MAX_S = 60.0
ANSWER_S = 2.0
_QUESTION = b"GET /report?wait_ms=0 HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "PYTHONPATH")
"""What a gateway is given of the plane's environment, which may hold secrets."""

_log = logging.getLogger("kumoi")


class _Found(msgspec.Struct):
    """What a gateway writes beside its control socket."""

    pid: int
    listen: str


class GatewayChild:
    """Starts `kumoi gateway` in a session of its own: it outlives this process, and the next one finds it."""

    def __init__(self, data_dir: Path, listen: str) -> None:
        self.control = data_dir / "run" / "gateway.sock"
        self.memory = memory_place(data_dir)
        self._state = self.memory / "gateway"
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None
        self._next_s = 0.0
        self._pause_s = 1.0
        self._mute_s: float | None = None

    def ensure(self) -> None:
        """Start it, unless one answers or was started a moment ago. A failure is logged, and tried again."""
        now_s = time.monotonic()
        is_up = self._process is not None and self._process.poll() is None
        if now_s < self._next_s:
            return
        with self._lock():
            if self.answers():
                self._pause_s = 1.0
                self._mute_s = None
                return
            pid = self._pid()
            if pid is not None or is_up:
                self._mute_s = self._mute_s or now_s
                if now_s - self._mute_s >= STARTED_S:
                    _log.warning("the gateway does not answer at %s and is ended", self.control)
                    self._signal(pid, signal.SIGKILL)
                    self._mute_s = None
                return
            self._next_s = now_s + self._pause_s
            self._pause_s = min(self._pause_s * 2, PAUSE_MAX_S)
            try:
                self._start()
            except OSError as error:
                _log.error("the gateway cannot be started: %s", error)

    def answers(self) -> bool:
        """Whether a gateway answers at the control socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(ANSWER_S)
            try:
                probe.connect(str(self.control))
                probe.sendall(_QUESTION)
                return bool(probe.recv(1))
            except OSError:
                return False

    def end(self) -> None:
        """End the gateway with all that is its own. For one that has nothing to carry."""
        with self._lock():
            pid = self._pid()
            self._signal(pid, signal.SIGTERM)
            if pid is not None:
                _ended_wait(pid)
            if self._process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STARTED_S)
            if self._pid() is None:
                # One that was killed has left its HAProxy behind.
                for haproxy in pids_of(self._state / "haproxy"):
                    pid_end(haproxy, signal.SIGTERM)
                shutil.rmtree(self.memory, ignore_errors=True)

    def _pid(self) -> int | None:
        """The gateway that runs, whether or not it answers."""
        try:
            found = msgspec.json.decode(self.control.with_suffix(".json").read_bytes(), type=_Found)
            words = Path(f"/proc/{found.pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, msgspec.MsgspecError):
            return None
        return found.pid if os.fsencode(self.control) in words else None

    def _signal(self, pid: int | None, number: signal.Signals) -> None:
        """To the gateway that runs, or to the one that this process is starting."""
        if pid is None and self._process is not None and self._process.poll() is None:
            pid = self._process.pid
        if pid is not None:
            pid_end(pid, number)

    def _start(self) -> None:
        closed_ensure(self.memory)
        command = [sys.executable, "-m", "kumoi.main", "gateway", "--listen", self._listen]
        command += ["--state-dir", str(self._state), "--control", str(self.control)]
        with self._messages() as messages:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                start_new_session=True,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            )
        _log.info("the gateway was started as process %d", self._process.pid)

    def _messages(self) -> IO[bytes]:
        """Its messages go to a file of their own: they must not end with this process."""
        place = self.control.with_name("gateway.log")
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "wb")

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """Planes that share a data directory look and start one after the other."""
        place = self.control.with_name("gateway.lock")
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _ended_wait(pid: int) -> None:
    """Wait until a process has ended, for as long as a gateway may take."""
    with contextlib.suppress(ProcessLookupError):
        process = os.pidfd_open(pid)
        try:
            select.select([process], [], [], STARTED_S)
        finally:
            os.close(process)
