"""The fake plane, running."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_plane import FakePlane
from fake_server import Running


@pytest.fixture
def running() -> Iterator[Running]:
    found = Running(FakePlane())
    found.start()
    yield found
    found.stop()


@pytest.fixture
def plane(running: Running) -> FakePlane:
    return running.plane
