"""Whether a task fits a host: the filters, before any policy has a say."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kumoi.core.placement.snapshot import DeviceView, HostView, TaskView
from kumoi.model.jobs import DeviceRequest

OTHER_POOL = "in another pool"
OTHER_TENANT = "holds another organization's work"
DEDICATED = "dedicated to another organization"
NO_CPU = "not enough CPU free"
NO_MEMORY = "not enough memory free"
NO_DEVICE = "not enough devices free"


@dataclass(slots=True)
class Room:
    """What a host has left while a plan is being made."""

    host: HostView
    cpu_milli: int = field(init=False)
    memory_bytes: int = field(init=False)
    devices: list[DeviceView] = field(init=False)
    tenants: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.cpu_milli = self.host.cpu_milli_free
        self.memory_bytes = self.host.memory_bytes_free
        self.devices = list(self.host.devices_free)
        self.tenants = set(self.host.tenants)

    def take(self, task: TaskView) -> tuple[str, ...]:
        """Give the task its share; returns its device ids."""
        chosen = devices_choose(self.devices, task.devices) or ()
        taken = {device.id for device in chosen}
        self.cpu_milli -= task.cpu_milli
        self.memory_bytes -= task.memory_bytes
        self.devices = [device for device in self.devices if device.id not in taken]
        self.tenants.add(task.organization_id)
        return tuple(device.id for device in chosen)


def refusal_reason(room: Room, task: TaskView) -> str | None:
    """Why the host cannot take the task now; None if it can."""
    host = room.host
    if host.pool_id != task.pool_id:
        return OTHER_POOL
    if host.dedicated_to is not None and host.dedicated_to != task.organization_id:
        return DEDICATED
    if host.exclusive and room.tenants - {task.organization_id}:
        return OTHER_TENANT
    if task.cpu_milli > room.cpu_milli:
        return NO_CPU
    if task.memory_bytes > room.memory_bytes:
        return NO_MEMORY
    if task.devices and devices_choose(room.devices, task.devices) is None:
        return NO_DEVICE
    return None


def devices_choose(
    free: Sequence[DeviceView], requests: Sequence[DeviceRequest]
) -> tuple[DeviceView, ...] | None:
    """Devices that serve every request, or None. Requests for a model choose before those for any."""
    left = list(free)
    chosen: list[DeviceView] = []
    for request in sorted(requests, key=lambda r: r.model is None):
        matching = [d for d in left if d.kind == request.kind and request.model in (None, d.model)]
        if len(matching) < request.count:
            return None
        chosen += matching[: request.count]
        left = [device for device in left if device not in chosen]
    return tuple(chosen)
