"""The adapter over the real binding and a library of NVML's own names: what is asked is asked rightly."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fake_nvml import tree_make

ASK = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from kumoi.engines.devices.nvml import NvmlDevices
source = NvmlDevices(root=Path(sys.argv[1]))
looks = [[asdict(device) for device in source.devices()] for _ in range(2)]
print(json.dumps(looks))
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (apt-get install gcc)")
def test_a_driver_is_asked_through_the_real_binding(tmp_path: Path) -> None:
    tree_make(tmp_path, 2)
    library = tmp_path / "libnvidia-ml.so.1"
    source = Path(__file__).with_name("nvml_library.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, source], check=True)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASK, tmp_path],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    first, second = json.loads(done.stdout)
    (whole,) = first
    assert whole == {
        "uuid": "GPU-0",
        "kind": "gpu",
        "model": "H100",
        "memory_bytes": 85_520_809_984,
        "paths": ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"],
        "healthy": True,
        "detail": "",
        "partition": "",
        "physical_uuid": "",
    }
    assert second == [whole | {"healthy": False, "detail": "XID 79"}]
