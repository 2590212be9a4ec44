"""A region whose log has two witnesses: processes of their own, a plane as it runs, and the command line."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from witness_process import WAIT_S
from witnessed_region import ORIGIN, Plane, Region, rules

from kumoi.ledger.note import SignatureType, Signer, vkey_format
from kumoi.main.witnesses_file import witnesses_read

PAGE = Path(__file__).parents[2] / "docs" / "tenant" / "verify-us.md"


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    yield made
    made.end()


def test_what_a_region_publishes_was_cosigned_by_both(region: Region) -> None:
    region.until(lambda found: found["published_size"] > 0)
    verified = region.kumoi("log", "verify", *region.trust, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["cosignatures"] == ["witness.example/a", "witness.example/b"]
    region.witnesses[1].end()
    stuck = region.until(lambda found: found["witnesses"][1]["failure"])
    behind = region.until(lambda found: found["size"] >= stuck["size"] + 80)
    assert behind["published_size"] <= stuck["size"]
    assert "does not answer" in behind["witnesses"][1]["failure"]


def test_an_export_is_verified_alone_and_shows_every_change(region: Region, tmp_path: Path) -> None:
    token, file = region.tenant(), tmp_path / "export.json"
    now = region.told()["size"]
    region.until(lambda found: found["published_size"] > now)
    saved = region.kumoi("log", "export", "-o", str(file), "--json", token=token)
    assert saved.returncode == 0, saved.stderr
    count = json.loads(saved.stdout)["events"]
    region.end()
    alone = ("log", "verify", "--export", str(file), "--json")
    verified = region.kumoi(*alone, *region.trust)
    assert (verified.returncode, json.loads(verified.stdout)["events"]) == (0, count), verified.stderr
    assert count > 0
    held = json.loads(file.read_text())
    for part, value in (("canonical", 40), ("salt", 3), ("proof", 0)):
        changed = json.loads(file.read_text())
        one = changed["events"][0]
        one[part] = flipped(one[part][value]) if part == "proof" else flipped(one[part])
        if part == "proof":
            one[part] = [one[part], *held["events"][0]["proof"][1:]]
        file.write_text(json.dumps(changed))
        assert region.kumoi(*alone, *region.trust).returncode == 8, part
        file.write_text(json.dumps(held))
    moved = json.loads(file.read_text())
    moved["events"][0]["index"] += 1
    file.write_text(json.dumps(moved))
    assert region.kumoi(*alone, *region.trust).returncode == 8


def flipped(encoded: str) -> str:
    """The same bytes with one bit changed."""
    raw = bytearray(base64.b64decode(encoded))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


def test_a_history_that_was_rewritten_and_signed_again_is_noticed_by_whoever_watches(
    region: Region, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    watch = ("log", "watch", str(kept), "--count", "1", "--after", "0", "--json")
    token = region.tenant()
    told = region.kumoi(*watch, *region.trust, token=token)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["log_index"] > 0
    streamed = region.kumoi("event", "watch", "--after", "0", "--count", "1", "--json", token=token)
    assert json.loads(streamed.stdout) == json.loads(told.stdout)
    region.end()
    size = int((kept / "checkpoint").read_bytes().split(b"\n")[1])
    forged = Plane(tmp_path / "forged", (tmp_path / "log.key").read_bytes())
    try:
        token = forged.tenant()
        forged.until(lambda found: found["size"] > size + 8)
        for trust in (("--vkey", vkey_format(region.log.key)), region.trust):
            noticed = forged.kumoi(*watch, *trust, token=token)
            assert noticed.returncode == 8, (noticed.stdout, noticed.stderr)
    finally:
        forged.end()
    assert (kept / "checkpoint.refused").exists()


def test_what_the_page_says_works_with_openssl(region: Region, tmp_path: Path) -> None:
    token = region.tenant()
    now = region.told()["size"]
    region.until(lambda found: found["published_size"] > now)
    exported = region.kumoi("log", "export", "-o", str(tmp_path / "events.json"), token=token)
    assert exported.returncode == 0, exported.stderr
    script = "set -euo pipefail\n" + "\n".join(re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
    given = {"URL": region.url, "VKEY": vkey_format(region.log.key), "LC_ALL": "C.UTF-8"}
    given["WITNESS"] = vkey_format(region.witnesses[1].key)

    def run(**changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | given | changed,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    done = run()
    assert (done.returncode, done.stdout.count("Signature Verified Successfully")) == (0, 2), done.stderr
    newest = json.loads((tmp_path / "events.json").read_text())["events"][0]
    bundle = region.kumoi("log", "mirror", str(tmp_path / "mirror"))
    assert bundle.returncode == 0, bundle.stderr
    tiles = b"".join(
        path.read_bytes()
        for path in sorted((tmp_path / "mirror" / "tile" / "0").rglob("*"))
        if path.is_file()
    )
    assert (tmp_path / "leaf").read_bytes() == tiles[32 * newest["index"] :][:32]
    other = vkey_format(Signer(ORIGIN, b"\1" * 32).key)
    assert run(VKEY=other).returncode != 0


COSIGNER = vkey_format(Signer("w.example", b"\1" * 32, SignatureType.COSIGNATURE_V1).key)
LOG_KEY = vkey_format(Signer("log.example", b"\1" * 32).key)
ONE = ("https://w.example/", COSIGNER)
LOG = Signer(ORIGIN, b"\4" * 32).key


def test_a_file_names_witnesses_and_how_many_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "witnesses.toml"
    file.write_text(rules(1, ONE))
    read, quorum = witnesses_read(str(file), LOG)
    assert (read.quorum, quorum.needed, quorum.log) == (1, 1, LOG)
    assert [(one.url, vkey_format(one.key)) for one in quorum.witnesses] == [ONE]
    assert witnesses_read("", LOG)[1].witnesses == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("quorum = ", "does not name witnesses"),
        (rules(1, ("ftp://w.example", COSIGNER)), "does not name witnesses"),
        (rules(0, ONE), "quorum must be 1 to 1"),
        (rules(2, ONE), "quorum must be 1 to 1"),
        (rules(2, ONE, ("https://again.example", COSIGNER)), "the same key"),
        (rules(1, ("https://w.example", LOG_KEY)), "no witness's key"),
        (rules(1, ("https://user:secret@w.example", COSIGNER)), "does not name witnesses"),
        (rules(1, ("https://w.example", "nothing")), "verifier key"),
        (rules(1, ("https://w.example:99999/", COSIGNER)), "Port"),
        (rules(1, ("https:///w", COSIGNER)), "names no host"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "witnesses.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=why) as refused:
        witnesses_read(str(file), LOG)
    assert str(file) in str(refused.value)
