"""Start bubblewrap for one attempt: descriptors, control groups, limits, user, exec."""

import base64
import contextlib
import ctypes
import os
import resource
import signal
from typing import NamedTuple, NoReturn

from kumoi.engines.sandbox import bubblewrap
from kumoi.engines.sandbox.cgroups import group_enter
from kumoi.engines.sandbox.task import Setting, Task

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
_OOM_SCORE_TASK = b"500"
_OPEN_FILES = (1_024, 16_384)
_SIGNALS_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGCHLD)
_PASSABLE = 0o011
_EXIT_NO_EXEC = 127


class Launched(NamedTuple):
    """A sandbox that was started; the three pipes are read by the supervisor and do not block."""

    pid: int
    pidfd: int
    stdout: int
    stderr: int
    status: int


def launch(setting: Setting, task: Task, lock: int, groups: list[str]) -> Launched:
    """Start the attempt's command in its sandbox and in `groups`, its control groups if there are any.

    OSError if something that it needs cannot be had; then nothing runs.
    """
    project_make(setting.files_root, task)
    stdout, stderr, status = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
    if task["uid"] is not None:
        for _, end in (stdout, stderr):
            os.fchown(end, task["uid"], task["uid"])  # a task may open /dev/stdout by name
    descriptors = bubblewrap.Descriptors(
        seccomp=os.open(f"/proc/self/fd/{setting.seccomp_fd}", os.O_RDONLY | os.O_CLOEXEC),
        lock=lock,
        status=status[1],
        secrets={name: _memory_file(base64.b64decode(text)) for name, text in task["secrets"].items()},
    )
    arguments = bubblewrap.task_arguments(
        setting.system,
        setting.etc,
        f"{setting.files}/{task['organization_id']}/{task['project_id']}",
        descriptors,
        task["environment"],
        network=task["network"],
        devices=task["devices"],
        memory_bytes=task["memory_bytes"],
        shared_memory_bytes=None if setting.hierarchy is not None else task["memory_bytes"],
    )
    arguments_fd = _memory_file(b"".join(argument.encode() + b"\0" for argument in arguments))
    argv = ["bwrap", "--args", str(arguments_fd), "--", *_command(setting, task)]
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        inherited = [*descriptors.all(), arguments_fd]
        _become_sandbox(setting.bwrap, argv, task, groups, parent, inherited, (stdout[1], stderr[1]))
    for descriptor in (stdout[1], stderr[1], arguments_fd, *descriptors.own()):
        os.close(descriptor)
    for end, _ in (stdout, stderr, status):
        os.set_blocking(end, False)
    return Launched(pid, os.pidfd_open(pid), stdout[0], stderr[0], status[0])


def project_make(files_root: str, task: Task) -> None:
    """Make the project's files directory if need be, and give it to the project's user.

    Only the directory itself is ever touched, through descriptors that follow no link: what is in it
    belongs to the tenant, who may put any trap there.
    """
    uid = task["uid"]
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    opened = [os.open(files_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
    try:
        for name in (task["organization_id"], task["project_id"]):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=opened[-1])
            opened.append(os.open(name, flags, dir_fd=opened[-1]))
        if uid is None:
            return
        for descriptor in opened[:2]:
            mode = os.fstat(descriptor).st_mode
            if mode & _PASSABLE != _PASSABLE:
                os.fchmod(descriptor, mode & 0o7777 | _PASSABLE)
        if os.fstat(opened[2]).st_uid != uid:
            os.fchown(opened[2], uid, uid)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _command(setting: Setting, task: Task) -> list[str]:
    """Without control groups the number of processes is limited inside, where the user has no others."""
    if setting.hierarchy is not None:
        return task["command"]
    return ["prlimit", f"--nproc={task['processes']}:{task['processes']}", "--", *task["command"]]


def _memory_file(content: bytes) -> int:
    """A file that is in memory only, read from its start."""
    descriptor = os.memfd_create("kumoi", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _become_sandbox(
    bwrap: str,
    argv: list[str],
    task: Task,
    groups: list[str],
    parent: int,
    inherited: list[int],
    output: tuple[int, int],
) -> NoReturn:
    """In the child: become bubblewrap as the project's user, inside of the attempt's groups and limits."""
    try:
        os.dup2(output[0], 1)
        os.dup2(output[1], 2)
        for descriptor in inherited:
            os.set_inheritable(descriptor, True)
        for number in _SIGNALS_RESET:
            signal.signal(number, signal.SIG_DFL)
        _oom_first()
        group_enter(groups)
        _limit(resource.RLIMIT_CORE, 0, 0)
        _limit(resource.RLIMIT_FSIZE, task["file_bytes"], task["file_bytes"])
        _limit(resource.RLIMIT_NOFILE, *_OPEN_FILES)
        if not groups:
            _limit(resource.RLIMIT_AS, task["memory_bytes"], task["memory_bytes"])
        if task["uid"] is not None:
            os.setgroups([])
            os.setresgid(task["uid"], task["uid"], task["uid"])
            os.setresuid(task["uid"], task["uid"], task["uid"])
        LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() == parent:
            os.execve(  # noqa: S606 - an argument list, never a shell
                bwrap, argv, {"PATH": bubblewrap.SEARCH_PATH}
            )
    except BaseException as error:
        os.write(2, f"kumoi: the sandbox cannot be started: {error}\n".encode())
    os._exit(_EXIT_NO_EXEC)


def _oom_first() -> None:
    """When the whole machine is out of memory tasks go before everything else."""
    descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, _OOM_SCORE_TASK)
    os.close(descriptor)


def _limit(which: int, soft: int, hard: int) -> None:
    """Lower a limit; what is lower already stays."""
    _, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(which, (soft, hard))
