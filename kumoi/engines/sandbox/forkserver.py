# ruff: noqa: PTH103
"""The warm process that supervisors come from. It runs nothing itself and nothing depends on it.

It is started as a fresh, small Python with one end of a socket pair as its standard input, reads requests
(a length of four bytes, then JSON), answers each with one message, and ends when the other end is gone.
A supervisor has one attempt at a time. When that has ended it offers itself for another one, since the
memory that a fork has to copy costs as much as a sandbox; a few wait like that, for a short while.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import NamedTuple

from kumoi.engines.sandbox import records, wrapper
from kumoi.engines.sandbox.cgroups import Hierarchy
from kumoi.engines.sandbox.network import network_make, network_may_be_made
from kumoi.engines.sandbox.runtime import Bubblewrap, Runtime
from kumoi.engines.sandbox.task import Setting, Task

OK, REFUSED, UNAVAILABLE = "ok", "refused", "unavailable"
_CONTROL_FD = 0
_IDLE_MAX = 16
_IDLE_S = 20.0
_MESSAGE_MAX = 1 << 16
_IDLE_NOTE = b"i"


class Kind(NamedTuple):
    """What a supervisor has become for its last attempt: it cannot give itself more than it has."""

    file_bytes: int
    network: bool
    project: str

    @classmethod
    def of(cls, task: Task) -> "Kind":
        """The kind of supervisor that an attempt needs."""
        return cls(task["file_bytes"], task["network"], f"{task['organization_id']}/{task['project_id']}")

    def fits(self, other: "Kind") -> bool:
        """Whether a supervisor of this kind may become one of the other."""
        return (self.file_bytes, self.network) == (other.file_bytes, other.network)


class Pool:
    """The supervisors of this fork-server, by the descriptor of the socket on which they are asked."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._sockets: dict[int, socket.socket] = {}
        self._kinds: dict[int, Kind] = {}
        self._idle: dict[int, float] = {}
        self._poll = select.poll()
        self._poll.register(_CONTROL_FD, select.POLLIN)

    def wait(self) -> None:
        """Return when there is a request (or the end of requests)."""
        while not self._listen(_IDLE_S if self._idle else None):
            now = time.monotonic()
            for number in [number for number, since in self._idle.items() if now - since > _IDLE_S]:
                self._drop(number)

    def give(self, task: Task, lock: int) -> None:
        """Hand the attempt, with its lock, to an idle supervisor, or fork one. OSError if that fails."""
        message = json.dumps(task).encode()
        if len(message) <= _MESSAGE_MAX:
            if not self._idle:
                self._listen(0.0)
            for number in self._suitable(Kind.of(task)):
                try:
                    socket.send_fds(self._sockets[number], [message], [lock])
                    self._kinds[number] = Kind.of(task)
                    del self._idle[number]
                    return
                except OSError:
                    self._drop(number)
        self._fork(task, lock)

    def _suitable(self, kind: "Kind") -> list[int]:
        """The idle supervisors that may take an attempt of this kind, those of its project first."""
        idle = [(self._kinds[n].project != kind.project, n) for n in self._idle if self._kinds[n].fits(kind)]
        return [number for _, number in sorted(idle)]

    def _listen(self, timeout_s: float | None) -> bool:
        """Take note of supervisors that became idle or ended; True if the engine wants something."""
        asked = False
        for number, _ in self._poll.poll(None if timeout_s is None else timeout_s * 1_000):
            if number == _CONTROL_FD:
                asked = True
            elif self._sockets[number].recv(1) and len(self._idle) < _IDLE_MAX:
                self._idle[number] = time.monotonic()
            else:
                self._drop(number)
        return asked

    def _fork(self, task: Task, lock: int) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if os.fork() == 0:
                for other in (ours, *self._sockets.values()):
                    other.close()
                _become_supervisor(self._setting, task, lock, theirs)
        self._sockets[ours.fileno()] = ours
        self._kinds[ours.fileno()] = Kind.of(task)
        self._poll.register(ours.fileno(), select.POLLIN)

    def _drop(self, number: int) -> None:
        """Let go of a supervisor; one that is idle ends."""
        self._poll.unregister(number)
        self._sockets.pop(number).close()
        self._idle.pop(number, None)
        del self._kinds[number]


def frame_read(fd: int) -> bytes | None:
    """One message, or None at the end of the stream."""
    head = _read_exactly(fd, 4)
    return None if head is None else _read_exactly(fd, int.from_bytes(head, "big"))


def frame_write(fd: int, body: bytes) -> None:
    """Write one message whole."""
    data = memoryview(len(body).to_bytes(4, "big") + body)
    while data:
        data = data[os.write(fd, data) :]


def _read_exactly(fd: int, size: int) -> bytes | None:
    parts = []
    while size:
        part = os.read(fd, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def main(runtime_make: Callable[[dict[str, object]], Runtime] = Bubblewrap) -> None:
    """Serve requests until the engine closes its end."""
    wrapper.secrecy_begin()
    hello = frame_read(_CONTROL_FD)
    if hello is None:
        return
    setting = _setting(json.loads(hello), runtime_make)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.disable()
    gc.freeze()
    frame_write(_CONTROL_FD, json.dumps({"pid": os.getpid()}).encode())
    pool = Pool(setting)
    pool.wait()
    while (request := frame_read(_CONTROL_FD)) is not None:
        answers = {task["ref"]: _begin(setting, pool, task) for task in json.loads(request)["start"]}
        frame_write(_CONTROL_FD, json.dumps(answers).encode())
        pool.wait()


def _setting(hello: dict[str, object], runtime_make: Callable[[dict[str, object]], Runtime]) -> Setting:
    """The engine's setting, with what every attempt shares made once."""
    mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if os.getuid() == 0:
        os.setgroups([])
    runtime = runtime_make(hello)
    hierarchy, groups = None, hello["cgroups"]
    if isinstance(groups, dict):
        hierarchy = Hierarchy(**groups)
        for group in hierarchy.supervisors():
            os.makedirs(group, mode=0o755, exist_ok=True)
    return Setting(
        layout=records.Layout(str(hello["tasks"])),
        files_root=str(hello["files_root"]),
        nudge=str(hello["nudge"]),
        boot_id=str(hello["boot_id"]),
        hierarchy=hierarchy,
        makes_network=os.getuid() == 0 and network_may_be_made(),
        mounts_fd=mounts,
        attempts_max=int(str(hello["attempts_max"])),
        runtime=runtime,
    )


def _begin(setting: Setting, pool: Pool, task: Task) -> list[str]:
    """Give one attempt to a supervisor, unless it was there, was stopped, or is too late."""
    ref = task["ref"]
    layout = setting.layout
    try:
        lock = records.lock_take(layout, ref, create=True)
    except BlockingIOError:
        if records.attempt_state(layout, ref) in (records.STARTED, records.ENDED):
            return [OK, ""]
        return [UNAVAILABLE, f"the attempt {ref} is being looked at by somebody else; ask again"]
    except OSError as error:
        return [UNAVAILABLE, f"the lock of the attempt {ref} cannot be taken ({error})"]
    try:
        return _begin_locked(setting, pool, task, lock)
    except OSError as error:
        return [UNAVAILABLE, f"the supervisor of the attempt {ref} cannot be started ({error}); ask again"]
    finally:
        os.close(lock)


def _begin_locked(setting: Setting, pool: Pool, task: Task, lock: int) -> list[str]:
    ref = task["ref"]
    layout = setting.layout
    state = records.attempt_state(layout, ref)
    if state == records.STARTED:
        return [OK, ""]
    if state == records.STOPPED:
        records.attempt_end(layout, ref, wrapper.never_started("cancelled", "stopped before its start", task))
        return [OK, ""]
    if state == records.FRESH and time.time_ns() // 1_000 < task["start_before_us"]:
        if task["lease_expires_us"] is not None:
            directory = records.attempt_make(layout, ref)
            lease = str(task["lease_expires_us"]).encode()
            records.file_replace(f"{directory}/lease", lease, durable=False)
        pool.give(task, lock)
        return [OK, ""]
    if state == records.ENDED:
        records.attempt_recall(layout, ref)
    records.attempt_leave(layout, ref)
    if state == records.ENDED:
        return [OK, ""]
    if state == records.PURGED:
        return [REFUSED, f"the attempt {ref} ended and was purged; it never starts again"]
    return [REFUSED, f"the time to start the attempt {ref} has passed; make a new attempt"]


def _become_supervisor(setting: Setting, task: Task, lock: int, offers: socket.socket) -> None:
    """In the child: a session of its own, and never back into the loop of the fork-server.

    A supervisor that has had its share of attempts does not offer itself again: what it was given then
    would be lost.
    """
    wake = network_of = None
    try:
        for left in reversed(range(setting.attempts_max)):
            with wrapper.failure_told(setting, task, lock):
                if wake is None:
                    wake = _detach(setting, task)
                if setting.makes_network and not task["network"]:
                    network_of = _network_ensure(task, network_of)
                wrapper.run(setting, task, lock, wake)
            os.close(lock)
            given = _offer(offers) if left else None
            if given is None:
                break
            task, lock = given
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(0)


def _network_ensure(task: Task, network_of: str | None) -> str | None:
    """Have an empty network for the attempt; the project that may use it again.

    That of a serving attempt is for it alone: the gateway may still hold the way into the one before.
    """
    project = Kind.of(task).project
    serves = task["port"] is not None
    if serves or network_of != project:
        network_make()
    return None if serves else project


def _detach(setting: Setting, task: Task) -> int:
    """Leave the fork-server's session and its socket; see `wrapper.prepare`."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, _CONTROL_FD)
    os.close(null)
    return wrapper.prepare(setting, task["file_bytes"] if setting.runtime.limits_files else None)


def _offer(offers: socket.socket) -> tuple[Task, int] | None:
    """The next attempt and its lock; None when the fork-server wants no more of this supervisor."""
    try:
        offers.send(_IDLE_NOTE)
        message, descriptors, _, _ = socket.recv_fds(offers, _MESSAGE_MAX, 1)
    except (BrokenPipeError, ConnectionResetError):
        return None
    if not message:
        return None
    os.set_inheritable(descriptors[0], False)  # what comes through a socket would reach the task
    return json.loads(message), descriptors[0]
