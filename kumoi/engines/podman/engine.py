"""The podman engine: runs attempts on this machine, each in a container of its own.

docs/engines/podman.md says what is isolated and limited how, and what each crash leaves behind.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from kumoi.engines.base import AttemptSpec, EngineError, EngineUnavailable
from kumoi.engines.podman import server
from kumoi.engines.podman.arguments import LABEL_INCARNATION, LABEL_REF
from kumoi.engines.podman.groups import groups_find
from kumoi.engines.podman.images import Images
from kumoi.engines.podman.memory import images_show, memory_end, memory_ensure, memory_share
from kumoi.engines.podman.specs import container_task_make
from kumoi.engines.podman.storage import PodmanStorage
from kumoi.engines.podman.watch import REMOVE_TRIES, remove_arguments
from kumoi.engines.refs import ref_is_valid
from kumoi.engines.sandbox import records
from kumoi.engines.sandbox.local import HostOffer, LocalEngine
from kumoi.engines.sandbox.task import Task
from kumoi.model.places import PROJECT_UID_BASE


class PodmanEngine(LocalEngine):
    """Runs attempts on this machine, in containers. Everything it keeps is below `data_dir/podman`.

    `incarnation` names this store's life and is part of every control group and label. `cpu_milli` and
    `memory_bytes` are what the host offers; it offers neither disk nor devices. A project's files are in
    `files_root/<organization>/<project>`, and project number N runs as user `uid_base` + N. With
    `network_host` an attempt that wants a network gets the host's; else it is refused. Images may be pulled
    from `registries`. Raises EngineUnavailable, saying what to install or allow, where none can be made.
    """

    name = "podman"

    def __init__(
        self,
        data_dir: Path,
        incarnation: str,
        *,
        host_name: str,
        cpu_milli: int,
        memory_bytes: int,
        files_root: Path,
        uid_base: int = PROJECT_UID_BASE,
        network_host: bool = False,
        registries: Sequence[str] = (),
    ) -> None:
        if not ref_is_valid(incarnation):
            raise ValueError(f"the incarnation {incarnation!r} cannot name a control group")
        if os.getuid() != 0:
            raise EngineUnavailable("containers need a plane that runs as root; sandboxes do not")
        groups, self._cgroup_parent = groups_find(incarnation)
        state_dir = data_dir.resolve() / "podman"
        (state_dir / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        files_root.mkdir(mode=0o711, parents=True, exist_ok=True)
        directory = state_dir / "containers"
        self._share: int | None = memory_share(state_dir / "run" / "memory.lock")
        self.memory = memory_ensure(directory)
        self.storage = PodmanStorage(directory, self.memory, registries)
        images_show(self.memory, directory / "storage", self.storage.driver)
        self._images = Images(self.storage)
        self._incarnation = incarnation
        self._uid_first = uid_base
        self._network_host = network_host
        super().__init__(
            state_dir,
            incarnation,
            HostOffer(host_name, cpu_milli, memory_bytes, disk_bytes=0),
            files_root=files_root.resolve(),
            uid_base=uid_base,
            hierarchy=groups,
            program=server.__name__,
        )

    def close(self) -> None:
        """See `Engine.close`. Where nothing runs, nothing of containers is left."""
        super().close()
        if self._share is not None:
            if not any(Path(self._layout.live).iterdir()):
                memory_end(self.memory, self._share)
            os.close(self._share)
            self._share = None

    def _task_make(self, spec: AttemptSpec) -> Task:
        name = self._networks.name(spec.ref)
        task = container_task_make(spec, self._uid_first, name, network_host=self._network_host)
        if records.attempt_state(self._layout, spec.ref) == records.FRESH:
            problem = self._images.problem(str(spec.image))
            if problem is not None:
                raise problem
        return task

    def _runtime_hello(self) -> dict[str, object]:
        return {
            "podman": self.storage.containers.argv,
            "environment": self.storage.containers.environment,
            "incarnation": self._incarnation,
            "cgroup_parent": self._cgroup_parent,
        }

    def _problems(self) -> list[str]:
        return [] if self.storage.is_there() else [f"{self.storage.images.argv[0]} is gone; install podman"]

    def _outlived(self, ref: str, /) -> bool:
        return self._container_remove(self._networks.name(ref))

    def _sweep_more(self) -> None:
        """Remove containers of this incarnation whose attempts are over: one call lists them all.

        An attempt is live before its container is there and until it is gone, so containers are listed first.
        """
        try:
            listed = self.storage.container_call(
                *("ps", "--all", "--format", "json"),
                f"--filter=label={LABEL_INCARNATION}={self._incarnation}",
            )
        except EngineError:
            return
        for row in json.loads(listed or "[]"):
            ref = str((row.get("Labels") or {}).get(LABEL_REF, ""))
            if not (ref_is_valid(ref) and Path(self._layout.live, ref).exists()):
                self._container_remove(str(row["Id"]))

    def _container_remove(self, name: str) -> bool:
        """Whether it is gone."""
        for _ in range(REMOVE_TRIES):
            try:
                self.storage.container_call(*remove_arguments(name))
            except EngineError:
                continue
            return True
        return False
