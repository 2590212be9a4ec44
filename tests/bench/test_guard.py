"""The bench of the guard: questions are decided, and jobs are submitted. Nothing here is timed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "decisions_per_s",
    "decisions_per_s_new_actors",
    "decisions_per_s_traffic",
    "submission_us",
    "guard_us",
    "guard_share",
    "guard_share_new",
    "log_us",
    "log_share",
}


def test_every_figure_is_there_and_shares_are_parts() -> None:
    command = [sys.executable, str(ROOT / "bench" / "guard.py"), "--json", "--decisions", "200"]
    done = subprocess.run(
        [*command, "--submissions", "50"], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = {figure["name"]: figure["value"] for figure in json.loads(done.stdout)["figures"]}
    assert figures.keys() == NAMES
    assert all(value > 0 for value in figures.values())
    assert all(value < 1 for name, value in figures.items() if "share" in name)
