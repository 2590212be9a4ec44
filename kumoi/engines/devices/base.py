"""What finds the devices of a machine."""

from collections.abc import Sequence
from typing import Protocol

from kumoi.engines.base import DeviceReport


class DeviceSource(Protocol):
    """Finds devices of one sort and watches their health. Called by one thread at a time."""

    def devices(self) -> Sequence[DeviceReport]:
        """Every device that there is or was since the start, each with its health; none where none can be.

        A device that was told of and cannot be reached any more is told as unhealthy. Never raises.
        """
