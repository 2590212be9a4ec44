"""Devices of the sandbox's host, and what an attempt that holds some can reach."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kumoi.engines.base import DeviceReport, DeviceShare, StartRefused
from kumoi.engines.devices.fake import FakeDevices, gpu_make
from kumoi.engines.sandbox import probe
from kumoi.engines.sandbox.engine import SandboxEngine

Sandbox = Any
DEVICE = "/dev/ptmx" if not Path("/dev/fuse").exists() else "/dev/fuse"
SHOW = f'ls {DEVICE}; echo "$CUDA_VISIBLE_DEVICES|$NVIDIA_VISIBLE_DEVICES"'


def shown(sandbox: Sandbox, **change: Any) -> list[str]:
    spec = sandbox.spec(SHOW, **change)
    assert sandbox.engine.ensure([spec]) == {spec.ref: None}
    sandbox.settle(spec.ref)
    lines: list[str] = sandbox.text(spec.ref).splitlines()
    return lines


def test_an_attempt_has_its_devices_by_file_and_by_uuid(sandbox: Sandbox) -> None:
    held = (
        DeviceShare("GPU-a", "gpu", 1_000),
        DeviceShare("MIG-b", "gpu", 1_000),
        DeviceShare("F", "fpga", 1),
    )
    mine = {"CUDA_VISIBLE_DEVICES": "GPU-of-somebody-else"}
    lines = shown(sandbox, device_paths=(DEVICE,), devices=held, environment=mine)
    assert lines == [DEVICE, "GPU-a,MIG-b|GPU-a,MIG-b"]


@pytest.mark.skipif(DEVICE == "/dev/ptmx", reason="this machine has no device that a sandbox lacks")
def test_an_attempt_without_devices_has_none(sandbox: Sandbox) -> None:
    assert shown(sandbox) == ["|"]


@pytest.mark.parametrize("uuid", ["", "a,b", "a\0", "x" * 101])
def test_a_device_without_a_proper_name_is_refused(sandbox: Sandbox, uuid: str) -> None:
    spec = sandbox.spec("true", devices=(DeviceShare(uuid, "gpu", 1_000),))
    assert isinstance(sandbox.engine.ensure([spec])[spec.ref], StartRefused)


class Counting(FakeDevices):
    """Devices that remember how often they were looked at."""

    looks = 0

    def devices(self) -> Sequence[DeviceReport]:
        self.looks += 1
        return super().devices()


def test_the_host_reports_its_devices_as_they_are_now(sandbox: Sandbox) -> None:
    devices = Counting(gpu_make(0), gpu_make(1))
    engine = SandboxEngine(sandbox.data_dir, sandbox.incarnation, host_name="here", devices=devices)
    assert devices.looks == 0, "a start looks at no device"
    assert engine.hosts()[0].devices == devices.devices()
    devices.sicken(gpu_make(0).uuid, "XID 79")
    (host,) = engine.hosts()
    assert [device.healthy for device in host.devices] == [False, True]
    assert host.healthy, "the host itself is well"
    engine.close()


def test_the_disk_is_measured_once_and_stands_still(sandbox: Sandbox, tmp_path: Path) -> None:
    first = sandbox.engine.hosts()[0].disk_bytes
    assert first > 0
    (sandbox.data_dir / "filling").write_bytes(bytes(8 << 20))
    assert sandbox.reopen().hosts()[0].disk_bytes == first
    note = tmp_path / "disk-bytes"
    assert probe.disk_bytes(note, 1 << 62) == 0, "a reserve beyond what is free leaves nothing"
    note.write_text("not a number")
    assert probe.disk_bytes(note, 0) > 0
    assert int(note.read_text()) > 0
