"""A driver that hangs must not hang the plane."""

import threading
from collections.abc import Sequence
from dataclasses import replace

from kumoi.engines.base import DeviceReport
from kumoi.engines.devices.base import DeviceSource

TIMEOUT_S = 10.0
SILENT = "the driver does not answer"


class PatientDevices:
    """A source that answers in time: what another one says, or, while that hangs, that all devices are sick.

    At most one call is under way; one that hangs is left to its thread, which ends with it.
    """

    def __init__(self, source: DeviceSource, timeout_s: float = TIMEOUT_S) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._last: Sequence[DeviceReport] = ()
        self._asking: threading.Thread | None = None

    def devices(self) -> Sequence[DeviceReport]:
        """See `DeviceSource.devices`."""
        if self._asking is None:
            self._asking = threading.Thread(target=self._ask, name="devices", daemon=True)
            self._asking.start()
        self._asking.join(self._timeout_s)
        if self._asking.is_alive():
            return tuple(replace(device, healthy=False, detail=SILENT) for device in self._last)
        self._asking = None
        return self._last

    def _ask(self) -> None:
        self._last = self._source.devices()
