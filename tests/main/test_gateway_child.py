"""The gateway as a process that outlives the plane: started once, found again, ended when it is of no use."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kumoi.main.gateway_child import GatewayChild

WAIT_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Wait for another process."""
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.02)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Callable[..., GatewayChild]]:
    """What a new plane over a data directory knows of its gateway; all of them end with the test."""
    made: list[GatewayChild] = []

    def new(name: str = "data", listen: str = "127.0.0.1:0") -> GatewayChild:
        (tmp_path / name / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        made.append(GatewayChild(tmp_path / name, listen))
        return made[-1]

    yield new
    for child in made:
        child.end()


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
