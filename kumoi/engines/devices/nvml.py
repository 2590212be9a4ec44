"""NVIDIA's GPUs through NVML: found, watched, and told by their UUIDs.

Where the driver's library is not installed this costs one failed look-up of a library and says nothing.
Functions and errors after NVIDIA's NVML API Reference Guide, partitions after the MIG User Guide.
"""

import ctypes
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from kumoi.core.devices import GPU, model_name
from kumoi.engines.base import DeviceReport

XID_APPLICATION = frozenset({13, 31, 43, 45, 68, 109})
"""XIDs that a faulty program causes by itself (NVIDIA, XID Errors); they say nothing about the device."""
XID_QUIET_S = 600.0
"""So long after its last XID a device whose other checks are clean counts as healthy again."""

LOST = "it has fallen off the bus"

_LIBRARY = "libnvidia-ml.so.1"
_EVENTS_MAX = 1_024
_GPUS_MAX = 256
_NO_INSTANCE = 0xFFFFFFFF
_PROFILE = re.compile(r"MIG (\S+)$")
_CAP_MINOR = re.compile(r"^DeviceFileMinor: (\d+)$", re.MULTILINE)

_log = logging.getLogger(__name__)


def library_load() -> Any:
    """NVML's binding, or None where the driver is not installed."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return import_module("pynvml")


class NvmlDevices:
    """The GPUs of this machine. A GPU that is partitioned (MIG) is told by its parts only.

    `load` gives the binding (the module `pynvml`) or None; `root` is where /dev and /proc are.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Any] = library_load,
        root: Path = Path("/"),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._root = root
        self._clock_s = clock_s
        self._nvml: Any = None
        self._events: Any = None
        self._registered: set[str] = set()
        self._xids: dict[tuple[str, int], tuple[int, float]] = {}
        self._known: dict[str, tuple[DeviceReport, ...]] = {}

    def devices(self) -> Sequence[DeviceReport]:
        """See `DeviceSource.devices`."""
        nvml = self._open()
        if nvml is None:
            return self._all_sick("the driver cannot be reached")
        try:
            count = min(nvml.nvmlDeviceGetCount(), _GPUS_MAX)
        except nvml.NVMLError as error:
            self._close()
            return self._all_sick(f"the driver cannot be asked: {error}")
        self._events_read()
        found: dict[str, tuple[DeviceReport, ...]] = {}
        for index in range(count):
            uuid = ""
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                uuid = nvml.nvmlDeviceGetUUID(handle)
                found[uuid] = tuple(self._gpu(handle, uuid))
            except nvml.NVMLError as error:
                why = LOST if _is(nvml, error, "GPU_IS_LOST") else str(error)
                found[uuid] = _sick(self._known.get(uuid, ()), why)
        for uuid in self._known.keys() - found.keys():
            found[uuid] = _sick(self._known[uuid], LOST)
        self._known = found
        return self._all()

    def _open(self) -> Any:
        if self._nvml is None:
            nvml = self._load()
            if nvml is None:
                return None
            try:
                nvml.nvmlInit()
            except nvml.NVMLError as error:
                _log.debug("NVML cannot be used: %s", error)
                return None
            self._nvml, self._events, self._registered = nvml, None, set()
        return self._nvml

    def _close(self) -> None:
        """Begin anew the next time: after the driver was loaded again no handle is worth anything."""
        nvml, self._nvml = self._nvml, None
        try:
            nvml.nvmlShutdown()
        except nvml.NVMLError as error:
            _log.debug("NVML cannot be left: %s", error)

    def _all(self) -> Sequence[DeviceReport]:
        return tuple(device for uuid in sorted(self._known) for device in self._known[uuid])

    def _all_sick(self, why: str) -> Sequence[DeviceReport]:
        self._known = {uuid: _sick(devices, why) for uuid, devices in self._known.items()}
        return self._all()

    def _gpu(self, handle: Any, uuid: str) -> Iterator[DeviceReport]:
        nvml = self._nvml
        self._events_register(handle, uuid)
        minor = nvml.nvmlDeviceGetMinorNumber(handle)
        trouble = self._trouble(handle)
        paths = self._paths(f"dev/nvidia{minor}", "dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia-uvm-tools")
        if f"/dev/nvidia{minor}" not in paths:
            trouble = trouble or f"/dev/nvidia{minor} is missing"
        whole = DeviceReport(
            uuid=uuid,
            kind=GPU,
            model=model_name(nvml.nvmlDeviceGetName(handle)),
            memory_bytes=self._memory_bytes(handle),
            paths=paths,
        )
        mode = self._ask("nvmlDeviceGetMigMode", handle)
        if not mode or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            yield _judged(whole, trouble or self._xid(uuid, _NO_INSTANCE))
            return
        parts = list(self._partitions(handle, whole, minor, trouble))
        yield from parts or [_judged(whole, trouble or "MIG is on, and it has no instances")]

    def _partitions(self, gpu: Any, whole: DeviceReport, minor: int, trouble: str) -> Iterator[DeviceReport]:
        nvml = self._nvml
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)):
            try:
                handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
            except nvml.NVMLError as error:
                if _is(nvml, error, "NOT_FOUND", "INVALID_ARGUMENT"):
                    continue
                raise
            instance = nvml.nvmlDeviceGetGpuInstanceId(handle)
            compute = nvml.nvmlDeviceGetComputeInstanceId(handle)
            of_gpu = f"proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{instance}"
            caps = [self._cap(f"{of_gpu}/access"), self._cap(f"{of_gpu}/ci{compute}/access")]
            profile = _PROFILE.search(nvml.nvmlDeviceGetName(handle))
            part = replace(
                whole,
                uuid=nvml.nvmlDeviceGetUUID(handle),
                memory_bytes=self._memory_bytes(handle),
                paths=(*whole.paths, *self._paths(*filter(None, caps))),
                partition=profile[1] if profile else "unknown",
                physical_uuid=whole.uuid,
            )
            yield _judged(part, trouble or self._xid(whole.uuid, instance))

    def _trouble(self, handle: Any) -> str:
        """What is wrong with a GPU apart from XIDs; empty if nothing is."""
        nvml = self._nvml
        errors = self._ask(
            "nvmlDeviceGetTotalEccErrors",
            handle,
            nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            nvml.NVML_VOLATILE_ECC,
        )
        if errors:
            return "uncorrected ECC errors since its last reset; reset it"
        slowdown = self._ask(
            "nvmlDeviceGetTemperatureThreshold", handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        )
        if slowdown:
            now = self._ask("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
            hot = now is not None and now >= slowdown
        else:
            left = self._ask("nvmlDeviceGetMarginTemperature", handle)
            hot = left is not None and left <= 0
        return "it is so hot that it slows down; look after its cooling" if hot else ""

    def _xid(self, uuid: str, instance: int) -> str:
        """The XID that a device, or one instance of it, suffers from; empty if none."""
        for key in ((uuid, instance), (uuid, _NO_INSTANCE)):
            found = self._xids.get(key)
            if found is not None and self._clock_s() - found[1] < XID_QUIET_S:
                return f"XID {found[0]}"
            self._xids.pop(key, None)
        return ""

    def _events_register(self, handle: Any, uuid: str) -> None:
        """Be told of XIDs of a GPU from now on, where it can tell."""
        nvml = self._nvml
        if uuid in self._registered:
            return
        self._registered.add(uuid)
        try:
            if self._events is None:
                self._events = nvml.nvmlEventSetCreate()
            wanted = nvml.nvmlEventTypeXidCriticalError | nvml.nvmlEventTypeDoubleBitEccError
            types = nvml.nvmlDeviceGetSupportedEventTypes(handle) & wanted
            if types:
                nvml.nvmlDeviceRegisterEvents(handle, types, self._events)
        except nvml.NVMLError as error:
            if _is(nvml, error, "GPU_IS_LOST"):
                raise
            _log.debug("the GPU %s tells of no events: %s", uuid, error)

    def _events_read(self) -> None:
        """Take the events that are there, without waiting for any."""
        nvml = self._nvml
        for _ in range(_EVENTS_MAX if self._events is not None else 0):
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
                uuid = nvml.nvmlDeviceGetUUID(event.device)
            except nvml.NVMLError:
                return
            if event.eventType == nvml.nvmlEventTypeXidCriticalError:
                if event.eventData not in XID_APPLICATION:
                    self._xids[uuid, event.gpuInstanceId] = int(event.eventData), self._clock_s()
            else:
                self._xids[uuid, _NO_INSTANCE] = 48, self._clock_s()

    def _memory_bytes(self, handle: Any) -> int:
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        return 0 if memory is None else int(memory.total)

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What NVML says, None where this device or this driver does not say it."""
        try:
            return getattr(self._nvml, function)(*arguments)
        except self._nvml.NVMLError as error:
            if _is(self._nvml, error, "NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_PERMISSION"):
                return None
            raise

    def _paths(self, *names: str) -> tuple[str, ...]:
        return tuple(f"/{name}" for name in names if (self._root / name).exists())

    def _cap(self, access: str) -> str | None:
        """The device file of a capability, as the kernel's list of them names it."""
        try:
            found = _CAP_MINOR.search((self._root / access).read_text())
        except OSError:
            return None
        return f"dev/nvidia-caps/nvidia-cap{found[1]}" if found else None


def _is(nvml: Any, error: Any, *names: str) -> bool:
    return any(error.value == getattr(nvml, f"NVML_ERROR_{name}") for name in names)


def _judged(device: DeviceReport, trouble: str) -> DeviceReport:
    return replace(device, healthy=not trouble, detail=trouble)


def _sick(devices: Sequence[DeviceReport], why: str) -> tuple[DeviceReport, ...]:
    return tuple(replace(device, healthy=False, detail=why) for device in devices)
