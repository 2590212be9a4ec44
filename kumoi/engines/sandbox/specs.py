"""From an attempt's specification to what the fork-server is told; what cannot be is refused here."""

import base64
import re
from collections.abc import Sequence

from kumoi.core.devices import GPU
from kumoi.engines.base import AttemptSpec, DeviceShare, StartRefused
from kumoi.engines.refs import ref_is_valid
from kumoi.engines.sandbox.task import Task

UID_MAX = 2**31 - 2
PORT_MAX = 65_535
_DEVICE = re.compile(r"/dev(/[A-Za-z0-9][A-Za-z0-9._-]*){1,4}")
_DEVICE_UUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ENVIRONMENT_NAME = re.compile(r"[^=\0]{1,256}")


def project_uid(uid_base: int | None, project_number: int) -> int | None:
    """The user that a project's tasks run as; None where the engine is not root. StartRefused if too high."""
    if uid_base is None:
        return None
    uid = uid_base + project_number
    if project_number < 0 or uid > UID_MAX:
        raise StartRefused(f"the project number {project_number} has no user here (the last is {UID_MAX})")
    return uid


def sandbox_task_make(spec: AttemptSpec, uid_base: int | None, name: str, *, network_host: bool) -> Task:
    """`task_make` for an engine without containers."""
    if spec.image is not None:
        raise StartRefused(
            f"the attempt {spec.ref} cannot be started: the image {spec.image} needs a pool of containers, "
            "and this engine has only sandboxes; choose a pool of the podman engine, or give a command alone"
        )
    return task_make(spec, uid_base, name, network_host=network_host)


def task_make(spec: AttemptSpec, uid_base: int | None, name: str, *, network_host: bool) -> Task:
    """The fork-server's form of `spec`. StartRefused, saying what is wrong, if it can never be started."""
    wrong = _wrong(spec)
    if wrong is not None:
        raise StartRefused(f"the attempt {spec.ref!r} cannot be started: {wrong}")
    serves = spec.port is not None
    if spec.network and not serves and not network_host:
        raise StartRefused(
            f"the attempt {spec.ref} cannot be started: it wants a network, and this engine has only the "
            "host's, through which it would reach the plane; run it without, or allow network_host"
        )
    limits = spec.limits
    return Task(
        ref=spec.ref,
        organization_id=spec.organization_id,
        project_id=spec.project_id,
        uid=project_uid(uid_base, spec.project_number),
        command=list(spec.command),
        environment={
            **spec.environment,
            **_device_environment(spec.devices),
            **port_environment(spec.port),
        },
        secrets={name: base64.b64encode(value).decode() for name, value in spec.secrets.items()},
        devices=list(spec.device_paths),
        network=spec.network and not serves,
        port=spec.port,
        name=name,
        image=spec.image,
        cpu_milli=limits.cpu_milli,
        memory_bytes=limits.memory_bytes,
        processes=limits.processes,
        wall_time_s=limits.wall_time_s,
        log_bytes=limits.log_bytes,
        file_bytes=limits.file_bytes,
        start_before_us=spec.start_before_us,
        lease_expires_us=spec.lease_expires_us,
    )


def _device_environment(devices: Sequence[DeviceShare]) -> dict[str, str]:
    """Which GPUs CUDA shows the attempt, by UUID: those that it holds, whatever it asks for itself."""
    gpus = ",".join(device.uuid for device in devices if device.kind == GPU)
    return {"CUDA_VISIBLE_DEVICES": gpus, "NVIDIA_VISIBLE_DEVICES": gpus} if gpus else {}


def port_environment(port: int | None) -> dict[str, str]:
    """What tells a serving attempt where to listen, under our name and the usual one."""
    return {} if port is None else {"KUMOI_PORT": str(port), "PORT": str(port)}


def _wrong(spec: AttemptSpec) -> str | None:
    limits = spec.limits
    if not ref_is_valid(spec.ref):
        return "its reference is not 1..96 letters, digits, hyphens and underscores"
    if not (ref_is_valid(spec.organization_id) and ref_is_valid(spec.project_id)):
        return f"{spec.organization_id!r} / {spec.project_id!r} cannot name a directory"
    if not any(spec.command[:1]) and (spec.command or spec.image is None):
        return "its command is empty"
    if any("\0" in text for text in (*spec.command, *spec.environment.values())):
        return "a NUL byte in the command or environment"
    if not all(_ENVIRONMENT_NAME.fullmatch(name) for name in spec.environment):
        return "an environment variable without a proper name"
    if not all(_SECRET_NAME.fullmatch(name) for name in spec.secrets):
        return "a secret whose name cannot name a file"
    if not all(_DEVICE.fullmatch(path) for path in spec.device_paths):
        return "a device that is not a plain path below /dev"
    if not all(_DEVICE_UUID.fullmatch(device.uuid) for device in spec.devices):
        return "a device whose UUID is none"
    if spec.port is not None and not 0 < spec.port <= PORT_MAX:
        return f"its port {spec.port} is not 1..{PORT_MAX}"
    if min(limits.cpu_milli, limits.memory_bytes, limits.processes, limits.wall_time_s) <= 0:
        return "a limit that is not positive"
    if min(limits.log_bytes, limits.file_bytes) < 0:
        return "a negative size"
    return None
