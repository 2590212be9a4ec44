"""A running plane with two witnesses, checked by code of other people: Go's own of transparency logs.

`tests/ledger/verifier` shares nothing with Kumoi. It is built from Debian's packages, offline.
"""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from witness_process import WAIT_S
from witnessed_region import Region

from kumoi.ledger.event import event_commit

SOURCE = Path(__file__).parents[1] / "ledger" / "verifier"
PATH = Path("/usr/share/gocode")
SIZE = 2 * 256 + 40
"""Two full tiles below one of level 1, and partial ones of both levels."""

Verify = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("go") or not (PATH / "src/golang.org/x/mod/sumdb").is_dir():
        pytest.skip("the independent verifier needs Debian's golang-go and golang-golang-x-mod-dev")
    built = tmp_path_factory.mktemp("verifier") / "verifier"
    offline = {
        "GO111MODULE": "off",
        "GOPATH": str(PATH),
        "GOCACHE": str(built.parent / "cache"),
        "GOFLAGS": "",
    }
    subprocess.run(["go", "build", "-o", built, "."], cwd=SOURCE, env=os.environ | offline, check=True)
    return built


@dataclass
class Kept:
    """What a sceptic kept of a running region: every checkpoint it saw, and receipts with their entries."""

    region: Region
    directory: Path
    checkpoints: dict[int, Path] = field(default_factory=dict)
    receipts: list[tuple[Path, bytes]] = field(default_factory=list)

    def checkpoint_keep(self) -> int:
        with urllib.request.urlopen(f"{self.region.url}/log/checkpoint", timeout=WAIT_S) as answer:
            note = answer.read()
        size = int(note.split(b"\n")[1])
        path = self.directory / f"checkpoint-{size}"
        path.write_bytes(note)
        self.checkpoints[size] = path
        return size

    def receipt_keep(self, event: dict[str, Any], token: str) -> None:
        saved = self.region.kumoi("log", "receipt", event["id"], "-o", "-", token=token)
        assert saved.returncode == 0, saved.stderr
        held = json.loads(saved.stdout)
        path = self.directory / f"{event['id']}.tlog-proof"
        path.write_text(held["proof"])
        entry = event_commit(base64.b64decode(held["salt"]), base64.b64decode(held["canonical"]))
        self.receipts.append((path, entry))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    directory = tmp_path_factory.mktemp("region")
    region = Region(directory, KUMOI_LOG_INTERVAL_S="0.05")
    made = Kept(region, directory)
    try:
        region.until(lambda found: found["published_size"] > 0)
        token = region.tenant()
        end = time.monotonic() + 2 * WAIT_S
        while made.checkpoint_keep() < SIZE and time.monotonic() < end:
            region.kumoi("secret", "list")
        told = region.kumoi("event", "list", "--limit", "3", "--json", token=token)
        for event in json.loads(told.stdout)["items"]:
            made.receipt_keep(event, token)
        yield made
    finally:
        region.end()


@pytest.fixture
def verify(verifier: Path, kept: Kept) -> Verify:
    """Run the verifier with what was kept, and what is given instead."""

    def run(*, log: str = f"{kept.region.url}/log", quorum: int = 2, **instead: Any) -> Any:
        words = [word.replace("--", "-") for word in kept.region.trust[:-2]]
        older = instead.get("older", kept.checkpoints.values())
        receipts = instead.get("receipts", kept.receipts)
        words += [word for path in older for word in ("-old", str(path))]
        for path, entry in receipts:
            words += ["-proof", str(path), "-entry", base64.b64encode(entry).decode()]
        return subprocess.run(
            [verifier, "-log", log, "-quorum", str(quorum), *words],
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    return run


def test_others_code_verifies_the_running_log_and_all_that_was_kept(verify: Verify, kept: Kept) -> None:
    done = verify()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["origin"], found["witnesses"]) == (kept.region.log.name, 2)
    assert found["size"] >= SIZE
    assert found["older"] == len(kept.checkpoints) >= 5
    assert found["proofs"] == len(kept.receipts) == 3
    assert found["tiles"] >= 4


def test_it_refuses_what_is_wrong(verify: Verify, kept: Kept, tmp_path: Path) -> None:
    """The same program with one thing changed each: it would not pass whatever it is given."""
    (first, entry), (_, other) = kept.receipts[:2]
    wrong = verify(receipts=[(first, other)], older=[])
    assert (wrong.returncode, first.name in wrong.stderr) == (1, True)
    assert verify(receipts=[(first, entry)], older=[]).returncode == 0
    assert "2 of 3 witnesses" in verify(quorum=3).stderr
    mirror = tmp_path / "mirror"
    assert kept.region.kumoi("log", "mirror", str(mirror)).returncode == 0
    assert verify(log=str(mirror)).returncode == 0
    for path in [path for path in mirror.rglob("*") if path.is_file()]:
        honest = path.read_bytes()
        path.write_bytes(honest[:40] + bytes([honest[40] ^ 1]) + honest[41:])
        assert verify(log=str(mirror), older=[], receipts=[]).returncode == 1, path
        path.write_bytes(honest)
    assert verify(log=str(mirror)).returncode == 0
