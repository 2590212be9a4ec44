"""The gateway as a process that outlives the plane: started once, found again, ended when it is of no use."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kumoi.main import gateway_child
from kumoi.main.gateway_child import GatewayChild

WAIT_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Wait for another process."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.02)


@pytest.fixture
def plane() -> Iterator[Callable[..., GatewayChild]]:
    """What a new plane over a data directory knows of its gateway; all of them end with the test."""
    made: list[GatewayChild] = []
    # Sockets have short paths.
    place = Path(tempfile.mkdtemp(prefix="kumoi-gc-"))

    def new(name: str = "data", listen: str = "127.0.0.1:0") -> GatewayChild:
        (place / name / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        made.append(GatewayChild(place / name, listen))
        return made[-1]

    yield new
    for child in made:
        child.end()
    until(lambda: not left_of(place))
    shutil.rmtree(place)


def left_of(place: Path) -> list[bytes]:
    """The commands of processes that were told of `place`: gateways and what they started."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(each.read_bytes())
    return [command for command in found if os.fsencode(place) in command]


def started(child: GatewayChild) -> GatewayChild:
    """The same, with a gateway that is up."""
    child.ensure()
    until(child.answers)
    return child


def facts(child: GatewayChild) -> Any:
    """What the gateway wrote of itself."""
    return json.loads(child.control.with_suffix(".json").read_text())


def test_it_is_started_once_and_the_next_plane_finds_it(plane: Callable[..., GatewayChild]) -> None:
    child = started(plane())
    first = facts(child)["pid"]
    assert os.getsid(first) == first, "in a session of its own it outlives the plane"
    child.ensure()
    following = plane()
    following.ensure()
    assert following.answers()
    assert facts(following)["pid"] == first
    assert child.control.stat().st_mode & 0o777 == 0o600
    following.end()
    until(lambda: not following.answers())


def test_what_it_has_in_memory_goes_with_it_whoever_started_it(plane: Callable[..., GatewayChild]) -> None:
    first = started(plane())
    assert (first.memory / "gateway").exists()
    plane().end()
    assert not first.memory.exists()
    until(lambda: not first.answers())


def test_one_whose_directory_was_removed_is_started_anew(plane: Callable[..., GatewayChild]) -> None:
    """As systemd does with what a user has in /dev/shm, when the user's last session ends."""
    child = started(plane())
    before = facts(child)["pid"]
    shutil.rmtree(child.memory)

    def is_anew() -> bool:
        child.ensure()
        return child.answers() and facts(child)["pid"] != before

    until(is_anew)
    assert (child.memory / "gateway").exists()


def test_a_directory_of_somebody_else_is_not_used(
    plane: Callable[..., GatewayChild], caplog: pytest.LogCaptureFixture
) -> None:
    child = plane()
    child.memory.mkdir(mode=0o777)
    child.memory.chmod(0o777)
    child.ensure()
    assert "is not a closed directory of this user" in caplog.text
    assert not child.answers()
    child.memory.rmdir()


def test_one_that_was_killed_is_started_again(plane: Callable[..., GatewayChild]) -> None:
    child = started(plane())
    first = facts(child)["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: not child.answers())

    def again() -> bool:
        child.ensure()
        return child.answers()

    until(again)
    assert facts(child)["pid"] != first


def test_one_that_hangs_is_ended_and_started_again(
    plane: Callable[..., GatewayChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_child, "STARTED_S", 0.0)
    monkeypatch.setattr(gateway_child, "ANSWER_S", 0.2)
    child = started(plane())
    first = facts(child)["pid"]
    os.kill(first, signal.SIGSTOP)

    def again() -> bool:
        child.ensure()
        return child.answers()

    until(again)
    assert facts(child)["pid"] != first


def test_it_is_given_no_secret_of_the_plane(
    plane: Callable[..., GatewayChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUMOI_DATABASE", "postgresql://kumoi:secret@db/kumoi")
    child = started(plane())
    environment = Path(f"/proc/{facts(child)['pid']}/environ").read_bytes()
    assert b"PATH=" in environment
    assert b"secret" not in environment


def test_what_a_killed_gateway_left_is_ended(plane: Callable[..., GatewayChild]) -> None:
    child = started(plane())
    if not facts(child)["haproxy"]:
        pytest.skip("HAProxy is not installed, so nothing is left behind")
    (place,) = (child.memory / "gateway" / "haproxy").glob("*.pid")
    haproxy = int(place.read_text())
    os.kill(facts(child)["pid"], signal.SIGKILL)
    until(lambda: not child.answers())
    assert Path(f"/proc/{haproxy}").exists()
    child.end()
    until(lambda: not Path(f"/proc/{haproxy}").exists())


def test_an_address_in_use_is_tried_again_later_and_not_at_once(plane: Callable[..., GatewayChild]) -> None:
    other = started(plane())
    child = plane("second", facts(other)["listen"])
    child.ensure()
    messages = child.control.with_name("gateway.log")
    until(lambda: "kumoi gateway:" in messages.read_text())
    before = messages.read_text()
    child.ensure()
    assert messages.read_text() == before
    assert not child.answers()
    assert other.answers()
