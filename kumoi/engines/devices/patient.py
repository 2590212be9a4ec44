"""A driver that hangs must not hang the plane."""

import threading
from collections.abc import Sequence
from dataclasses import replace

from kumoi.engines.base import DeviceReport
from kumoi.engines.devices.base import DeviceSource

TIMEOUT_S = 10.0
SILENT = "the driver does not answer"
DETAIL_CHARACTERS_MAX = 200


class PatientDevices:
    """A source that answers in time: what another one says, or, while that hangs or fails, that all are sick.

    At most one call is under way; one that hangs is left to its thread, which ends with it.
    """

    def __init__(self, source: DeviceSource, timeout_s: float = TIMEOUT_S) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._last: Sequence[DeviceReport] = ()
        self._failure = ""
        self._asking: threading.Thread | None = None

    def devices(self) -> Sequence[DeviceReport]:
        """See `DeviceSource.devices`."""
        if self._asking is None:
            self._asking = threading.Thread(target=self._ask, name="devices", daemon=True)
            self._asking.start()
        self._asking.join(self._timeout_s)
        if self._asking.is_alive():
            return self._all_sick(SILENT)
        self._asking = None
        return self._all_sick(self._failure) if self._failure else self._last

    def _all_sick(self, why: str) -> Sequence[DeviceReport]:
        return tuple(replace(device, healthy=False, detail=why) for device in self._last)

    def _ask(self) -> None:
        try:
            self._last = self._source.devices()
            self._failure = ""
        except Exception as error:  # whatever a binding raises, what it last said is not known any more
            self._failure = f"the driver failed: {type(error).__name__}: {error}"[:DETAIL_CHARACTERS_MAX]
