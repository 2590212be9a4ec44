"""What a task asks of a host and what a host has, as numbers: all that the arrays of placement deal with."""

from dataclasses import dataclass

WHOLE_MILLI = 1_000
"""A whole device, in thousandths."""

PARTITION_MARK = "/"
"""Parts the model of a device from the profile of its partition: "H200/1g.18gb"."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one task asks for. Hashable: tasks of one shape share their scores.

    `gpu_count` 0 asks for no device. `gpu_milli` below 1,000 asks for a share of one device, in thousandths.
    `models` are the device models allowed; None allows every model, but no partition: those are asked for by
    name. Raises ValueError for a shape that means nothing.
    """

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    gpu_count: int = 0
    gpu_milli: int = WHOLE_MILLI
    models: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if min(self.cpu_milli, self.memory_bytes, self.disk_bytes, self.gpu_count) < 0:
            raise ValueError(f"a shape asks for less than nothing: {self}")
        if not 0 < self.gpu_milli <= WHOLE_MILLI:
            raise ValueError(f"gpu_milli must be 1 to {WHOLE_MILLI}: {self}")
        if self.gpu_milli < WHOLE_MILLI and self.gpu_count != 1:
            raise ValueError(f"only one device can be shared: {self}")

    @property
    def is_shared(self) -> bool:
        """Whether it asks for a share of a device."""
        return self.gpu_milli < WHOLE_MILLI

    @property
    def gpu_total_milli(self) -> int:
        """Thousandths of devices asked for in all."""
        return self.gpu_count * self.gpu_milli


@dataclass(frozen=True, slots=True)
class HostShape:
    """What one host has: CPU in thousandths of a core, bytes, and the model of each device slot."""

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    slot_models: tuple[str, ...] = ()


def is_partition(model: str) -> bool:
    """Whether a model is a partition of a device, which only a task that names it may have."""
    return PARTITION_MARK in model
