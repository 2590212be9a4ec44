"""The argument list of `podman run`: what a container gets, and nothing else."""

import resource

from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.cgroups import PERIOD_US, QUOTA_US_MIN
from kumoi.engines.sandbox.task import Task

LABEL_INCARNATION, LABEL_REF = "kumoi.incarnation", "kumoi.ref"
PROJECT_DIR = "/project"
SECRETS_DIR = "/run/secrets"
HOSTNAME = "task"
ENVIRONMENT = {"HOME": "/tmp"}  # noqa: S108
OPEN_FILES = (1_024, 16_384)
PROCESSES_FACTOR = 1_024
"""The limit of processes counts all containers of a user, so it is far above one's; the group holds each."""
TIMEOUT_MARGIN_S = 60
"""conmon ends a container that late after its wall time: only if its supervisor is gone."""

_MEMORY_MARGIN_BYTES = 1 << 20
_ENVIRONMENT_LINE_MAX = 32 << 10

FIXED = [
    *("--detach", "--init", "--pull=never", "--log-driver=passthrough", "--cgroups=no-conmon"),
    *("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--pids-limit=-1"),
    "--image-volume=tmpfs",
    *(f"--hostname={HOSTNAME}", "--ulimit=core=0:0"),
]
"""The part that is the same for every container. The filter of system calls is podman's own default."""


def run_arguments(
    task: Task,
    incarnation: str,
    *,
    cgroup_parent: str,
    network: list[str],
    project: str,
    conmon_pidfile: str,
    environment_file: str,
    secrets: str | None,
) -> list[str]:
    """Everything after `podman` for one attempt.

    Memory, processes and CPU time are limited by the group `cgroup_parent`; the container is told the same
    limits, so that programs that look find them, and its memory a little later, so that it is the group that
    runs out. `secrets` is the directory that holds them, if there are any.
    """
    quota_us = max(task["cpu_milli"] * PERIOD_US // 1_000, QUOTA_US_MIN)
    user = task["uid"]
    arguments = ["run", *FIXED, f"--name={task['name']}", f"--user={user}:{user}"]
    arguments += [f"--label={LABEL_INCARNATION}={incarnation}", f"--label={LABEL_REF}={task['ref']}"]
    arguments += [f"--cgroup-parent={cgroup_parent}", *network]
    arguments += [f"--memory={task['memory_bytes'] + _MEMORY_MARGIN_BYTES}"]
    arguments += [f"--cpu-period={PERIOD_US}", f"--cpu-quota={quota_us}"]
    file_bytes, processes = task["file_bytes"], min(task["processes"] * PROCESSES_FACTOR, _pids_max())
    arguments += [
        _ulimit("fsize", resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        _ulimit("nproc", resource.RLIMIT_NPROC, processes, processes),
        _ulimit("nofile", resource.RLIMIT_NOFILE, *OPEN_FILES),
    ]
    arguments += [f"--timeout={task['wall_time_s'] + TIMEOUT_MARGIN_S}"]
    arguments += [f"--shm-size={task['memory_bytes']}", f"--conmon-pidfile={conmon_pidfile}"]
    for path in ("/tmp", "/var/tmp"):  # noqa: S108
        arguments += [f"--tmpfs={path}:rw,nosuid,nodev,mode=1777,size={task['memory_bytes']},notmpcopyup"]
    arguments += [
        f"--mount=type=bind,source={project},destination={PROJECT_DIR},bind-propagation=rprivate,nosuid,nodev"
    ]
    if secrets is not None:
        options = "bind-propagation=rprivate,ro,nosuid,nodev,noexec"
        arguments += [f"--mount=type=bind,source={secrets},destination={SECRETS_DIR},{options}"]
    arguments += [f"--device={path}" for path in task["devices"]]
    arguments += [f"--env-file={environment_file}"]
    arguments += [
        f"--env={name}={value}" for name, value in task["environment"].items() if not _fits(name, value)
    ]
    if task["command"]:
        arguments += ["--entrypoint="]
    return [*arguments, "--", str(task["image"]), *task["command"]]


def environment_text(environment: dict[str, str]) -> str:
    """The file for `--env-file`: what it can hold is in no argument list."""
    given = {**ENVIRONMENT, **environment}
    return "".join(f"{name}={value}\n" for name, value in given.items() if _fits(name, value))


def _fits(name: str, value: str) -> bool:
    """Whether a line of such a file can say it: it has no way to quote."""
    return name.isidentifier() and not {"\n", "\r"} & set(value) and len(value) < _ENVIRONMENT_LINE_MAX


def _pids_max() -> int:
    """How many processes there can be: podman takes that for its own limit, and hands on no more."""
    return int(records.file_read("/proc/sys/kernel/pid_max") or b"32768")


def _ulimit(name: str, which: int, soft: int, hard: int) -> str:
    """At most what this process may hand on: podman fails where it is asked for more."""
    _, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    return f"--ulimit={name}={soft}:{hard}"
