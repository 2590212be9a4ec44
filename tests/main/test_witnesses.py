"""A region whose log has two witnesses: processes of their own, a plane as it runs, and the command line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from witness_process import WAIT_S, Witness

from kumoi.ledger.note import SignatureType, Signer, vkey_format
from kumoi.main.witnesses_file import witnesses_read
from kumoi.store.vault import key_file_ensure

ORIGIN = "kumoi.local/region-1"


class Region:
    """A plane that publishes nothing before both of its witnesses cosigned it."""

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "data"
        (self.data_dir / "keys").mkdir(parents=True)
        self.log = Signer(ORIGIN, key_file_ensure(self.data_dir / "keys" / "log.key"))
        self.witnesses = [Witness(directory / n, self.log, name=f"witness.example/{n}") for n in ("a", "b")]
        file = directory / "witnesses.toml"
        asked = [(f"http://127.0.0.1:{one.port}", vkey_format(one.key)) for one in self.witnesses]
        file.write_text(rules(2, *asked))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.variables = os.environ | {
            "KUMOI_WITNESSES_FILE": str(file),
            "KUMOI_LOG_INTERVAL_S": "0.2",
            "KUMOI_GATEWAY": "no",
        }
        command = [sys.executable, "-m", "kumoi.main", "up", "--data-dir", str(self.data_dir)]
        with (directory / "plane.log").open("wb") as log:
            self.plane = subprocess.Popen(
                [*command, "--listen", self.url.removeprefix("http://")],
                env=self.variables,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.plane.stdout is not None
        assert "is ready" in self.plane.stdout.readline(), (directory / "plane.log").read_text()

    def kumoi(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kumoi.main", *words, "--url", self.url]
        return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)

    def told(self) -> Any:
        return json.loads(self.kumoi("log", "witnesses", "--json").stdout)

    def until(self, what: Any) -> Any:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if what(found := self.told()):
                return found
        raise AssertionError(self.told())

    def end(self) -> None:
        self.plane.send_signal(signal.SIGTERM)
        self.plane.communicate(timeout=WAIT_S)
        for one in self.witnesses:
            if one.process.poll() is None:
                one.end()


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    yield made
    made.end()


def rules(quorum: int, *witnesses: tuple[str, str]) -> str:
    named = (f'[[witnesses]]\nurl = "{url}"\nvkey = "{vkey}"\n' for url, vkey in witnesses)
    return "\n".join([f"quorum = {quorum}", *named])


def test_what_a_region_publishes_was_cosigned_by_both(region: Region, tmp_path: Path) -> None:
    region.until(lambda found: found["published_size"] > 0)
    keys = [word for one in region.witnesses for word in ("--witness", vkey_format(one.key))]
    verify = ("log", "verify", "--vkey", vkey_format(region.log.key), *keys, "--quorum", "2")
    verified = region.kumoi(*verify, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["cosignatures"] == ["witness.example/a", "witness.example/b"]
    region.witnesses[1].end()
    stuck = region.until(lambda found: found["witnesses"][1]["failure"])
    behind = region.until(lambda found: found["size"] >= stuck["size"] + 80)
    assert behind["published_size"] <= stuck["size"]
    assert "does not answer" in behind["witnesses"][1]["failure"]


COSIGNER = vkey_format(Signer("w.example", b"\1" * 32, SignatureType.COSIGNATURE_V1).key)
LOG_KEY = vkey_format(Signer("log.example", b"\1" * 32).key)
ONE = ("https://w.example/", COSIGNER)


def test_a_file_names_witnesses_and_how_many_are_needed(tmp_path: Path) -> None:
    file = tmp_path / "witnesses.toml"
    file.write_text(rules(1, ONE))
    read, quorum = witnesses_read(str(file), ORIGIN)
    assert (read.quorum, quorum.needed, quorum.origin) == (1, 1, ORIGIN)
    assert [(one.url, vkey_format(one.key)) for one in quorum.witnesses] == [ONE]
    assert witnesses_read("", ORIGIN)[1].witnesses == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("quorum = ", "does not name witnesses"),
        (rules(1, ("ftp://w.example", COSIGNER)), "does not name witnesses"),
        (rules(0, ONE), "quorum must be 1 to 1"),
        (rules(2, ONE), "quorum must be 1 to 1"),
        (rules(2, ONE, ("https://again.example", COSIGNER)), "the same key"),
        (rules(1, ("https://w.example", LOG_KEY)), "no witness's key"),
        (rules(1, ("https://w.example", "nothing")), "verifier key"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "witnesses.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=why) as refused:
        witnesses_read(str(file), ORIGIN)
    assert str(file) in str(refused.value)
