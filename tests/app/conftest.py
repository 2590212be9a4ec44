"""A plane of its own for each test, and the tenant that most of them need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from plane_fixture import Tenant, World, plane_open


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A founded region without tenants."""
    with plane_open(tmp_path) as opened:
        yield opened


@pytest.fixture
def acme(world: World) -> Tenant:
    """A tenant."""
    return world.tenant("acme")


@pytest.fixture
def rival(world: World) -> Tenant:
    """Another tenant, who must not even learn that `acme` exists."""
    return world.tenant("rival")
