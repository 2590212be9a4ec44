"""The supervisor of one attempt: starts it, holds it to its limits, records its end, survives everybody.

It takes over the attempt's lock from the fork-server. The order of its steps is what makes "at most once"
true: `started` is durable, and a stop was looked for, before the command can run; every process of the
sandbox is gone before the exit record is written. docs/engines/sandbox.md has the table of crashes.
"""

import contextlib
import errno
import functools
import os
import resource
import select
import signal
import time
from collections.abc import Iterator
from types import FrameType

from kumoi.engines.sandbox import records, serving
from kumoi.engines.sandbox.cgroups import Limits, group_enter
from kumoi.engines.sandbox.launch import LIBC
from kumoi.engines.sandbox.task import Setting, Task

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
OOM_SCORE = b"500"
"""When the whole machine is out of memory the tasks, who inherit it, go before everything else."""

OPEN_FILES = (1_024, 16_384)
FILE_BYTES_MIN = 1 << 20
"""The least limit of a file's size: the supervisor, which writes the records, is under it too."""

_DETAIL_MAX = 400
_END_TRIES = 8_640
_END_RETRY_S = 10.0


def secrecy_begin() -> None:
    """Secrets pass through this process and its children: no core of it, and no look into its memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    LIBC.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def prepare(setting: Setting, file_bytes: int | None) -> int:
    """Make the calling process fit to supervise; a descriptor that is readable when a signal came.

    `file_bytes` limits what it and the task may write to one file.
    """
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if setting.hierarchy is not None:
        group_enter(setting.hierarchy.supervisors())
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else the file belongs to root
    records.file_create("/proc/self/oom_score_adj", OOM_SCORE, 0, durable=False)
    secrecy_begin()
    limits = [(resource.RLIMIT_NOFILE, *OPEN_FILES)]
    if file_bytes is not None:
        largest = max(file_bytes, FILE_BYTES_MIN)
        limits.append((resource.RLIMIT_FSIZE, largest, largest))
    for which, soft, hard in limits:
        _, ceiling = resource.getrlimit(which)
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))
    return _wake_make()


@contextlib.contextmanager
def failure_told(setting: Setting, task: Task, lock: int) -> Iterator[None]:
    """Whatever goes wrong before the attempt's first line is durable ends it as START_FAILED, under its
    lock; afterwards the engine finds the line without an end, and says what became of it."""
    try:
        yield
    except BaseException as error:
        if not os.fstat(lock).st_size:
            detail = f"the supervisor cannot start it: {error}"[:_DETAIL_MAX]
            _end(setting.layout, task["ref"], never_started("start_failed", detail, task))
            nudge_send(setting.nudge)
        raise


def run(setting: Setting, task: Task, lock: int, wake: int) -> None:
    """Supervise one attempt from its start to its record."""
    layout, ref = setting.layout, task["ref"]
    if os.fstat(lock).st_size:
        return
    started_us = _now_us()
    start: dict[str, object] = {
        "version": records.VERSION,
        "pid": os.getpid(),
        "boot_id": setting.boot_id,
        "organization_id": task["organization_id"],
        "started_us": started_us,
        "start_before_us": task["start_before_us"],
    }
    try:
        records.record_append(layout, ref, start)
        records.directory_sync(layout.live)
    except OSError:
        os.truncate(f"{layout.live}/{ref}", 0)
        raise
    if os.path.lexists(f"{layout.attempt(ref)}/stop"):
        line = never_started("cancelled", "stopped before its start", task)
    elif _now_us() >= task["start_before_us"]:
        line = never_started("start_failed", "the time to start had passed", task)
    else:
        line = _supervise(setting, task, wake, started_us)
    _end(layout, ref, line)
    nudge_send(setting.nudge)


def _end(layout: records.Layout, ref: str, line: dict[str, object]) -> None:
    """Write the last line; on a full disk as soon as there is room again, since nobody else knows it."""
    for _ in range(_END_TRIES):
        try:
            return records.attempt_end(layout, ref, line)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
        select.select([], [], [], _END_RETRY_S)


def never_started(outcome: str, detail: str, task: Task) -> dict[str, object]:
    """The last line of an attempt that will never start."""
    return records.exit_line(
        outcome, started_us=None, ended_us=_now_us(), detail=detail, start_before_us=task["start_before_us"]
    )


def nudge_send(path: str) -> None:
    """Wake whoever reads the pipe; if nobody does, or it is full, nothing is lost."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(descriptor, b"\0")
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _supervise(setting: Setting, task: Task, wake: int, started_us: int) -> dict[str, object]:
    ref, groups = task["ref"], setting.hierarchy
    oom, entered = None, []
    try:
        if groups is not None:
            limits = Limits(task["cpu_milli"], task["memory_bytes"], task["processes"])
            entered = groups.create(ref, limits)
            oom = groups.oom_watch(ref)
        if serving.publish(setting, task):
            nudge_send(setting.nudge)
        launched = setting.runtime.launch(setting, task, entered)
    except OSError as error:
        if oom is not None:
            os.close(oom)
        if groups is not None:
            groups.remove(ref)
        serving.withdraw(setting, task)
        return never_started("start_failed", f"the sandbox cannot be made: {error}"[:_DETAIL_MAX], task)
    task["secrets"].clear()
    inner = None
    if task["port"] is not None and not setting.makes_network:
        inner = functools.partial(_set_up, setting, task)
    watch = setting.runtime.watch(setting, task, launched, oom, wake, inner)
    try:
        watch.wait()
        status, cpu_us, peak = watch.finish()
    finally:
        serving.withdraw(setting, task)
    out_of_memory = False
    details = [watch.logs.note] if watch.logs.note else []
    if groups is not None:
        counted_us, peak, out_of_memory = groups.usage(ref)
        cpu_us = cpu_us if counted_us is None else counted_us
        if not groups.remove(ref):
            details.append("some of its processes cannot be killed")
    if oom is not None:
        os.close(oom)
    end = setting.runtime.end_of(status, watch, out_of_memory, task["command"])
    return records.exit_line(
        end.outcome,
        started_us=None if end.outcome == "start_failed" else started_us,
        ended_us=max(watch.ended_us, started_us),
        exit_code=end.exit_code,
        signal=end.signal,
        cpu_us=cpu_us,
        memory_peak_bytes=peak,
        detail="; ".join([*details, end.detail] if end.detail else details)[:_DETAIL_MAX],
        start_before_us=task["start_before_us"],
    )


def _set_up(setting: Setting, task: Task, told: dict[str, object]) -> None:
    serving.publish_inner(setting.layout, task, told)
    nudge_send(setting.nudge)


def _wake_make() -> int:
    """Turn SIGUSR1 (look for a stop) and SIGTERM (the machine goes down) into a readable descriptor."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, _ignore)
    return reader


def _ignore(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has it."""


def _now_us() -> int:
    return time.time_ns() // 1_000
