"""A small run of the queues: the figures are there, and nothing that a queue may not do happened."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SMALL = ("--seeds", "1", "--hosts", "8", "--organizations", "4", "--days", "0.1", "--load", "1.2")
MEASURES = {
    "wait_mean_s",
    "wait_p50_s",
    "wait_p95_s",
    "gang_wait_mean_s",
    "gang_wait_p95_s",
    "guaranteed_wait_p95_s",
    "standard_wait_p95_s",
    "preemptible_wait_p95_s",
    "jain",
    "slowdown_max",
    "slowdown_median",
    "utilisation",
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH / "queue.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_a_small_run_prints_its_figures_and_draws_its_chart(tmp_path: Path) -> None:
    done = run(*SMALL, "--json", "--chart", str(tmp_path / "waits.svg"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    figures = {figure["name"]: figure for figure in report["figures"]}
    for name in ("kumoi", "fifo", "fifo_backfill"):
        assert {
            figure.removeprefix(f"{name}.") for figure in figures if figure.startswith(f"{name}.")
        } >= MEASURES
        assert 0 < figures[f"{name}.utilisation"]["value"] <= 100
        assert 0 < figures[f"{name}.jain"]["value"] <= 1
        assert figures[f"{name}.slowdown_max"]["value"] >= 1
    backfill = figures["fifo_backfill.wait_mean_s"]["value"]
    assert figures["kumoi.wait_mean_s"]["reference"] == backfill
    assert figures["fifo.wait_mean_s"]["value"] >= backfill
    assert ElementTree.parse(tmp_path / "waits.svg").getroot().tag.endswith("svg")


def test_what_makes_no_sense_is_refused() -> None:
    done = run("--hosts", "1")
    assert done.returncode == 2
    assert "8 hosts" in done.stderr


@pytest.mark.parametrize("of", ["queue", "concurrent.futures"])
def test_programs_beside_it_get_pythons_own_module_of_that_name(of: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import {of}, queue; queue.Queue()"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
