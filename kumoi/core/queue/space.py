"""What a host would have left if some of its work ended: vectors, no policy."""

from collections.abc import Iterable

from kumoi.core.placement.device_match import device_serves, devices_choose
from kumoi.core.placement.snapshot import Holding, HostView, PoolView, TaskView
from kumoi.model.jobs import DEVICE_MILLI, DeviceRequest


class Space:
    """What is free on a host; taking and releasing change it."""

    __slots__ = ("_devices", "_milli", "cpu_milli", "disk_bytes", "memory_bytes")

    def __init__(self, host: HostView) -> None:
        self.cpu_milli = host.cpu_milli
        self.memory_bytes = host.memory_bytes
        self.disk_bytes = host.disk_bytes
        self._devices = {device.id: device for device in host.devices if device.healthy}
        self._milli = dict.fromkeys(self._devices, DEVICE_MILLI)
        for holding in host.holdings:
            self.hold(holding)

    def release(self, holding: Holding) -> None:
        """What the work held is free. Sick devices stay out."""
        self._change(holding, 1)

    def hold(self, holding: Holding) -> None:
        """What the work holds is taken."""
        self._change(holding, -1)

    def _change(self, holding: Holding, sign: int) -> None:
        self.cpu_milli += sign * holding.cpu_milli
        self.memory_bytes += sign * holding.memory_bytes
        self.disk_bytes += sign * holding.disk_bytes
        for device_id, milli in holding.devices:
            if device_id in self._milli:
                self._milli[device_id] += sign * milli

    def take(self, task: TaskView) -> bool:
        """Give the task its share; False, and nothing changed, where there is not enough."""
        if (
            task.cpu_milli > self.cpu_milli
            or task.memory_bytes > self.memory_bytes
            or task.disk_bytes > self.disk_bytes
        ):
            return False
        ids = tuple(self._devices)
        chosen = devices_choose(tuple(self._devices.values()), tuple(self._milli.values()), task.devices)
        if chosen is None:
            return False
        self.cpu_milli -= task.cpu_milli
        self.memory_bytes -= task.memory_bytes
        self.disk_bytes -= task.disk_bytes
        for index, milli in chosen:
            self._milli[ids[index]] -= milli
        return True

    def fits(self, task: TaskView) -> bool:
        """Whether the task could be taken."""
        return self.count(task, 1) == 1

    def count(self, task: TaskView, most: int) -> int:
        """How many tasks like this could be taken, `most` at most."""
        most = min(
            most,
            self.cpu_milli // task.cpu_milli if task.cpu_milli else most,
            self.memory_bytes // task.memory_bytes if task.memory_bytes else most,
            self.disk_bytes // task.disk_bytes if task.disk_bytes else most,
        )
        if most <= 0 or not task.devices:
            return max(most, 0)
        if len(task.devices) == 1:
            (wish,) = task.devices
            return min(most, self._pieces(wish) // wish.count)
        trial = self.copy()
        taken = 0
        while taken < most and trial.take(task):
            taken += 1
        return taken

    def copy(self) -> "Space":
        """As much, to be changed apart."""
        other = object.__new__(Space)
        other.cpu_milli, other.memory_bytes = self.cpu_milli, self.memory_bytes
        other.disk_bytes = self.disk_bytes
        other._milli, other._devices = dict(self._milli), self._devices
        return other

    def _pieces(self, wish: DeviceRequest) -> int:
        return sum(
            milli // wish.milli
            for id_, milli in self._milli.items()
            if device_serves(self._devices[id_], wish)
        )


def host_open(host: HostView, task: TaskView, start_us: int) -> bool:
    """Whether the host may take the task at `start_us` by dedication and windows, if it has room."""
    if host.dedicated_to not in (None, task.organization_id) or (
        task.dedicated and host.dedicated_to is None
    ):
        return False
    end_us = start_us + task.hold_us
    mine = False
    for window in host.windows:
        if window.organization_id == task.organization_id:
            mine = mine or (
                window.reservation == task.reservation and window.start_us <= start_us < window.end_us
            )
        elif window.start_us < end_us and start_us < window.end_us:
            return False
    return mine or task.reservation is None


def neighbours_agree(holdings: Iterable[Holding], task: TaskView, pool: PoolView) -> bool:
    """Whether the task may run beside this work: whole hosts, or shares of devices, may be one tenant's."""
    others = [holding for holding in holdings if holding.organization_id != task.organization_id]
    if others and (pool.exclusive or task.alone or any(holding.alone for holding in others)):
        return False
    if pool.devices_shared or all(wish.milli == DEVICE_MILLI for wish in task.devices):
        return True
    return all(milli == DEVICE_MILLI for holding in others for _, milli in holding.devices)
