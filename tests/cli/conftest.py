"""The command line against the fake plane of the SDK's tests, with a configuration of its own."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

import fake_rows
from fake_plane import FakePlane
from fake_server import Running

from kumoi.cli.root import root
from kumoi.client import retries

MAIN = "from kumoi.main import main; main()"


@pytest.fixture
def running() -> Iterator[Running]:
    found = Running(FakePlane())
    found.start()
    yield found
    found.stop()


@pytest.fixture
def plane(running: Running) -> FakePlane:
    return running.plane


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No configuration but an empty directory for one, no variables, English."""
    for name in ("KUMOI_URL", "KUMOI_TOKEN", "KUMOI_PROJECT", "KUMOI_ORGANIZATION", "KUMOI_LANG", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("LANGUAGE", "en")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "kumoi" / "config.toml"


@pytest.fixture
def logged_in(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUMOI_URL", running.url)
    monkeypatch.setenv("KUMOI_TOKEN", fake_rows.TOKEN)
    monkeypatch.setenv("KUMOI_PROJECT", "genome")


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries that follow each other without delay."""

    class Low:
        def uniform(self, low: float, high: float) -> float:
            return 0.0

    monkeypatch.setattr(retries, "_random", Low())


@dataclass
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


@pytest.fixture
def kumoi() -> Callable[..., Ran]:
    """Run `kumoi` in this process."""

    def run(*arguments: object, stdin: str | bytes | None = None) -> Ran:
        result: Result = CliRunner().invoke(root, [str(a) for a in arguments], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def process() -> Callable[..., Ran]:
    """Run `kumoi` as a process of its own."""

    def run(*arguments: str, python: tuple[str, ...] = (), main: str = MAIN) -> Ran:
        done = subprocess.run(
            [sys.executable, *python, "-c", main, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
