"""The bench of the log: a plane and two witnesses are really asked. Nothing here is timed."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = {
    "events_per_s",
    "event_to_witnessed_ms_p50",
    "event_to_witnessed_ms_max",
    "verify_receipt_us",
    "proof_bytes",
}


def test_events_are_followed_to_two_witnesses() -> None:
    command = [sys.executable, str(ROOT / "bench" / "ledger.py"), "--json", "--events", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    figures = {figure["name"]: figure["value"] for figure in json.loads(done.stdout)["figures"]}
    assert figures.keys() == NAMES
    cosigned = 3 * len("— kumoi.local/bench ") + 3 * 64
    assert figures["proof_bytes"] > cosigned, "the log's signature and two cosignatures are in the receipt"
