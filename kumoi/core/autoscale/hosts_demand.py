"""Demand in slots: how much of a host what runs and what waits take, by the resource that is scarcest."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from kumoi.core.placement.snapshot import Holding, TaskView
from kumoi.model.jobs import DEVICE_MILLI

HOST_SLOTS = 1_000
"""A slot is a thousandth of a host."""


@dataclass(frozen=True, slots=True)
class HostSize:
    """What a host of the pool offers to work."""

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int = 0
    devices: int = 0


def slots_held(size: HostSize, holdings: Iterable[Holding], *, exclusive: bool = False) -> int:
    """Slots that live work takes on one host.

    All of them where nobody else may come: `exclusive` pools keep a host to one organization.
    """
    cpu = memory = disk = device_milli = 0
    alone = False
    for one in holdings:
        alone = alone or exclusive or one.alone
        cpu += one.cpu_milli
        memory += one.memory_bytes
        disk += one.disk_bytes
        device_milli += sum(milli for _, milli in one.devices)
    if alone:
        return HOST_SLOTS
    pairs = (
        (cpu, size.cpu_milli),
        (memory, size.memory_bytes),
        (disk, size.disk_bytes),
        (device_milli, size.devices * DEVICE_MILLI),
    )
    return max((min(HOST_SLOTS, -(-HOST_SLOTS * taken // of)) for taken, of in pairs if of), default=0)


def slots_wanted(size: HostSize, tasks: Iterable[TaskView], *, exclusive: bool = False) -> int:
    """Slots for what waits. A new host helps nobody who fits none, or waits for a host of its own already."""
    by_organization: defaultdict[str, int] = defaultdict(int)
    for task in tasks:
        together = _together(size, task)
        if together and not task.dedicated and task.reservation is None:
            by_organization[task.organization_id] += max(1, HOST_SLOTS // (1 if task.alone else together))
    if exclusive:
        return sum(-(-slots // HOST_SLOTS) * HOST_SLOTS for slots in by_organization.values())
    return sum(by_organization.values())


def _together(size: HostSize, task: TaskView) -> int:
    """How many such tasks an empty host holds."""
    device_milli = sum(request.count * request.milli for request in task.devices)
    pairs = (
        (task.cpu_milli, size.cpu_milli),
        (task.memory_bytes, size.memory_bytes),
        (task.disk_bytes, size.disk_bytes),
        (device_milli, size.devices * DEVICE_MILLI),
    )
    return min((there // wanted for wanted, there in pairs if wanted), default=HOST_SLOTS)
