"""The sandbox engine: runs attempts on this machine, each in a bubblewrap of its own.

docs/engines/sandbox.md says what is isolated and limited how.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from kumoi.engines.base import AttemptSpec, DeviceReport
from kumoi.engines.devices.base import DeviceSource
from kumoi.engines.devices.nvml import NvmlDevices
from kumoi.engines.devices.patient import PatientDevices
from kumoi.engines.refs import ref_is_valid
from kumoi.engines.sandbox import forkserver, probe
from kumoi.engines.sandbox.cgroups import hierarchy_find
from kumoi.engines.sandbox.local import DISK_FREE_BYTES_MIN, HostOffer, LocalEngine
from kumoi.engines.sandbox.specs import project_uid, sandbox_task_make
from kumoi.engines.sandbox.system_etc import etc_make
from kumoi.engines.sandbox.task import Task
from kumoi.model.places import PROJECT_UID_BASE


class SandboxEngine(LocalEngine):
    """Runs attempts on this machine. Everything it keeps is below `data_dir`.

    `incarnation` names this store's life and is part of every control group. `cpu_milli` and
    `memory_bytes` are what the host offers; more than it has overcommits it, None is what it has. It offers
    the disk that was free at the first start, and the devices that `devices` finds (None: NVIDIA's GPUs). A
    project's files are in `files_root/<organization>/<project>`. As root, project number N runs as user
    `uid_base` + N. With `network_host` an attempt that wants a network gets the host's, the plane's own ports
    and all that listens on 127.0.0.1 included; else it is refused. Raises EngineUnavailable, saying what to
    install or allow, where sandboxes cannot work.
    """

    name = "sandbox"

    def __init__(
        self,
        data_dir: Path,
        incarnation: str,
        *,
        host_name: str,
        cpu_milli: int | None = None,
        memory_bytes: int | None = None,
        files_root: Path | None = None,
        uid_base: int = PROJECT_UID_BASE,
        network_host: bool = False,
        devices: DeviceSource | None = None,
    ) -> None:
        if not ref_is_valid(incarnation):
            raise ValueError(f"the incarnation {incarnation!r} cannot name a control group")
        uid_base_used = uid_base if os.getuid() == 0 else None
        self._bwrap = probe.bwrap_find(project_uid(uid_base_used, 0))
        run_dir = data_dir.resolve() / "run"
        files_root = (files_root or data_dir / "files").resolve()
        for path, mode in ((run_dir, 0o700), (files_root, 0o711)):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
        self._devices = devices or PatientDevices(NvmlDevices())
        self._network_host = network_host
        offer = HostOffer(
            name=host_name,
            cpu_milli=cpu_milli or len(os.sched_getaffinity(0)) * 1_000,
            memory_bytes=memory_bytes or probe.memory_bytes(),
            disk_bytes=probe.disk_bytes(run_dir / "disk-bytes", DISK_FREE_BYTES_MIN),
        )
        super().__init__(
            data_dir.resolve(),
            incarnation,
            offer,
            files_root=files_root,
            uid_base=uid_base_used,
            hierarchy=hierarchy_find(incarnation),
            program=forkserver.__name__,
        )

    def _task_make(self, spec: AttemptSpec) -> Task:
        name = self._networks.name(spec.ref)
        return sandbox_task_make(spec, self._uid_base, name, network_host=self._network_host)

    def _runtime_hello(self) -> dict[str, object]:
        etc = self._run_dir / "etc"
        etc_make(etc)
        return {"bwrap": self._bwrap, "etc": str(etc), "seccomp": probe.seccomp_program().hex()}

    def _problems(self) -> list[str]:
        return [] if os.access(self._bwrap, os.X_OK) else [f"{self._bwrap} is gone; install bubblewrap"]

    def _outlived(self, _ref: str, /) -> bool:
        return True  # bubblewrap dies with its supervisor

    def _sweep_more(self) -> None:
        """Nothing but records and groups."""

    def _devices_found(self) -> Sequence[DeviceReport]:
        return self._devices.devices()
