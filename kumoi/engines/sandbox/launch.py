"""Start bubblewrap for one attempt: descriptors, control groups, limits, user, exec."""

import base64
import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from typing import NamedTuple

from kumoi.engines.sandbox import bubblewrap
from kumoi.engines.sandbox.cgroups import group_enter
from kumoi.engines.sandbox.task import Launched, Setting, Task
from kumoi.engines.sandbox.volume import project_make, project_path

LIBC = ctypes.CDLL(None, use_errno=True)
_SIGNALS_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD)


class Sandboxes(NamedTuple):
    """What all sandboxes share. `system` is the part of bubblewrap's arguments that never changes; `etc` and
    `files` are where the project's user reaches the /etc for tasks and the root of volumes."""

    bwrap: str
    etc: str
    files: str
    seccomp_fd: int
    system: list[str]


def launch(shared: Sandboxes, setting: Setting, task: Task, groups: list[str]) -> Launched:
    """Start the attempt's command in its sandbox and in `groups`, its control groups if there are any.

    OSError if something that it needs cannot be had; then nothing runs.
    """
    project_make(setting.files_root, task)
    stdout, stderr, status = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
    descriptors = bubblewrap.Descriptors(
        seccomp=os.open(f"/proc/self/fd/{shared.seccomp_fd}", os.O_RDONLY | os.O_CLOEXEC),
        status=status[1],
        secrets={name: memory_file(base64.b64decode(text)) for name, text in task["secrets"].items()},
    )
    arguments = _arguments(shared, setting, task, descriptors)
    given = [*descriptors.all(), memory_file(b"".join(part.encode() + b"\0" for part in arguments))]
    try:
        for descriptor in (stdout[1], stderr[1]):
            if task["uid"] is not None:
                os.fchown(descriptor, task["uid"], task["uid"])  # a task may open /dev/stdout by name
            given.append(descriptor)
        argv = [
            f"{bubblewrap.ATTEMPT_NAME}{task['ref']}",
            "--args",
            str(given[-3]),
            "--",
            *_command(setting, task),
        ]
        for descriptor in given[:-2]:
            os.set_inheritable(descriptor, True)
        pid = _spawn(shared.bwrap, setting, task, groups, argv, (stdout[1], stderr[1]))
    except BaseException:
        given += [stdout[0], stderr[0], status[0]]
        raise
    finally:
        for descriptor in given:
            os.close(descriptor)
    for end in (stdout[0], stderr[0], status[0]):
        os.set_blocking(end, False)
    return Launched(pid, os.pidfd_open(pid), stdout[0], stderr[0], status[0])


def _arguments(
    shared: Sandboxes, setting: Setting, task: Task, descriptors: bubblewrap.Descriptors
) -> list[str]:
    return bubblewrap.task_arguments(
        shared.system,
        shared.etc,
        project_path(shared.files, task["organization_id"], task["project_id"]),
        descriptors,
        task["environment"],
        network=task["network"],
        keep_network=task["network"] or setting.makes_network,
        devices=task["devices"],
        memory_bytes=task["memory_bytes"],
        shared_memory_bytes=None if setting.hierarchy is not None else task["memory_bytes"],
    )


def _command(setting: Setting, task: Task) -> list[str]:
    """Without control groups memory and processes are limited inside, where the user has no others."""
    if setting.hierarchy is not None:
        return task["command"]
    limits = [f"--nproc={task['processes'] + 2}", f"--as={task['memory_bytes']}"]
    return ["prlimit", *limits, "--", *task["command"]]


def memory_file(content: bytes) -> int:
    """A file that is in memory only, read from its start."""
    descriptor = os.memfd_create("kumoi", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _spawn(
    program: str, setting: Setting, task: Task, groups: list[str], argv: list[str], output: tuple[int, int]
) -> int:
    """Become what the sandbox is to be, start it, and become the supervisor again.

    A fork of this process would have to copy, page by page, what both touch from then on; that costs more
    than the sandbox itself. So the supervisor enters the attempt's groups and takes the project's user for
    the moment of a vfork. The tasks of that user cannot see it: they are in namespaces of their own.
    """
    group_enter(groups)
    try:
        with _user(task["uid"]):
            return os.posix_spawn(
                program,
                argv,
                {"PATH": bubblewrap.SEARCH_PATH},
                file_actions=[(os.POSIX_SPAWN_DUP2, output[0], 1), (os.POSIX_SPAWN_DUP2, output[1], 2)],
                setsigmask=[],
                setsigdef=_SIGNALS_RESET,
            )
    finally:
        if setting.hierarchy is not None:
            group_enter(setting.hierarchy.supervisors())


@contextlib.contextmanager
def _user(uid: int | None) -> Iterator[None]:
    """Act as `uid` and nobody else meanwhile; what is started has no way back, unlike this process."""
    if uid is None:
        yield
        return
    os.setresgid(uid, uid, 0)
    os.setresuid(uid, uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
