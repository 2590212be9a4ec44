"""From an attempt's specification to the fork-server's form for containers."""

from kumoi.engines.base import AttemptSpec, StartRefused
from kumoi.engines.sandbox.specs import task_make
from kumoi.engines.sandbox.task import Task

MEMORY_BYTES_MIN = 16 << 20
"""What runc needs to start a container within its limit."""


def container_task_make(spec: AttemptSpec, uid_base: int, name: str, *, network_host: bool) -> Task:
    """`task_make` for containers. StartRefused where there is no image, or too little memory for one."""
    if spec.image is None:
        raise StartRefused(
            f"the attempt {spec.ref} cannot be started: this engine runs images, and it has none; give an "
            "`image` by digest, or choose a pool of the sandbox engine"
        )
    if spec.limits.memory_bytes < MEMORY_BYTES_MIN:
        raise StartRefused(
            f"the attempt {spec.ref} cannot be started: a container needs at least "
            f"{MEMORY_BYTES_MIN} bytes of memory"
        )
    return task_make(spec, uid_base, name, network_host=network_host)
