# ruff: noqa: PTH112, PTH114, PTH115
"""The argument list of bubblewrap: what a task sees, and nothing else.

Everything that names a tenant's data (environment, paths) goes through `--args FD`, so that it is neither
in an argument list nor in the environment of bubblewrap itself, which runs outside of the sandbox: an
LD_PRELOAD of a task must never reach it.
"""

import os

SANDBOX_UID = 1_000
HOSTNAME = "task"
PROJECT_DIR = "/project"
SECRETS_DIR = "/run/secrets"
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
ENVIRONMENT = {"PATH": SEARCH_PATH, "HOME": "/tmp", "LANG": "C.UTF-8", "USER": "task", "LOGNAME": "task"}  # noqa: S108
ATTEMPT_NAME = "kumoi-sandbox:"
"""bubblewrap's own name in lists of processes, before the reference of the attempt."""

_SYSTEM_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


def system_arguments() -> list[str]:
    """The part that is the same for every task: namespaces and the read-only system."""
    arguments = ["--unshare-all", "--die-with-parent", "--new-session", "--hostname", HOSTNAME]
    arguments += ["--uid", str(SANDBOX_UID), "--gid", str(SANDBOX_UID), "--ro-bind", "/usr", "/usr"]
    for path in _SYSTEM_LINKS:
        if os.path.islink(path):
            arguments += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            arguments += ["--ro-bind", path, path]
    return [*arguments, "--proc", "/proc", "--dev", "/dev"]


class Descriptors:
    """The open descriptors that bubblewrap is to inherit. `secrets` is file name -> descriptor."""

    __slots__ = ("seccomp", "secrets", "status")

    def __init__(self, *, seccomp: int, status: int, secrets: dict[str, int]) -> None:
        self.seccomp = seccomp
        self.status = status
        self.secrets = secrets

    def all(self) -> list[int]:
        """Every one of them."""
        return [self.seccomp, self.status, *self.secrets.values()]


def task_arguments(
    system: list[str],
    etc: str,
    project: str,
    descriptors: Descriptors,
    environment: dict[str, str],
    *,
    network: bool,
    keep_network: bool,
    devices: list[str],
    memory_bytes: int,
    shared_memory_bytes: int | None,
) -> list[str]:
    """All of bubblewrap's arguments but the command.

    `network` lets the task have the host's; `keep_network` leaves it in the namespace of its supervisor,
    which is that or an empty one. Without cgroups /dev/shm gets a size of its own; the rest of /dev is made
    read-only, since it is memory too that nobody would count.
    """
    arguments = [*system, "--ro-bind", etc, "/etc"]
    arguments += ["--perms", "1777", "--size", str(memory_bytes), "--tmpfs", "/tmp"]  # noqa: S108
    size = [] if shared_memory_bytes is None else ["--size", str(shared_memory_bytes)]
    arguments += ["--perms", "1777", *size, "--tmpfs", "/dev/shm"]  # noqa: S108
    if keep_network:
        arguments += ["--share-net"]
    if network:
        arguments += ["--ro-bind-try", "/etc/resolv.conf", "/etc/resolv.conf"]
    for path in devices:
        arguments += ["--dev-bind", path, path]
    if descriptors.secrets:
        arguments += ["--perms", "0755", "--dir", "/run", "--perms", "0500", "--dir", SECRETS_DIR]
    for name, descriptor in descriptors.secrets.items():
        arguments += ["--perms", "0400", "--file", str(descriptor), f"{SECRETS_DIR}/{name}"]
    arguments += ["--bind", project, PROJECT_DIR, "--chdir", PROJECT_DIR]
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--seccomp", str(descriptors.seccomp)]
    arguments += ["--json-status-fd", str(descriptors.status), "--clearenv"]
    for name, value in {**ENVIRONMENT, **environment}.items():
        arguments += ["--setenv", name, value]
    return arguments
