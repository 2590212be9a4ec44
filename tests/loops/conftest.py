"""A world of loops on SQLite, or on each kind of database."""

from collections.abc import Iterator

import pytest
from loop_world import World

from kumoi.store.database import Store


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    """An open store on SQLite."""
    opened = Store(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def world(sqlite_store: Store) -> World:
    """A plane with one host of 8 CPUs."""
    return World(sqlite_store)


@pytest.fixture
def world_of_each(store: Store) -> World:
    """The same, once on each kind of database."""
    return World(store)
