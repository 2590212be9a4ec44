"""A region's rows on each kind of database."""

import pytest
from region_rows import RegionRows

from kumoi.store.database import Store


@pytest.fixture
def region(store: Store) -> RegionRows:
    """A store with two organizations and a pool."""
    return RegionRows(store)
