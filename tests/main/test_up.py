"""What `kumoi up` does before anything else."""

import subprocess
import sys
from pathlib import Path

import pytest

PR_GET_DUMPABLE = 3
PROGRAM = """
import ctypes, resource, sys
from kumoi.main import up

def serve(work):
    work.close()
    print(*resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(%d, 0, 0, 0, 0))

hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
print(hard)
up.uvloop.run = serve
up.up(["--data-dir", sys.argv[1]], standalone_mode=False)
"""


def test_a_plane_leaves_no_core_and_lets_nobody_look_into_its_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM % PR_GET_DUMPABLE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    before, *after = done.stdout.split()
    if before == "0":
        pytest.skip("this machine forbids cores to everybody")
    assert after == ["0", "0", "0"]
