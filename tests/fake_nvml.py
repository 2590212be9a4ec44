# ruff: noqa: N802 - the names are the binding's
"""A driver in memory behind the real binding's names, constants and errors: what NVML would answer."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 1 << 30


class Gpu:
    """A GPU, or an instance of a partitioned one; the handle is the object itself."""

    def __init__(self, uuid: str, name: str, *, minor: int = 0, memory_bytes: int = 141 * GIB) -> None:
        self.uuid = uuid
        self.name = name
        self.minor = minor
        self.memory_bytes = memory_bytes
        self.ecc = 0
        self.celsius = 40
        self.slowdown: int | None = 87
        self.margin: int | None = None
        self.mig: list[Gpu] | None = None
        self.instance = (0, 0)
        self.lost = False
        self.lacks: set[str] = set()
        """Functions that this GPU does not support."""


class FakeNvml:
    """The module `pynvml` over GPUs in memory. What it lacks, the real module has."""

    def __init__(self, *gpus: Gpu) -> None:
        self.gpus = list(gpus)
        self.queue: list[SimpleNamespace] = []
        self.registered: list[str] = []
        self.running = True
        self.broken: int | None = None
        """The error that every call answers."""
        self.inits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(pynvml, name)

    def xid(self, gpu: Gpu, number: int, instance: int = 0xFFFFFFFF) -> None:
        """The driver tells of an XID."""
        self.queue.append(
            SimpleNamespace(
                device=gpu,
                eventType=pynvml.nvmlEventTypeXidCriticalError,
                eventData=number,
                gpuInstanceId=instance,
            )
        )

    def nvmlInit(self) -> None:
        self.inits += 1
        if not self.running:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_DRIVER_NOT_LOADED)

    def nvmlShutdown(self) -> None:
        self._check()

    def nvmlDeviceGetCount(self) -> int:
        self._check()
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        return self._of(self.gpus[index])

    def nvmlDeviceGetUUID(self, gpu: Gpu) -> str:
        return self._of(gpu).uuid

    def nvmlDeviceGetName(self, gpu: Gpu) -> str:
        return self._of(gpu).name

    def nvmlDeviceGetMinorNumber(self, gpu: Gpu) -> int:
        return self._of(gpu).minor

    def nvmlDeviceGetMemoryInfo(self, gpu: Gpu) -> SimpleNamespace:
        return SimpleNamespace(total=self._of(gpu, "memory").memory_bytes)

    def nvmlDeviceGetTotalEccErrors(self, gpu: Gpu, kind: int, counter: int) -> int:
        assert (kind, counter) == (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return self._of(gpu, "ecc").ecc

    def nvmlDeviceGetTemperature(self, gpu: Gpu, sensor: int) -> int:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return self._of(gpu).celsius

    def nvmlDeviceGetTemperatureThreshold(self, gpu: Gpu, threshold: int) -> int:
        assert threshold == pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        return self._supported(self._of(gpu).slowdown)

    def nvmlDeviceGetMarginTemperature(self, gpu: Gpu) -> int:
        return self._supported(self._of(gpu).margin)

    def nvmlDeviceGetMigMode(self, gpu: Gpu) -> list[int]:
        return [int(self._of(gpu, "mig").mig is not None)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu: Gpu) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: Gpu, index: int) -> Gpu:
        parts = self._of(gpu).mig or []
        if index >= len(parts):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return parts[index]

    def nvmlDeviceGetGpuInstanceId(self, gpu: Gpu) -> int:
        return gpu.instance[0]

    def nvmlDeviceGetComputeInstanceId(self, gpu: Gpu) -> int:
        return gpu.instance[1]

    def nvmlEventSetCreate(self) -> object:
        self._check()
        return self.queue

    def nvmlDeviceGetSupportedEventTypes(self, gpu: Gpu) -> int:
        self._of(gpu, "events")
        return int(pynvml.nvmlEventTypeXidCriticalError | pynvml.nvmlEventTypeDoubleBitEccError)

    def nvmlDeviceRegisterEvents(self, gpu: Gpu, types: int, events: object) -> None:
        assert events is self.queue
        assert types & pynvml.nvmlEventTypeXidCriticalError
        self.registered.append(self._of(gpu).uuid)

    def nvmlEventSetWait_v2(self, events: object, timeout_ms: int) -> SimpleNamespace:
        assert timeout_ms == 0, "the plane never waits for an event"
        if not self.queue:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        return self.queue.pop(0)

    def _check(self) -> None:
        if self.broken is not None:
            raise pynvml.NVMLError(self.broken)

    def _of(self, gpu: Gpu, what: str = "") -> Gpu:
        self._check()
        if gpu.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if what in gpu.lacks:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return gpu

    def _supported(self, value: int | None) -> int:
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value


def tree_make(root: Path, gpus: int) -> None:
    """The device files of so many GPUs below `root`."""
    (root / "dev").mkdir()
    for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{number}" for number in range(gpus))):
        (root / "dev" / name).touch()


def caps_make(root: Path, minor: int, instance: int, compute: int, first_cap: int) -> None:
    """What the kernel lists of an instance's capabilities, and their device files."""
    caps = root / "dev" / "nvidia-caps"
    caps.mkdir(exist_ok=True)
    of_gpu = root / f"proc/driver/nvidia/capabilities/gpu{minor}/mig/gi{instance}"
    for number, place in enumerate((of_gpu, of_gpu / f"ci{compute}")):
        place.mkdir(parents=True, exist_ok=True)
        cap = first_cap + number
        (place / "access").write_text(f"DeviceFileMinor: {cap}\nDeviceFileMode: 292\nDeviceFileModify: 1\n")
        (caps / f"nvidia-cap{cap}").touch()
