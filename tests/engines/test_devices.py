"""GPUs as NVML tells of them, over a driver in memory: the adapter's own code, its errors included."""

import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from fake_nvml import FakeNvml, Gpu, caps_make, tree_make

from kumoi.engines.base import DeviceReport
from kumoi.engines.devices.base import DeviceSource
from kumoi.engines.devices.fake import FakeDevices, gpu_make
from kumoi.engines.devices.nvml import LOST, XID_APPLICATION, XID_QUIET_S, NvmlDevices, library_load
from kumoi.engines.devices.patient import SILENT, PatientDevices

A, B = "GPU-a", "GPU-b"


class Machine:
    """A machine with two GPUs, whose clock a test moves."""

    def __init__(self, root: Path) -> None:
        tree_make(root, 2)
        self.root = root
        self.now_s = 0.0
        self.a = Gpu(A, "NVIDIA H200", minor=0)
        self.b = Gpu(B, "NVIDIA H100 80GB HBM3", minor=1)
        self.nvml = FakeNvml(self.a, self.b)
        self.source = NvmlDevices(load=lambda: self.nvml, root=root, clock_s=lambda: self.now_s)

    def devices(self) -> dict[str, DeviceReport]:
        return {device.uuid: device for device in self.source.devices()}

    def why(self, uuid: str = A) -> str:
        device = self.devices()[uuid]
        assert device.healthy is (not device.detail)
        return device.detail

    def partition(self) -> None:
        """The first GPU in two instances."""
        self.a.mig = []
        for number in (1, 2):
            part = Gpu(f"MIG-{number}", "NVIDIA H200 MIG 1g.18gb", memory_bytes=18 << 30)
            part.instance = (10 + number, 0)
            self.a.mig.append(part)
            caps_make(self.root, 0, 10 + number, 0, first_cap=20 * number)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_gpus_are_told_by_uuid_with_the_catalogues_names(machine: Machine) -> None:
    devices = machine.devices()
    assert devices[A] == DeviceReport(
        uuid=A,
        kind="gpu",
        model="H200",
        memory_bytes=141 << 30,
        paths=("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"),
    )
    assert (devices[B].model, devices[B].paths[0]) == ("H100", "/dev/nvidia1")
    assert machine.nvml.registered == [A, B]
    machine.devices()
    assert (machine.nvml.registered, machine.nvml.inits) == ([A, B], 1)


def test_a_gpu_that_supports_little_is_told_all_the_same(machine: Machine) -> None:
    machine.a.lacks = {"memory", "ecc", "mig", "events"}
    machine.a.slowdown = None
    assert machine.why() == ""
    assert machine.devices()[A].memory_bytes == 0
    assert machine.nvml.registered == [B]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ecc": 1}, "uncorrected ECC"),
        ({"celsius": 87}, "so hot"),
        ({"celsius": 86}, ""),
        ({"slowdown": None, "margin": 0}, "so hot"),
        ({"slowdown": None, "margin": 5}, ""),
        ({"lost": True}, LOST),
        ({"minor": 9}, "/dev/nvidia9 is missing"),
    ],
)
def test_what_makes_a_gpu_unhealthy(machine: Machine, change: dict[str, Any], why: str) -> None:
    assert machine.why() == ""
    for name, value in change.items():
        setattr(machine.a, name, value)
    found = machine.why()
    assert why in found
    assert bool(found) is bool(why)
    assert machine.why(B) == "", "the other one is well"


def test_an_xid_makes_a_gpu_unhealthy_until_it_is_quiet(machine: Machine) -> None:
    machine.devices()
    machine.nvml.xid(machine.a, 79)
    assert machine.why() == "XID 79"
    machine.now_s += XID_QUIET_S - 1
    assert machine.why() == "XID 79"
    machine.nvml.xid(machine.a, 94)
    assert machine.why() == "XID 94"
    machine.now_s += XID_QUIET_S
    assert machine.why() == ""
    assert machine.why(B) == ""


def test_what_a_faulty_program_causes_is_no_fault_of_the_gpu(machine: Machine) -> None:
    machine.devices()
    for number in sorted(XID_APPLICATION):
        machine.nvml.xid(machine.a, number)
    assert machine.why() == ""
    assert machine.nvml.queue == [], "every event was taken"


def test_a_double_bit_error_is_one_whatever_it_is_called(machine: Machine) -> None:
    machine.devices()
    machine.nvml.queue.append(
        SimpleNamespace(device=machine.a, eventType=pynvml.nvmlEventTypeDoubleBitEccError, eventData=0)
    )
    assert machine.why() == "XID 48"


def test_a_partitioned_gpu_is_told_by_its_parts_only(machine: Machine) -> None:
    machine.partition()
    devices = machine.devices()
    assert set(devices) == {"MIG-1", "MIG-2", B}
    part = devices["MIG-1"]
    assert (part.model, part.partition, part.physical_uuid) == ("H200", "1g.18gb", A)
    assert part.memory_bytes == 18 << 30
    assert part.paths[-2:] == ("/dev/nvidia-caps/nvidia-cap20", "/dev/nvidia-caps/nvidia-cap21")
    assert part.paths[0] == "/dev/nvidia0"


def test_an_xid_of_an_instance_is_that_instances_alone(machine: Machine) -> None:
    machine.partition()
    machine.devices()
    machine.nvml.xid(machine.a, 94, instance=11)
    assert (machine.why("MIG-1"), machine.why("MIG-2")) == ("XID 94", "")
    machine.nvml.xid(machine.a, 79)
    assert machine.why("MIG-2") == "XID 79"


def test_a_gpu_that_is_to_be_partitioned_and_is_not_offers_nothing(machine: Machine) -> None:
    machine.a.mig = []
    assert machine.why() == "MIG is on, and it has no instances"


def test_a_gpu_that_the_driver_lists_no_more_is_still_told(machine: Machine) -> None:
    machine.devices()
    machine.nvml.gpus.remove(machine.a)
    assert (machine.why(A), machine.why(B)) == (LOST, "")
    machine.nvml.gpus.insert(0, machine.a)
    assert machine.why(A) == ""


def test_a_driver_that_goes_away_leaves_every_gpu_sick_until_it_is_back(machine: Machine) -> None:
    machine.devices()
    machine.nvml.broken = pynvml.NVML_ERROR_UNKNOWN
    assert "cannot be asked" in machine.why()
    machine.nvml.running = False
    assert "cannot be reached" in machine.why()
    machine.nvml.broken, machine.nvml.running = None, True
    assert machine.why() == ""
    assert machine.nvml.registered == [A, B, A, B], "a new driver is asked for events anew"


def test_without_a_driver_there_are_no_devices_and_no_words(caplog: pytest.LogCaptureFixture) -> None:
    assert NvmlDevices(load=lambda: None).devices() == ()
    unloaded = FakeNvml(Gpu(A, "NVIDIA H200"))
    unloaded.running = False
    assert NvmlDevices(load=lambda: unloaded).devices() == ()
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


def test_the_binding_is_imported_only_where_the_library_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []

    def load(name: str) -> None:
        found.append(name)
        raise OSError(name)

    monkeypatch.setattr("kumoi.engines.devices.nvml.ctypes.CDLL", load)
    assert library_load() is None
    assert found == ["libnvidia-ml.so.1"]
    monkeypatch.setattr("kumoi.engines.devices.nvml.ctypes.CDLL", lambda name: object())
    assert library_load() is pynvml


@pytest.fixture(params=["fake", "nvml"])
def either(request: pytest.FixtureRequest, machine: Machine) -> tuple[DeviceSource, Any]:
    """Each source with two GPUs, and how a test makes the first sick, well, or parts of it."""
    if request.param == "nvml":

        def do(what: str) -> None:
            match what:
                case "sicken":
                    machine.a.ecc = 1
                case "heal":
                    machine.a.ecc = 0
                case "split":
                    machine.partition()

        return machine.source, do
    fake = FakeDevices(gpu_make(0), gpu_make(1))
    first = gpu_make(0).uuid

    def act(what: str) -> None:
        match what:
            case "sicken":
                fake.sicken(first, "uncorrected ECC errors")
            case "heal":
                fake.heal(first)
            case "split":
                fake.split(first, "1g.18gb", 2)

    return fake, act


def test_every_source_keeps_the_same_promises(either: tuple[DeviceSource, Any]) -> None:
    source, act = either
    before = source.devices()
    assert [device.uuid for device in before] == sorted({device.uuid for device in before})
    assert all(device.healthy and not device.detail for device in before)
    assert all(device.paths and device.partition == device.physical_uuid == "" for device in before)
    assert source.devices() == before, "nothing happened"
    act("sicken")
    sick, well = source.devices()
    assert (sick.uuid, well) == (before[0].uuid, before[1])
    assert not sick.healthy
    assert sick.detail
    act("heal")
    assert source.devices() == before
    act("split")
    parts = [device for device in source.devices() if device.physical_uuid == before[0].uuid]
    assert len({part.uuid for part in parts}) == len(source.devices()) - 1 == 2
    assert all(part.partition == "1g.18gb" and part.model == before[0].model for part in parts)
    assert before[0].uuid not in {device.uuid for device in source.devices()}


class Hanging:
    """A source that answers when it is let go."""

    def __init__(self, source: DeviceSource) -> None:
        self.source = source
        self.go = threading.Event()
        self.go.set()

    def devices(self) -> Sequence[DeviceReport]:
        assert self.go.wait(30)
        return self.source.devices()


def test_a_driver_that_hangs_does_not_hang_who_asks() -> None:
    hanging = Hanging(FakeDevices(gpu_make(0), gpu_make(1)))
    patient = PatientDevices(hanging, timeout_s=30)
    assert [device.healthy for device in patient.devices()] == [True, True]
    hanging.go.clear()
    patient = PatientDevices(hanging, timeout_s=0.01)
    assert patient.devices() == (), "nothing is known yet"
    hanging.go.set()
    for _ in range(10_000):
        if patient.devices():
            break
    assert all(device.healthy for device in patient.devices())
    hanging.go.clear()
    assert {device.detail for device in patient.devices()} == {SILENT}
    hanging.go.set()


class Breaking:
    """A source whose binding lacks what it is asked for, while `broken`."""

    def __init__(self) -> None:
        self.broken = False

    def devices(self) -> Sequence[DeviceReport]:
        if self.broken:
            raise AttributeError("no nvmlDeviceGetSomething")
        return FakeDevices(gpu_make(0), gpu_make(1)).devices()


def test_devices_whose_driver_fails_are_sick_until_it_answers_again() -> None:
    source = Breaking()
    patient = PatientDevices(source, timeout_s=30)
    assert [device.healthy for device in patient.devices()] == [True, True]
    source.broken = True
    sick = patient.devices()
    assert [(device.healthy, device.detail) for device in sick] == 2 * [
        (False, "the driver failed: AttributeError: no nvmlDeviceGetSomething")
    ]
    source.broken = False
    assert all(device.healthy for device in patient.devices())


def test_the_fake_tells_what_happens_to_its_devices() -> None:
    fake = FakeDevices(gpu_make(0), gpu_make(1))
    one, two = fake.devices()
    fake.sicken(one.uuid, "XID 79")
    assert [(device.healthy, device.detail) for device in fake.devices()] == [(False, "XID 79"), (True, "")]
    fake.heal(one.uuid)
    fake.split(two.uuid, "1g.18gb", 7)
    parts = [device for device in fake.devices() if device.physical_uuid == two.uuid]
    assert (len(parts), len({part.uuid for part in parts}), len(fake.devices())) == (7, 7, 8)
