"""Devices that a test has in its hands."""

from collections.abc import Sequence
from dataclasses import replace

from kumoi.engines.base import DeviceReport


def gpu_make(number: int, model: str = "H200", memory_bytes: int = 141 * 10**9) -> DeviceReport:
    """A healthy GPU."""
    return DeviceReport(
        uuid=f"GPU-{number:08x}-0000-0000-0000-000000000000",
        kind="gpu",
        model=model,
        memory_bytes=memory_bytes,
        paths=(f"/dev/nvidia{number}", "/dev/nvidiactl"),
    )


class FakeDevices:
    """A source that tells what it was given, in the order of UUIDs; a lost device stays, unhealthy."""

    def __init__(self, *devices: DeviceReport) -> None:
        self._devices = {device.uuid: device for device in devices}

    def devices(self) -> Sequence[DeviceReport]:
        """See `DeviceSource.devices`."""
        return tuple(self._devices[uuid] for uuid in sorted(self._devices))

    def sicken(self, uuid: str, detail: str) -> None:
        """The device is unhealthy from now on."""
        self._devices[uuid] = replace(self._devices[uuid], healthy=False, detail=detail)

    def heal(self, uuid: str) -> None:
        """The device is healthy again."""
        self._devices[uuid] = replace(self._devices[uuid], healthy=True, detail="")

    def split(self, uuid: str, profile: str, count: int) -> None:
        """The device is partitioned into `count` parts; it is not offered as a whole any more."""
        whole = self._devices.pop(uuid)
        for part in range(count):
            made = replace(
                whole,
                uuid=f"MIG-{uuid.removeprefix('GPU-')}-{part}",
                memory_bytes=whole.memory_bytes // count,
                partition=profile,
                physical_uuid=uuid,
            )
            self._devices[made.uuid] = made
