# ruff: noqa: PTH101, PTH103
"""The fork-server for containers: as that of sandboxes, with podman in place of bubblewrap."""

import base64
import os

from kumoi.engines.podman.arguments import environment_text, run_arguments
from kumoi.engines.podman.command import Podman, podman_spawn
from kumoi.engines.podman.ending import container_end_of
from kumoi.engines.podman.watch import ContainerWatch
from kumoi.engines.sandbox import forkserver, records
from kumoi.engines.sandbox.cgroups import Hierarchy
from kumoi.engines.sandbox.ending import End
from kumoi.engines.sandbox.runtime import Told
from kumoi.engines.sandbox.staging import memory_directory_make, mounts_make_own
from kumoi.engines.sandbox.task import Launched, Setting, Task
from kumoi.engines.sandbox.volume import project_make, project_path
from kumoi.engines.sandbox.watch import Watch

PLACE = "/run/kumoi-podman"
_PLACE_SIZE = "64m"


class Containers:
    """Runs each command in a container. What must not be on a disk is in `PLACE`, in memory, which nobody
    but this fork-server, its supervisors and their podmans see."""

    limits_files = False

    def __init__(self, hello: dict[str, object]) -> None:
        argv, environment = hello["podman"], hello["environment"]
        assert isinstance(argv, list)
        assert isinstance(environment, dict)
        self._podman = Podman(argv, environment)
        self._incarnation = str(hello["incarnation"])
        self._cgroup_parent = str(hello["cgroup_parent"])
        mounts_make_own()
        memory_directory_make(PLACE, "700", _PLACE_SIZE)

    def launch(self, setting: Setting, task: Task, _groups: list[str], /) -> Launched:
        """See `Runtime.launch`. podman is not in the attempt's groups; the container's is below them."""
        if not (setting.makes_network or task["network"]):
            raise OSError("a network of its own cannot be made here")
        project_make(setting.files_root, task)
        place = f"{PLACE}/{task['name']}"
        os.makedirs(place, mode=0o700, exist_ok=True)
        secrets = _secrets_write(f"{place}/secrets", task) if task["secrets"] else None
        text = environment_text(task["environment"]).encode(errors="surrogateescape")
        records.file_create(f"{place}/environment", text, os.O_TRUNC, durable=False)
        arguments = run_arguments(
            task,
            self._incarnation,
            cgroup_parent=f"{self._cgroup_parent}/{task['ref']}",
            network=_network(task),
            project=project_path(setting.files_root, task["organization_id"], task["project_id"]),
            conmon_pidfile=f"{records.attempt_make(setting.layout, task['ref'])}/conmon",
            environment_file=f"{place}/environment",
            secrets=secrets,
        )
        return self._start(task, arguments)

    def watch(
        self,
        setting: Setting,
        task: Task,
        launched: Launched,
        oom: int | None,
        wake: int,
        _told: Told | None,
        /,
    ) -> Watch:
        """See `Runtime.watch`."""
        groups, place = _groups(setting), f"{PLACE}/{task['name']}"
        return ContainerWatch(self._podman, groups, setting, task, launched, oom, wake, place)

    def end_of(self, status: int, watch: Watch, out_of_memory: bool, command: list[str]) -> End:
        """See `Runtime.end_of`."""
        assert isinstance(watch, ContainerWatch)
        return container_end_of(status, watch, out_of_memory, command)

    def _start(self, task: Task, arguments: list[str]) -> Launched:
        stdout, stderr, status = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        try:
            for writer in (stdout[1], stderr[1]):
                os.fchown(writer, task["uid"] or 0, task["uid"] or 0)  # it may open /dev/stdout by name
            pid = podman_spawn(self._podman, arguments, stdout[1], stderr[1])
        except BaseException:
            for reader in (stdout[0], stderr[0], status[0]):
                os.close(reader)
            raise
        finally:
            for writer in (stdout[1], stderr[1], status[1]):
                os.close(writer)
        for reader in (stdout[0], stderr[0], status[0]):
            os.set_blocking(reader, False)
        return Launched(pid, os.pidfd_open(pid), stdout[0], stderr[0], status[0])


def main() -> None:
    """Serve requests until the engine closes its end."""
    forkserver.main(Containers)


def _network(task: Task) -> list[str]:
    """The host's network if it may have it, else the empty one that the supervisor made and is in."""
    if task["network"]:
        return ["--network=host"]
    return [f"--network=ns:/proc/{os.getpid()}/ns/net", "--dns=none"]


def _groups(setting: Setting) -> Hierarchy:
    if setting.hierarchy is None:
        raise OSError("containers need control groups")
    return setting.hierarchy


def _secrets_write(directory: str, task: Task) -> str:
    """The secrets as files that only the project's user reads."""
    user = task["uid"] or 0
    os.makedirs(directory, mode=0o500, exist_ok=True)
    for name, text in task["secrets"].items():
        path = f"{directory}/{name}"
        records.file_create(path, base64.b64decode(text), os.O_TRUNC, durable=False)
        os.chown(path, user, user)
        os.chmod(path, 0o400)
    os.chown(directory, user, user)
    return directory
