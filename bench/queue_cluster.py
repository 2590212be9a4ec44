"""A pool of equal hosts in simulated time, with best fit: the same for every queue that is compared."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from queue_mix import HOST_CPU_MILLI, HOST_DEVICES, HOST_MEMORY_BYTES, Group

from kumoi.core.placement.snapshot import DeviceView, Holding, HostView, TaskView
from kumoi.core.queue.standing import PoolUse
from kumoi.model.time import US_PER_S


@dataclass(slots=True)
class _Host:
    view: HostView
    cpu_milli: int = HOST_CPU_MILLI
    memory_bytes: int = HOST_MEMORY_BYTES
    devices: list[str] = field(default_factory=list)

    def fits(self, task: TaskView) -> bool:
        return (
            task.cpu_milli <= self.cpu_milli
            and task.memory_bytes <= self.memory_bytes
            and _devices(task) <= len(self.devices)
        )


def _devices(task: TaskView) -> int:
    return sum(wish.count for wish in task.devices)


class Cluster:
    """Hosts, what runs on them, and who holds what."""

    def __init__(self, hosts: int) -> None:
        self._hosts: dict[str, _Host] = {}
        self.use = PoolUse()
        for number in range(hosts):
            name = f"host_{number:03}"
            devices = tuple(DeviceView(f"{name}/{slot}", "gpu", "h200") for slot in range(HOST_DEVICES))
            view = HostView(name, name, 0, HOST_CPU_MILLI, HOST_MEMORY_BYTES, 0, devices)
            self._hosts[name] = _Host(view, devices=[device.id for device in devices])
            self.use.host_enter(view)
        self.devices = hosts * HOST_DEVICES
        self._at: dict[str, str] = {}

    @property
    def views(self) -> list[HostView]:
        """The hosts as the queue sees them."""
        return [host.view for host in self._hosts.values()]

    def place(self, group: Group, now_us: int, closed: Collection[str] = ()) -> bool:
        """Start all tasks of the group, each on the fullest open host that takes it; or none."""
        started: list[TaskView] = []
        for task in group.tasks:
            name = self._choose(task, closed)
            if name is None:
                self.end(started)
                return False
            self._start(name, task, now_us)
            started.append(task)
        return True

    def end(self, tasks: Iterable[TaskView]) -> None:
        """These tasks run no more."""
        for task in tasks:
            host = self._hosts[self._at.pop(task.id)]
            holding = next(one for one in host.view.holdings if one.attempt_id == task.id)
            host.cpu_milli += task.cpu_milli
            host.memory_bytes += task.memory_bytes
            host.devices = sorted([*host.devices, *(device for device, _ in holding.devices)])
            self._change(host, tuple(one for one in host.view.holdings if one is not holding))

    def _choose(self, task: TaskView, closed: Collection[str]) -> str | None:
        fitting = [
            (len(host.devices), host.cpu_milli, name)
            for name, host in self._hosts.items()
            if name not in closed and host.fits(task)
        ]
        return min(fitting)[2] if fitting else None

    def _start(self, name: str, task: TaskView, now_us: int) -> None:
        host = self._hosts[name]
        count = _devices(task)
        taken, host.devices = host.devices[:count], host.devices[count:]
        host.cpu_milli -= task.cpu_milli
        host.memory_bytes -= task.memory_bytes
        self._at[task.id] = name
        holding = Holding(
            task.id,
            task.job_id,
            task.organization_id,
            task.cpu_milli,
            task.memory_bytes,
            0,
            tuple((device, 1_000) for device in taken),
            now_us,
            now_us + task.wall_time_s * US_PER_S,
            task.class_rank,
            task.priority,
            task.gang is not None,
            task.class_rank == 2,
        )
        self._change(host, (*host.view.holdings, holding))

    def _change(self, host: _Host, holdings: tuple[Holding, ...]) -> None:
        view = host.view
        self.use.host_leave(view)
        host.view = HostView(
            view.id,
            view.name,
            view.generation + 1,
            view.cpu_milli,
            view.memory_bytes,
            0,
            view.devices,
            holdings,
        )
        self.use.host_enter(host.view)
