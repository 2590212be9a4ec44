"""A small run of the hosts: the figures are there, and the model does what its words say."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

BENCH = Path(__file__).resolve().parents[2] / "bench"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "hosts.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def figures(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    assert done.returncode == 0, done.stderr
    return {figure["name"]: figure["value"] for figure in json.loads(done.stdout)["figures"]}


def test_steady_demand_costs_what_it_must_and_nobody_waits(tmp_path: Path) -> None:
    path = tmp_path / "wanted.txt"
    path.write_text("8\n" * 900)
    found = figures(run("--wanted", str(path), "--warm-up", "600", "--json"))
    assert found["hold_300.cost_over_reference_h60"] == 1
    assert found["kumoi.cost_over_reference_h60"] == 2, "one host is kept as headroom"
    assert all(found[f"{name}.waiting_h180"] == 0 for name in ("kumoi", "hold_300", "cluster_autoscaler"))


def test_a_rise_waits_for_a_boot_and_a_fall_pays_for_the_hold(tmp_path: Path) -> None:
    path = tmp_path / "wanted.txt.gz"
    path.write_bytes(gzip.compress(b"8\n" * 10 + b"16\n" * 300 + b"8\n" * 690))
    found = figures(
        run("--wanted", str(path), "--warm-up", "0", "--json", "--chart", str(tmp_path / "chart.svg"))
    )
    assert found["hold_300.waiting_h60"] == 1
    assert found["hold_300.given_up_h60"] == 0
    assert found["hold_300.wait_mean_h60"] == 60
    assert found["hold_300.cost_over_reference_h60"] == (1000 + 300 + 300) / 1300
    assert found["hold_300.evictions"] == found["kumoi.evictions"] == 0
    assert ElementTree.parse(tmp_path / "chart.svg").getroot().tag.endswith("svg")


def test_what_is_no_demand_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wanted.txt"
    path.write_text("8\nmany\n")
    done = run("--wanted", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "many" in done.stderr
    path.write_text("8\n")
    assert run("--wanted", str(path)).returncode == 2
    assert run("--wanted", str(tmp_path / "none")).returncode == 2
